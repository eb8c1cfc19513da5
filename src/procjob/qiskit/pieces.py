"""Cut a run of circuits into pieces, and join what comes of them.

A run is a list of experiments: each circuit with each of its parameter values is one, in this order. A piece is a range
of consecutive experiments. Aer gives experiment number ``i`` of a run the seed ``seed_simulator + 2113 * i``
(``Controller`` in its C++ code), so a piece that starts at ``i`` is run with that seed, and every circuit gets the same
counts as in the undivided run.
"""

from __future__ import annotations

import copy
import copyreg
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from qiskit import QuantumCircuit
from qiskit.circuit import CASE_DEFAULT, Parameter
from qiskit.result import Result

from procjob.qiskit.shots import merge, seed_of, sizes

#: Distance between the seeds of two consecutive experiments of Aer.
AER_SEED_STEP = 2113
#: Pieces a worker, so that one slow piece does not keep the others waiting for long.
PIECES_PER_WORKER = 4

T = TypeVar("T")
Binds = Mapping[Any, Sequence[float]]

# The default case of a ``switch`` is known by its identity, and Qiskit does not say how to pickle it: as the name of it.
copyreg.pickle(type(CASE_DEFAULT), lambda _: "CASE_DEFAULT")


@dataclass(frozen=True, slots=True)
class Run:
    """Circuits to run, with the values of their parameters.

    Attributes:
        circuits: at least one.
        binds: for each circuit, lists of equal length by parameter; None if no circuit has parameters.
        first: in the whole run, the numbers of the first circuit and of the first values of its parameters.
        divided: it is one of several pieces.
    """

    circuits: Sequence[QuantumCircuit]
    binds: Sequence[Binds] | None = None
    first: tuple[int, int] = (0, 0)
    divided: bool = False

    def experiments(self) -> list[int]:
        """Return the number of experiments of each circuit."""
        if self.binds is None:
            return [1] * len(self.circuits)
        return [max(1, len(next(iter(binds.values()), ()))) for binds in self.binds]

    def numbered(self) -> Iterator[tuple[int, QuantumCircuit]]:
        """Yield the circuit of each experiment, and its place among the circuits."""
        for index, (circuit, count) in enumerate(zip(self.circuits, self.experiments(), strict=True)):
            yield from [(index, circuit)] * count

    def cut(self, begin: int, end: int) -> Run:
        """Return the experiments from ``begin`` up to ``end``."""
        circuits: list[QuantumCircuit] = []
        binds: list[Binds] = []
        origin, before = (0, 0), 0
        for index, count in enumerate(self.experiments()):
            low, high = max(begin - before, 0), min(end - before, count)
            if low < high:
                if not circuits:
                    origin = index, low
                circuits.append(self.circuits[index])
                if self.binds is not None:
                    binds.append({name: list(values)[low:high] for name, values in self.binds[index].items()})
            before += count
        return Run(circuits, None if self.binds is None else binds, origin)


def not_run(run: Run, why: str) -> list[dict[str, Any]]:
    """Return what stands for the experiments of a run that there are no results of, as Qiskit's ``from_dict`` takes it."""
    return [
        {
            "shots": 0,
            "success": False,
            "data": {},
            "status": f"not run: {why}",
            "header": {"name": circuit.name, "metadata": circuit.metadata},
        }
        for _, circuit in run.numbered()
    ]


def operations(circuit: QuantumCircuit) -> Iterator[Any]:
    """Yield the operations of a circuit and of the blocks of its control flow."""
    for instruction in circuit.data:
        yield instruction.operation
        for block in getattr(instruction.operation, "blocks", ()):
            yield from operations(block)


def free_parameters(circuit: QuantumCircuit) -> list[Parameter]:
    """Return the parameters that need values; Qiskit 1.4 counts the variables of ``for`` loops as parameters, too."""
    parameters = list(circuit.parameters)
    if not parameters:
        return []
    variables = [operation.params[1] for operation in operations(circuit) if operation.name == "for_loop"]
    return [parameter for parameter in parameters if parameter not in variables]


def saves(circuit: QuantumCircuit) -> bool:
    """Whether Aer leaves something in the result besides counts."""
    return any(operation.name.startswith("save_") for operation in operations(circuit))


@dataclass(frozen=True, slots=True)
class Cut:
    """How to cut a run.

    Attributes:
        circuits: most experiments a piece; None: a few pieces for each worker.
        shots: most shots a piece; None: all.
        seed: ``seed_simulator`` of the run, if it has one.
        seed_step: by how much the seed grows from one experiment to the next; None: nobody knows, so a run with a seed
            is not cut between circuits unless ``circuits`` says so.
        most: experiments that the backend takes at once; None: any number.
    """

    circuits: int | None
    shots: int | None
    seed: int | None
    seed_step: int | None
    most: int | None = None


def divide(
    run: Run, options: Mapping[str, Any], cut: Cut, workers: int, shots: int
) -> tuple[list[tuple[Run, dict[str, Any]]], Callable[[list[Any]], Result]]:
    """Return the pieces of a run, each with its options, and what joins their results.

    Args:
        run: what to divide.
        options: those of the whole run.
        cut: how to divide it.
        workers: how many pieces run at once.
        shots: of the whole run.
    """
    total = sum(run.experiments())
    whole = cut.seed is not None and cut.seed_step is None
    largest = cut.circuits or (total if whole else math.ceil(total / (workers * PIECES_PER_WORKER)))
    blocks = sizes(shots, cut.shots)
    pieces, begin = [], 0
    together = list(packed(_units(run), int, largest if cut.most is None or whole else min(largest, cut.most)))
    for units in together:
        part = replace(run.cut(begin, begin + sum(units)), divided=len(together) * len(blocks) > 1)
        for block, size in enumerate(blocks):
            own = dict(options)
            if len(blocks) > 1:
                own["shots"] = size
            if cut.seed is not None:
                own["seed_simulator"] = seed_after(seed_of(cut.seed, block), (cut.seed_step or 0) * begin)
            pieces.append((part, own))
        begin += sum(units)
    return pieces, lambda results: join(results, len(blocks))


def seed_after(seed: int, steps: int) -> int:
    """Return a seed that has grown by so much; Aer's has 64 bits, and goes on from the other end."""
    grown = seed + steps
    return grown - 2**64 if seed < 2**63 <= grown else grown


def _units(run: Run) -> Iterator[int]:
    """Yield how many experiments at a time have to stay together.

    Aer leaves out the global phase of a circuit for the first of its values, so a saved state tells where a piece begins.
    """
    for circuit, count in zip(run.circuits, run.experiments(), strict=True):
        together = getattr(circuit.global_phase, "parameters", None) and saves(circuit)
        yield from [count] if together else [1] * count


def packed(items: Iterable[T], weight: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Yield lists of consecutive items that weigh ``limit`` at most, or are one item each."""
    together: list[T] = []
    total = 0
    for item in items:
        if together and total + weight(item) > limit:
            yield together
            together, total = [], 0
        together.append(item)
        total += weight(item)
    if together:
        yield together


def join(results: Sequence[Result], blocks: int = 1) -> Result:
    """Return one result with the experiments of all, in order; each ``blocks`` of them are the same, in blocks of shots."""
    if len(results) == 1:
        return results[0]
    groups = [results[at : at + blocks] for at in range(0, len(results), blocks)]
    joined = copy.copy(results[0])  # with what this version of Qiskit keeps besides
    joined._metadata = dict(joined._metadata)
    told = [result._metadata["metadata"] for result in results if result._metadata.get("metadata")]
    if told:
        joined._metadata["metadata"] = _costs(told)
    joined.results = [merge(same) for group in groups for same in zip(*(r.results for r in group), strict=True)]
    failed = next((result for result in results if not result.success), None)
    if failed is not None:
        some = any(experiment.success for experiment in joined.results)
        joined.success, joined.status = False, "PARTIAL COMPLETED" if some else failed.status  # as Aer says it
    return joined


def _costs(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what Aer says of the runs of some pieces: their times together; in the rest they are alike."""
    times = {key for one in told for key in one if key.startswith("time_taken")}
    return {**told[0], **{key: sum(one.get(key, 0) for one in told) for key in times}}
