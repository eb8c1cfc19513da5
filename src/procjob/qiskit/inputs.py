"""What a user gives to `ProcessBackend.run`, checked before anything is sent to a worker."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2

from procjob.qiskit.errors import CircuitError
from procjob.qiskit.pieces import free_parameters

#: Run options of Qiskit's own layers (its backend primitives, say), which hand them to any backend: passed on.
RUN_OPTIONS = ("meas_level", "meas_return", "rep_delay", "init_qubits", "use_measure_esp", "memory_slots")
JOB_OPTIONS = ("time_limit", "memory_limit", "retries", "grace", "tags", "metadata", "job_id", "progress")


def options_of(backend: BackendV2) -> dict[str, Any]:
    """Return the options of a backend as they are now."""
    return dict(backend.options.items())


def check_options(backend: BackendV2, options: Mapping[str, Any]) -> None:
    """Refuse options of a run that neither the backend nor the job takes.

    Raises:
        TypeError: names the first one.
    """
    allowed = (*JOB_OPTIONS, *RUN_OPTIONS)
    strange = [name for name in options if name not in allowed and name not in backend.options]
    if options.get("executor") is not None:
        raise TypeError("executor cannot be given to run: give it to AerSimulator, or to ProcessBackend as engine=")
    for name in strange:
        known = {*options_of(backend), *JOB_OPTIONS, *parameters_of(backend.run)[1:]}
        if name not in known and not _aer_takes(backend, name):
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"it takes {', '.join(sorted(known))}"
            raise TypeError(f"{backend.name} takes no option {name!r}; {hint}")


def parameters_of(run: Any) -> list[str]:
    """Return the names of the parameters of a ``run`` method."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in inspect.signature(run).parameters.items() if parameter.kind in kinds]


def _aer_takes(backend: BackendV2, name: str) -> bool:
    try:
        from qiskit_aer.backends.aerbackend import AerBackend
        from qiskit_aer.backends.controller_wrappers import AerConfig
    except ImportError:
        return False
    return isinstance(backend, AerBackend) and not name.startswith("_") and hasattr(AerConfig, name)


def checked_circuits(run_input: Any) -> list[QuantumCircuit]:
    """Return the circuits of a run as a list.

    Raises:
        TypeError: something in it is no circuit; its number is said.
        CircuitError: there is none.
    """
    circuits = [run_input] if isinstance(run_input, QuantumCircuit) else run_input
    if isinstance(circuits, (str, bytes)) or not isinstance(circuits, Iterable):
        raise TypeError(f"run_input must be a QuantumCircuit or a list of them, not {run_input!r}")
    circuits = list(circuits)
    if not circuits:
        raise CircuitError("run_input has no circuit; give at least one")
    for index, circuit in enumerate(circuits):
        if not isinstance(circuit, QuantumCircuit):
            raise TypeError(f"run_input[{index}] must be a QuantumCircuit, not {circuit!r}")
    return circuits


def checked_binds(circuits: list[QuantumCircuit], given: Any) -> list[dict[Any, list[Any]]] | None:
    """Return the table of values of each circuit; None if no circuit has parameters.

    Raises:
        TypeError: something is no table, or no list.
        CircuitError: a parameter has no value, or the tables or lists have not the length that they should.
    """
    if not given:
        for index, circuit in enumerate(circuits):
            if free := free_parameters(circuit):
                names = ", ".join(parameter.name for parameter in free)
                raise CircuitError(
                    f"circuit {index} ({circuit.name!r}) has parameters without values: {names}; give "
                    "parameter_binds, or bind them with assign_parameters"
                )
        return None
    binds = list(given)
    if len(binds) != len(circuits):
        raise CircuitError(f"parameter_binds has {len(binds)} tables for {len(circuits)} circuits; give one for each")
    return [
        _checked_table(index, circuit, table)
        for index, (circuit, table) in enumerate(zip(circuits, binds, strict=True))
    ]


def _checked_table(index: int, circuit: QuantumCircuit, table: Any) -> dict[Any, list[Any]]:
    where = f"parameter_binds[{index}] for circuit {circuit.name!r}"
    if not isinstance(table, Mapping):
        raise TypeError(f"{where} must map parameters to lists of values, not {table!r}")
    columns = {}
    for parameter, values in table.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise TypeError(f"{where}: the values of {parameter} must be a list, not {values!r}")
        columns[parameter] = list(values)
    lengths = {str(parameter): len(values) for parameter, values in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise CircuitError(f"{where}: all lists must have the same length, at least 1; they have {lengths}")
    free = free_parameters(circuit)
    missing = [parameter.name for parameter in free if parameter not in columns]
    if missing:
        raise CircuitError(f"{where} has no values for {', '.join(missing)}")
    return columns if free else {}  # one experiment, however many values for nothing there are
