"""`compile`: a circuit as a `Plan`, few array operations for a whole batch of points.

A plan is a list of steps. A `Unitary` step is a list of passes over the state (`passes`) with the program of their
matrices. Measurements at the end of a circuit are no steps; those in the middle, resets and conditions are, and make
every shot a trajectory of its own. A plan is plain data: it can be pickled, cached and shipped.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from procjob.simulators.circuit import Circuit, Register
from procjob.simulators.expressions import Reals
from procjob.simulators.fusion import best_groups
from procjob.simulators.gates import Complexes
from procjob.simulators.lowering import lower
from procjob.simulators.matrices import MatrixProgram
from procjob.simulators.memory import check_state
from procjob.simulators.noise import AmplitudeDamping, NoiseModel, PauliChannel
from procjob.simulators.operations import Condition, Operation
from procjob.simulators.passes import (
    Block,
    Buffers,
    Chain,
    Pass,
    fill_product_state,
    first_columns,
    folded,
    product_part,
)
from procjob.simulators.tables import Tables

#: Bytes of states that a batch should not exceed, so that it stays in a core's cache.
CACHE = 1 << 18

#: Qubits up to which the blocks of a plan without parameters are put into chains: gathers of larger states leave the cache.
CHAINED = 15

#: Bytes of plans that `Plans` keeps.
KEPT = 1 << 26

#: Of all `Plans`, which hold it for a few lines. There parameters are hashed, where a signal handler or a finalizer may run, and
#: simulate in turn.
_lock = threading.RLock()


def _renew_lock() -> None:
    """In a child made by fork: a thread that is not there may have held it."""
    global _lock  # noqa: PLW0603  (of all plans)
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@dataclass(frozen=True, slots=True)
class Unitary:
    """Gates, as passes; under a condition if there is one.

    Attributes:
        passes: in order.
        program: of their matrices.
        condition: None for always.
        first: the blocks with which they begin, on different bits, from the lowest up: of |0...0> they make a product state.
        columns: of these, see `first_columns`; None if there are parameters.
        rest: the passes that then follow.
    """

    passes: tuple[Pass, ...]
    program: MatrixProgram = field(compare=False)
    condition: Condition | None = None
    first: tuple[Block, ...] = field(init=False, repr=False, compare=False)
    columns: Sequence[tuple[int, Complexes]] | None = field(init=False, repr=False, compare=False)
    rest: tuple[Pass, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        start = product_part(self.passes)
        blocks = [step for step in self.passes[:start] if isinstance(step, Block)]
        first = tuple(sorted(blocks, key=attrgetter("low")))
        fixed = self.program.fixed
        object.__setattr__(self, "first", first)
        object.__setattr__(self, "columns", None if fixed is None else folded(first_columns(first, fixed)))
        object.__setattr__(self, "rest", self.passes[start:])

    def apply(self, buffers: Buffers, values: Reals, *, from_zero: bool = False) -> None:
        """Apply all passes to a batch of states.

        Args:
            buffers: states of shape (rows, 2**n).
            values: parameters of shape (parameters, points), where points is the number of rows, or 1 for all.
            from_zero: every state is |0...0>, whatever is in the buffers. The first blocks then make a product state,
                which is one multiplication instead of a matmul for each.
        """
        angles = self.program.angles.evaluate(values)
        matrices = self.program.evaluate(angles, buffers.state.dtype)
        if from_zero:
            columns = first_columns(self.first, matrices) if self.columns is None else self.columns
            fill_product_state(buffers.state, columns)
        for step in self.rest if from_zero else self.passes:
            step.apply(buffers, matrices, angles)

    @property
    def column(self) -> Complexes | None:
        """What its passes make of |0...0> in the bits from 0 up, if no more than a constant column is needed for it."""
        if self.rest or self.columns is None or len(self.columns) != 1 or self.columns[0][0]:
            return None
        column: Complexes = self.columns[0][1][0]
        return column


@dataclass(frozen=True, slots=True)
class Measure:
    """A measurement in the middle of a circuit."""

    qubit: int
    clbit: int
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Set a qubit to 0."""

    qubit: int
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """A noise channel."""

    channel: PauliChannel | AmplitudeDamping
    condition: Condition | None = None


Step: TypeAlias = Unitary | Measure | Reset | Noise


@dataclass(frozen=True, slots=True)
class Plan:
    """What `compile` makes of a circuit.

    Attributes:
        num_qubits: of the circuit.
        num_clbits: of the circuit.
        registers: classical registers, for the format of bit strings.
        parameters: names, in the order of the columns of a parameter array.
        steps: what happens, in order.
        measured: pairs (qubit, clbit) that are measured at the end.
        readout_error: probabilities to read 1 for 0 and 0 for 1; None: readout is perfect.
        is_fixed: whether it is one `Unitary` without parameters and condition, so that there is one final state.
        amplitudes: that state, where a constant block on all qubits makes it, so that it is a column of the block's matrix.
    """

    num_qubits: int
    num_clbits: int
    registers: tuple[Register, ...]
    parameters: tuple[str, ...]
    steps: tuple[Step, ...]
    measured: tuple[tuple[int, int], ...]
    readout_error: tuple[float, float] | None = None
    is_fixed: bool = field(init=False, repr=False, compare=False)
    amplitudes: Complexes | None = field(init=False, repr=False, compare=False)
    _pickled: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fixed = len(self.steps) == 1 and not self.parameters and self.is_unitary
        column = self.steps[0].column if fixed and isinstance(self.steps[0], Unitary) else None
        object.__setattr__(self, "is_fixed", fixed)
        object.__setattr__(
            self, "amplitudes", None if column is None or len(column) >> self.num_qubits == 0 else column
        )

    def __reduce__(self) -> tuple[Callable[[bytes], Plan], tuple[bytes]]:
        """Pickle it once, however often it is sent: it has many small parts."""
        if not self._pickled:
            values = tuple(getattr(self, attribute.name) for attribute in fields(self) if attribute.init)
            self._pickled.append(pickle.dumps(values, pickle.HIGHEST_PROTOCOL))
        return _unpickled, (self._pickled[0],)

    @property
    def num_passes(self) -> int:
        """Passes over the state, all steps together; a measurement or reset in the middle counts as one."""
        return sum(len(_unchained(step.passes)) if isinstance(step, Unitary) else 1 for step in self.steps)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays, of which tables of permutations and phases are 16 MB at most; steps may share one."""
        passes = [p for step in self.steps if isinstance(step, Unitary) for p in _unchained(step.passes)]
        tables = [getattr(p, name) for p in passes for name in p.__slots__]
        return sum({id(table): table.nbytes for table in tables if isinstance(table, np.ndarray)}.values())

    @property
    def is_unitary(self) -> bool:
        """Whether the final state is one pure state for each point."""
        return all(isinstance(step, Unitary) and step.condition is None for step in self.steps)

    @property
    def draws(self) -> int:
        """Random numbers that a shot takes: one at the end, one for each step that makes shots differ, and for each bit read with noise."""
        read = len(self.measured) + sum(isinstance(step, Measure) for step in self.steps)
        steps = sum(not isinstance(step, Unitary) or step.condition is not None for step in self.steps)
        return 1 + steps + (read if self.readout_error is not None else 0)

    def __repr__(self) -> str:
        kinds = [type(p).__name__ for step in self.steps if isinstance(step, Unitary) for p in _unchained(step.passes)]
        kinds += [type(step).__name__ for step in self.steps if not isinstance(step, Unitary)]
        shown = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        return f"<Plan {self.num_qubits} qubits, {self.num_passes} passes over the state: {shown or 'none'}>"

    def describe(self) -> str:
        """One line for each pass."""
        lines = [str(item) for step in self.steps for item in (step.passes if isinstance(step, Unitary) else (step,))]
        return "\n".join([repr(self), *(f"  {line}" for line in lines)])


def _unchained(passes: Sequence[Pass]) -> list[Pass]:
    """Passes, and the steps of chains in their places."""
    return [step for found in passes for step in (found.steps if isinstance(found, Chain) else (found,))]


def _unpickled(values: bytes) -> Plan:
    return Plan(*pickle.loads(values))


def batch_size(num_qubits: int) -> int:
    """How many states share one call so that they stay in cache. Results do not depend on it."""
    return max(1, min(256, CACHE >> num_qubits + 4))


def compile(circuit: Circuit, noise: NoiseModel | None = None) -> Plan:  # noqa: A001  the name of the step, everywhere
    """Compile a circuit. Pure: the same circuit and noise give the same plan.

    Raises:
        TypeError: it is no `Circuit`, or the noise no `NoiseModel`.
        ValueError: the noise does not fit a gate, see `NoiseModel.depolarizing`.
        MemoryError: its states, and so the tables of the plan, do not fit in memory.

    Example:
        >>> compile(Circuit(3).h(0).cx(0, 1).cx(1, 2))
        <Plan 3 qubits, 1 passes over the state: 1 Block>
    """
    if not isinstance(circuit, Circuit):
        raise TypeError(f"circuit must be a Circuit, not {circuit!r}; procjob.qiskit converts those of Qiskit")
    if noise is not None and not isinstance(noise, NoiseModel):
        raise TypeError(f"noise must be a NoiseModel or None, not {noise!r}")
    check_state(circuit.num_qubits)
    model = NoiseModel() if noise is None else noise
    parameters = circuit.parameters
    body, measured = _split_measurements([o for o in circuit.operations if o.name != "barrier"])
    steps: list[Step] = []
    gates: list[Operation] = []
    tables = Tables(circuit.num_qubits)
    fixed = not (parameters or model.rules) and all(o.is_gate and o.condition is None for o in body)
    chained = fixed and circuit.num_qubits <= CHAINED

    def flush() -> None:
        if gates:
            steps.append(_unitary(gates, circuit.num_qubits, parameters, tables, chained=chained))
            gates.clear()

    for operation in body:
        if not operation.is_gate or (gates and gates[0].condition != operation.condition):
            flush()
        if not operation.is_gate:
            steps.append(_step(operation))
            continue
        gates.append(operation)
        if channels := [Noise(channel, operation.condition) for channel in model.after(operation)]:
            flush()
            steps += channels
    flush()
    return Plan(
        circuit.num_qubits,
        circuit.num_clbits,
        circuit.registers,
        parameters,
        tuple(steps),
        tuple(measured),
        model.readout_error if circuit.num_clbits else None,
    )


class Plans:
    """Compiles circuits, and keeps the plans of the last ones: an equal circuit has the same plan, and costs no second compiling.

    Safe to call from any thread. A pickle of it is empty: plans are cheaper to make than to send.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Hashable, ...], tuple[Plan, int]] = OrderedDict()
        self._nbytes = 0

    def __reduce__(self) -> tuple[type[Plans], tuple[()]]:
        return Plans, ()

    def get(self, circuit: Circuit, noise: NoiseModel | None) -> Plan:
        """The plan of a circuit; always with the same noise."""
        content = (circuit.num_qubits, circuit.registers, circuit.operations)
        with _lock:
            if content in self._kept:
                self._kept.move_to_end(content)
                return self._kept[content][0]
        plan = compile(circuit, noise)
        with _lock:
            if content not in self._kept:  # another thread may have been faster
                self._kept[content] = plan, plan.nbytes + 4096
                self._nbytes += plan.nbytes + 4096
            while len(self._kept) > 1 and self._nbytes > KEPT:
                _, (_, nbytes) = self._kept.popitem(last=False)
                self._nbytes -= nbytes
        return plan


def _step(operation: Operation) -> Measure | Reset:
    (qubit,) = operation.targets
    if operation.name == "reset":
        return Reset(qubit, operation.condition)
    return Measure(qubit, operation.clbits[0], operation.condition)


def _unitary(
    gates: Sequence[Operation], num_qubits: int, parameters: Sequence[str], tables: Tables, *, chained: bool
) -> Unitary:
    program = MatrixProgram(parameters)
    # Without parameters there is one point, and nothing to share a call with.
    groups = best_groups(gates, num_qubits, batch_size(num_qubits) if parameters else 1, chained=chained)
    passes = lower(groups, num_qubits, program, tables, chained=chained)
    program.seal()
    return Unitary(passes, program, gates[0].condition)


def _split_measurements(operations: Sequence[Operation]) -> tuple[list[Operation], list[tuple[int, int]]]:
    """Take the measurements off the end: those after which nothing uses the qubit or the classical bit."""
    body: list[Operation] = []
    final: list[tuple[int, int]] = []
    busy: set[int] = set()
    read: set[int] = set()
    for operation in reversed(operations):
        is_final = (
            operation.name == "measure"
            and operation.condition is None
            and operation.targets[0] not in busy
            and operation.clbits[0] not in read
        )
        if is_final:
            final.append((operation.targets[0], operation.clbits[0]))
        else:
            body.append(operation)
            busy.update(operation.qubits)
            read.update(operation.condition.clbits if operation.condition else ())
        read.update(operation.clbits)
    return body[::-1], final[::-1]


def place_bits(values: NDArray[np.int64], pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Bit `source` of each value becomes bit `goal`, for pairs (source, goal); other bits are dropped."""
    if all(source == goal for source, goal in pairs) and len(pairs) == 1 + max((s for s, _ in pairs), default=-1):
        return values & ((1 << len(pairs)) - 1)
    out = np.zeros_like(values)
    for source, goal in pairs:
        out |= (values >> source & 1) << goal
    return out
