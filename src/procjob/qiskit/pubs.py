"""Cut the pubs of a primitive into pieces, and join what comes of them.

    pubs ──plan──> calls ──PrimitiveSimulation, in a worker──> outcomes ──join──> PrimitiveResult

A cut is a slab of a pub's array of parameter values, consecutive in C order, with the observables that go with it. A call
is what the primitive is given in one go, with one seed. Which calls there are may depend on the number of workers only
where the seeds do not tell (`procjob.qiskit.streams`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.primitives import BitArray, DataBin, PrimitiveResult
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from procjob.pool.pickling import add_note
from procjob.pool.session import in_worker, report_progress
from procjob.qiskit.pieces import packed
from procjob.qiskit.simulation import is_aer, stay_in_this_thread
from procjob.qiskit.streams import Children, Counted, Seed, Stream, seeded

#: Circuits of so many qubits take so long that each point of theirs is worth a worker.
WIDE = 10
#: Points of narrower circuits that share a seed where points have none of their own. Part of the stream of random numbers.
BLOCK = 8

Pub = Any  # SamplerPub or EstimatorPub, which share all that is used here


@dataclass(frozen=True, slots=True)
class Cut:
    """Some points of a pub.

    Attributes:
        pub: the number of the pub.
        slab: one slice for each axis of its parameter values.
        first: the number of the first point, in C order.
        points: how many.
    """

    pub: int
    slab: tuple[slice, ...]
    first: int
    points: int


@dataclass(frozen=True, slots=True)
class Call:
    """What a primitive is given in one go: parts of pubs, and the seed."""

    cuts: tuple[Cut, ...]
    pubs: tuple[Pub, ...]
    seed: Seed

    @property
    def points(self) -> int:
        """The number of points, at least one for each pub."""
        return sum(max(1, cut.points) for cut in self.cuts)


@dataclass(frozen=True, slots=True)
class Part:
    """The result of a part of a pub, on its way: the ``DataBin`` of Qiskit 1 cannot be unpickled."""

    kind: type
    fields: dict[str, Any]
    shape: tuple[int, ...]
    metadata: dict[str, Any]

    def result(self) -> Any:
        """Return it as the primitive had it."""
        return self.kind(DataBin(shape=self.shape, **self.fields), metadata=self.metadata)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call has left: a part for each of its cuts, and the metadata of the whole."""

    parts: list[Part]
    metadata: dict[str, Any]


# ---------------------------------------------------------------- cutting


def plan(pubs: Sequence[Pub], stream: Stream, limit: int) -> list[Call]:
    """Return the calls that together run every point of the pubs.

    Args:
        pubs: what to run.
        stream: says which seed a call has.
        limit: points a call, at most, where the stream leaves it open.
    """
    if isinstance(stream, Children):
        blocks = (
            (cut, block) for index, pub in enumerate(pubs) for block, cut in enumerate(cuts(index, pub, _block(pub)))
        )
        return [_make(pubs, [cut], stream.seed_of(cut.pub, block)) for cut, block in blocks]
    groups: dict[Any, list[int]] = {}
    for index, pub in enumerate(pubs):
        groups.setdefault(stream.group_of(index, pub), []).append(index)
    calls = []
    for indices in groups.values():
        position = 0
        for run in _runs(pubs, indices, stream, limit):
            calls.append(_make(pubs, run, stream.seed_at(position)))
            position += sum(cut.points for cut in run)
    return calls


def _runs(pubs: Sequence[Pub], indices: Sequence[int], stream: Counted, limit: int) -> Iterator[list[Cut]]:
    """Yield the cuts of pubs that are counted together, by call."""
    if stream.draws_for_a_call(pubs[indices[0]]):
        yield from ([cut] for index in indices for cut in cuts(index, pubs[index], _block(pubs[index])))
    else:
        yield from packed((cut for index in indices for cut in cuts(index, pubs[index], limit)), _weight, limit)


def cuts(index: int, pub: Pub, limit: int) -> Iterator[Cut]:
    """Yield the points of a pub in order, ``limit`` at most in each cut."""
    first = 0
    shape = pub.parameter_values.shape
    for slab in _slabs(shape, limit):
        points = math.prod(len(range(*part.indices(extent))) for part, extent in zip(slab, shape, strict=True))
        yield Cut(index, slab, first, points)
        first += points


def _slabs(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    if math.prod(shape) <= limit:
        yield tuple(slice(0, extent) for extent in shape)
        return
    row = math.prod(shape[1:])
    if row > limit:
        for at in range(shape[0]):
            yield from ((slice(at, at + 1), *rest) for rest in _slabs(shape[1:], limit))
        return
    for at in range(0, shape[0], limit // row):
        yield (slice(at, min(at + limit // row, shape[0])), *(slice(0, extent) for extent in shape[1:]))


def _block(pub: Pub) -> int:
    return 1 if pub.circuit.num_qubits >= WIDE else BLOCK


def _weight(cut: Cut) -> int:
    return max(1, cut.points)


def _make(pubs: Sequence[Pub], run: Sequence[Cut], seed: Seed) -> Call:
    return Call(tuple(run), tuple(_taken(pubs[cut.pub], cut) for cut in run), seed)


def _taken(pub: Pub, cut: Cut) -> Pub:
    values = pub.parameter_values
    if cut.points == values.size:
        return pub
    shape = tuple(part.stop - part.start for part in cut.slab)
    part = BindingsArray({names: array[cut.slab] for names, array in values.data.items()}, shape)
    if isinstance(pub, SamplerPub):
        return SamplerPub(pub.circuit, part, pub.shots, validate=False)
    observables = pub.observables
    if observables.ndim:
        observables = observables[_aligned(cut.slab, values.shape, observables.shape)]
    return EstimatorPub(pub.circuit, observables, part, pub.precision, validate=False)


def _aligned(slab: tuple[slice, ...], own: tuple[int, ...], other: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of an array that is broadcast with a slab of one with the shape ``own``."""
    whole = slice(None)
    lead = len(other) - len(own)
    parts = [part if extent > 1 else whole for part, extent in zip(slab, own, strict=True)]
    parts = [whole] * lead + parts if lead > 0 else parts[-lead:]
    return tuple(part if extent > 1 else whole for part, extent in zip(parts, other, strict=True))


# ---------------------------------------------------------------- in a worker


class PrimitiveSimulation:
    """A primitive as a simulator of `procjob.Backend`: takes calls, and returns what each has left.

    Args:
        primitive: a V2 primitive of any kind.
    """

    def __init__(self, primitive: Any) -> None:
        self._primitive = primitive

    def __call__(self, calls: Sequence[Call], max_memory_mb: int | None = None, /) -> list[Outcome]:
        """Run calls one after another, in the thread that asks.

        Args:
            calls: what to run.
            max_memory_mb: what Aer may use, unless the options of the primitive say so.
        """
        if in_worker():
            stay_in_this_thread()
            backend: Any = getattr(self._primitive, "_backend", None)
            if is_aer(backend) and not getattr(backend.options, "max_memory_mb", None):
                backend.set_options(max_memory_mb=max_memory_mb)
        outcomes, done, total = [], 0, max(1, sum(call.points for call in calls))
        for call in calls:
            outcomes.append(self._run(call))
            done += call.points
            report_progress(done, total)
        return outcomes

    def _run(self, call: Call) -> Outcome:
        primitive = seeded(self._primitive, call.seed)
        try:
            with warnings.catch_warnings() if in_worker() else nullcontext():
                if in_worker():  # whoever made the calls has said it, with the number of the pub
                    warnings.filterwarnings("ignore", ".*no output classical registers")
                result = primitive.run(list(call.pubs)).result()
        except Exception as exc:
            named = ", ".join(
                f"pub {cut.pub} ({pub.circuit.name!r})" for cut, pub in zip(call.cuts[:5], call.pubs, strict=False)
            )
            more = f" and {len(call.cuts) - 5} more" if len(call.cuts) > 5 else ""
            add_note(exc, f"procjob: raised by {type(primitive).__name__} while it ran {named}{more}")
            raise
        parts = [Part(type(one), dict(one.data.items()), tuple(one.data.shape), dict(one.metadata)) for one in result]
        return Outcome(parts, dict(result.metadata))


# ---------------------------------------------------------------- joining


def join(pubs: Sequence[Pub], calls: Sequence[Call], outcomes: Sequence[Outcome]) -> PrimitiveResult[Any]:
    """Return one result, each pub in its place and its shape.

    Args:
        pubs: as they were planned.
        calls: all of them.
        outcomes: theirs.

    Raises:
        ValueError: a primitive has returned other results than asked for.
        TypeError: a part has data that cannot be joined.
    """
    ended: list[list[tuple[Cut, Part]]] = [[] for _ in pubs]
    for call, outcome in zip(calls, outcomes, strict=True):
        for cut, part in zip(call.cuts, outcome.parts, strict=True):
            ended[cut.pub].append((cut, part))
    results = [_whole(pub, parts) for pub, parts in zip(pubs, ended, strict=True)]
    return PrimitiveResult(results, metadata=outcomes[0].metadata)


def _whole(pub: Pub, parts: list[tuple[Cut, Part]]) -> Any:
    first = parts[0][1]
    if len(parts) == 1:
        return first.result()
    own = pub.parameter_values.shape
    places = [_aligned(cut.slab, own, pub.shape) for cut, _ in parts]
    fields = {
        name: _joined(
            name, pub.shape, [(place, part.fields[name]) for place, (_, part) in zip(places, parts, strict=True)]
        )
        for name in first.fields
    }
    return Part(first.kind, fields, pub.shape, first.metadata).result()


def _joined(name: str, shape: tuple[int, ...], pieces: list[tuple[tuple[slice, ...], Any]]) -> Any:
    head = pieces[0][1]
    arrays = [(place, value.array if isinstance(value, BitArray) else value) for place, value in pieces]
    if not all(isinstance(array, np.ndarray) for _, array in arrays):
        raise TypeError(f"results of several parts of a pub cannot be joined: {name!r} is a {type(head).__qualname__}")
    whole = np.empty(shape + arrays[0][1].shape[len(shape) :], np.result_type(*(array for _, array in arrays)))
    for place, array in arrays:
        if whole[place].shape != array.shape:
            raise ValueError(f"{name!r} has the shape {array.shape} where {whole[place].shape} was expected")
        whole[place] = array
    return BitArray(whole, head.num_bits) if isinstance(head, BitArray) else whole
