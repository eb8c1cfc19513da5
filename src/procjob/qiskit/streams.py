"""Where a V2 primitive keeps its seed, and which seed a part of a run has.

The stream of random numbers of a run depends on the seed and the pubs alone, never on workers. There are two kinds, and
docs/decisions/0012 says why:

- `Counted`: the primitive's own rule is known, and each point has a seed of its own. A part that begins at a point is run
  with that seed, and the result is that of the undivided run, to the bit. If a call draws more than that, a pub is cut
  into blocks, the same ones always.
- `Children`: it is not. Each pub is cut into blocks, the same ones always, and each is run with a child of the seed.
"""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from qiskit.primitives import BackendSamplerV2, StatevectorSampler

from procjob.qiskit.pieces import AER_SEED_STEP, seed_after
from procjob.qiskit.simulation import is_aer

Seed = int | np.random.Generator | None


class Together(Enum):
    """Which pubs a primitive counts as one run of its simulator."""

    ALL = "all"
    WITH_THE_SAME_SHOTS = "those with the same shots"
    NONE = "each is one"


@dataclass(frozen=True, slots=True)
class Counted:
    """Seeds that grow by the same step from point to point.

    Attributes:
        seed: of the first point; None: there is none.
        step: from one point to the next.
        together: which pubs are counted on; the others begin with the seed again.
    """

    seed: int | None
    step: int
    together: Together

    def group_of(self, index: int, pub: Any) -> int | None:
        """Return what the pubs that are counted together have in common."""
        match self.together:
            case Together.WITH_THE_SAME_SHOTS:
                shots: int | None = pub.shots
                return shots
            case Together.NONE:
                return index
            case Together.ALL:
                return None

    def draws_for_a_call(self, pub: Any) -> bool:
        """Return whether the points of a call draw in turn besides: Aer adds noise of the precision asked for."""
        return self.seed is not None and bool(getattr(pub, "precision", None))

    def seed_at(self, position: int) -> Seed:
        """Return the seed of the point of that number in its group."""
        return None if self.seed is None else seed_after(self.seed, self.step * position)


@dataclass(frozen=True, slots=True)
class Children:
    """A seed for each block of each pub.

    Attributes:
        seed: what they are children of.
        generators: they are generators, not numbers.
    """

    seed: int
    generators: bool = False

    def seed_of(self, pub: int, block: int) -> Seed:
        """Return the seed of a block. The first block of the first pub has the seed itself, so a small run stays as it is."""
        if self.generators:
            return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(pub, block)))
        if pub == block == 0:
            return self.seed
        word = np.random.SeedSequence(self.seed, spawn_key=(pub, block)).generate_state(1)[0]
        return int(word) >> 1  # what every simulator takes: 31 bits


Stream = Counted | Children


def stream_of(primitive: Any) -> Stream:
    """Return the stream of the next run of a primitive; a generator that it has as its seed is moved on.

    Raises:
        TypeError: its seed is neither a whole number nor a generator.
        ValueError: its seed is negative.
    """
    seed = _seed_of(primitive)
    if seed is None:
        return Counted(None, 0, Together.ALL)
    if isinstance(seed, np.random.Generator):
        return Children(int(seed.integers(2**63 - 1)), generators=True)
    try:
        number = operator.index(seed)
    except TypeError:
        raise TypeError(
            f"the seed of {type(primitive).__name__} must be a whole number, a numpy Generator or None, not {seed!r}"
        ) from None
    if number < 0:
        raise ValueError(f"the seed of {type(primitive).__name__} must be 0 or more, not {number}")
    rule = _own_rule(primitive)
    return Children(number) if rule is None else Counted(number, *rule)


def seeded(primitive: Any, seed: Seed) -> Any:
    """Return a copy of a primitive that has another seed; itself if there is none, or it has no place for one."""
    if seed is None:
        return primitive
    twin = copy.copy(primitive)
    if hasattr(primitive, "_seed"):
        twin._seed = seed
        return twin
    options: Any = copy.copy(getattr(primitive, "options", None))
    if hasattr(options, "seed_simulator"):
        options.seed_simulator = seed
    elif isinstance(getattr(options, "run_options", None), dict):
        options.run_options = {**options.run_options, "seed_simulator": seed}
    else:
        return primitive
    twin._options = options
    return twin


def _seed_of(primitive: Any) -> Any:
    options = getattr(primitive, "options", None)
    run_options = getattr(options, "run_options", None)
    backend_options = getattr(getattr(primitive, "_backend", None), "options", None)
    places = (
        getattr(primitive, "_seed", None),
        getattr(options, "seed_simulator", None),
        run_options.get("seed_simulator") if isinstance(run_options, dict) else None,
        getattr(backend_options, "seed_simulator", None),
    )
    return next((seed for seed in places if seed is not None), None)


def _own_rule(primitive: Any) -> tuple[int, Together] | None:
    """Return by which steps a primitive counts, if it is known. A subclass may do otherwise."""
    kind = type(primitive)
    if kind is StatevectorSampler:  # every point of every pub has the same seed
        return 0, Together.ALL
    if kind is BackendSamplerV2 and is_aer(primitive.backend) and not primitive.backend.max_circuits:
        return AER_SEED_STEP, Together.WITH_THE_SAME_SHOTS
    return _rules_of_aer().get(kind)


def _rules_of_aer() -> dict[type, tuple[int, Together]]:
    try:
        from qiskit_aer.primitives import EstimatorV2, SamplerV2
    except ImportError:
        return {}
    return {
        SamplerV2: (AER_SEED_STEP, Together.WITH_THE_SAME_SHOTS),
        EstimatorV2: (AER_SEED_STEP, Together.NONE),
    }
