"""Is there enough memory? Asked before anything large is allocated."""

from __future__ import annotations

from pathlib import Path

#: Bytes from which it is asked how many are available; asking takes longer than a small circuit.
_WORTH_ASKING = 1 << 27


def check_memory(needed: int, what: str, *numbers: int, remedy: str) -> None:
    """Refuse what would not fit in memory, before anything is allocated.

    Args:
        needed: bytes.
        what: needs them; a format of the numbers.
        *numbers: what `what` says.
        remedy: what to do.

    Raises:
        MemoryError: fewer bytes are available than needed; both are said.
    """
    available = _available() if needed > _WORTH_ASKING else None
    if available is not None and needed > available:
        count = f"{needed:,}" if needed < 1 << 80 else f"2**{needed.bit_length() - 1}"
        raise MemoryError(f"{what.format(*numbers)} needs {count} bytes, but {available:,} are available; {remedy}")


def check_state(num_qubits: int) -> None:
    """Refuse to compile for states of which not even one can be simulated.

    Raises:
        MemoryError: a state, a second one to work with, and tables of the same size do not fit.
    """
    check_memory(3 * 16 << num_qubits, "a state of {} qubits", num_qubits, remedy="use fewer qubits")


def _available() -> int | None:
    """Bytes that can be allocated without swapping; None where it is not known."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None
