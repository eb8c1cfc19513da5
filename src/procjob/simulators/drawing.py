"""Text drawings of circuits."""

from __future__ import annotations

from collections.abc import Sequence

from procjob.simulators.operations import Operation


def draw(num_qubits: int, operations: Sequence[Operation]) -> str:
    """One line a qubit, time to the right; ``●`` is a control, ``Mk`` a measurement into classical bit k."""
    columns = _columns(num_qubits, operations)
    lines = [f"q{qubit}: ".rjust(len(str(num_qubits - 1)) + 3) for qubit in range(num_qubits)]
    links = [" " * len(line) for line in lines]
    for column in columns:
        cells = _cells(column)
        width = max(map(len, cells.values())) + 2
        joined = {qubit for op in column for qubit in range(min(op.qubits), max(op.qubits))}
        for qubit in range(num_qubits):
            passed = qubit in joined and qubit - 1 in joined
            lines[qubit] += cells.get(qubit, "│" if passed else "").center(width, "─")
            links[qubit] += ("│" if qubit in joined else "").center(width)
    rows = [row for pair in zip(lines, links, strict=True) for row in pair]
    return "\n".join(row.rstrip() for row in rows[:-1] if row.strip())


def _columns(num_qubits: int, operations: Sequence[Operation]) -> list[list[Operation]]:
    """Put each operation as far left as the lines it crosses allow; classical bits keep their order."""
    columns: list[list[Operation]] = []
    free = [0] * num_qubits
    classical = 0  # the first column in which classical bits may be used
    for operation in operations:
        if not operation.qubits:
            continue
        span = range(min(operation.qubits), max(operation.qubits) + 1)
        at = max(free[qubit] for qubit in span)
        if operation.clbits or operation.condition:
            at = max(at, classical)
            classical = at + 1
        columns.extend([] for _ in range(at + 1 - len(columns)))
        columns[at].append(operation)
        for qubit in span:
            free[qubit] = at + 1
    return columns


def _cells(column: Sequence[Operation]) -> dict[int, str]:
    cells: dict[int, str] = {}
    for op in column:
        label = {"barrier": "░", "measure": f"M{op.clbits[0]}" if op.clbits else "", "reset": "|0>"}.get(
            op.name, op.label()
        )
        if op.condition is not None:
            label += f" if c{list(op.condition.clbits)}=={op.condition.value}"
        cells |= dict.fromkeys(op.controls, "●")
        targets = op.targets or op.controls[:1]  # a global phase under controls has no other place
        for index, qubit in enumerate(targets):
            numbered = len(targets) > 1 and op.name != "barrier"
            cells[qubit] = f"{label}:{index}" if numbered else label
    return cells
