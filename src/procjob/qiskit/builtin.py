"""The built-in simulator as a backend of Qiskit: all points of a parameter batch at once, in Qiskit's types."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
from qiskit import QuantumCircuit
from qiskit.circuit import IfElseOp
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.providers import BackendV2, JobStatus, JobV1, Options
from qiskit.result import Result
from qiskit.transpiler import Target

import procjob
from procjob.qiskit.convert import NAMES, from_qiskit
from procjob.qiskit.inputs import checked_binds
from procjob.simulators import StatevectorSimulator
from procjob.simulators.result import CircuitResult


class StatevectorBackend(BackendV2):
    """`procjob.simulators.StatevectorSimulator` behind Qiskit's BackendV2, made for `ProcessBackend`.

    ``run`` takes ``shots``, ``seed_simulator``, ``memory``, ``precision`` and ``parameter_binds``. Its random numbers
    are those of `procjob.simulators.sampling`, so its counts are not those of Aer. Circuits are returned without counts
    if they have no classical bits; bits that nothing is measured into are 0.

    Args:
        simulator: with its noise.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from procjob.simulators import StatevectorSimulator
        >>> bell = QuantumCircuit(2)
        >>> _ = bell.h(0), bell.cx(0, 1), bell.measure_all()
        >>> backend = StatevectorBackend(StatevectorSimulator())
        >>> backend.run(bell, shots=100, seed_simulator=1).result().get_counts()
        {'00': 49, '11': 51}
    """

    def __init__(self, simulator: StatevectorSimulator) -> None:
        super().__init__(name="procjob_statevector", backend_version=procjob.__version__)
        self._simulator = simulator
        self._target: Target | None = None

    @property
    def target(self) -> Target:
        """All gates that need no decomposition, on as many qubits as the memory of this machine holds."""
        if self._target is None:
            qubits = int(math.log2(psutil.virtual_memory().total / 64))  # three copies of 16 bytes an amplitude
            names = sorted({*NAMES, "reset", "measure", "delay"} & get_standard_gate_name_mapping().keys())
            self._target = Target.from_configuration(basis_gates=names, num_qubits=qubits)
            self._target.add_instruction(IfElseOp, name="if_else")
        return self._target

    @property
    def max_circuits(self) -> None:
        """No limit."""
        return

    @classmethod
    def _default_options(cls) -> Options:
        return Options(shots=1024, seed_simulator=None, memory=False, precision="double")

    def run(
        self,
        run_input: QuantumCircuit | Sequence[QuantumCircuit],
        parameter_binds: Sequence[Mapping[Any, Any]] | None = None,
        first: tuple[int, int] = (0, 0),
        **options: Any,
    ) -> JobV1:
        """Run circuits here and now.

        Args:
            run_input: one or more circuits.
            parameter_binds: for each circuit, a list of values for each of its parameters.
            first: numbers of the first circuit and of its first point, for a part of a run.
            **options: ``shots``, ``seed_simulator``, ``memory``, ``precision``; None is as if it were not given, as for Aer.

        Raises:
            TypeError: an option that there is not, or a table that is none.
            ValueError: an instruction that the simulator does not have, or a value out of range.
            CircuitError: a parameter has no value, or the tables or lists have not the length that they should.
        """
        began = time.perf_counter()
        circuits = [run_input] if isinstance(run_input, QuantumCircuit) else list(run_input)
        if unknown := [name for name in options if name not in self.options]:
            raise TypeError(f"{self.name} has no option {unknown[0]!r}; it has {', '.join(dict(self.options.items()))}")
        tables = checked_binds(circuits, parameter_binds)
        settings = dict(self.options.items()) | {name: value for name, value in options.items() if value is not None}
        job_id = str(uuid.uuid4())
        results: list[dict[str, Any]] = []
        for index, circuit in enumerate(circuits):
            ours = from_qiskit(circuit)
            binds = {} if tables is None else tables[index]
            values = {getattr(key, "name", str(key)): column for key, column in binds.items()}
            names = {parameter.name for parameter in circuit.parameters}
            ran = self._simulator.run(
                ours,
                shots=settings["shots"],
                seed=settings["seed_simulator"],
                memory=settings["memory"],
                precision=settings["precision"],
                parameters={name: column for name, column in values.items() if name in names} or None,
                first=(first[0] + index, first[1] if index == 0 else 0),
                keep_states=False,
            )
            results += _experiments(circuit, ran.circuits[0], ran.shots or 0, ran.seed)
        result = Result.from_dict(  # which makes of a header what this version of Qiskit has for it
            {
                "backend_name": self.name,
                "backend_version": self.backend_version,
                "job_id": job_id,
                "qobj_id": "",
                "success": True,
                "results": results,
                "status": "COMPLETED",
                "time_taken": time.perf_counter() - began,
            }
        )
        return _Finished(self, job_id, result)


class _Finished(JobV1):
    """A job that was done when it was made."""

    _async = False

    def __init__(self, backend: StatevectorBackend, job_id: str, result: Result) -> None:
        super().__init__(backend, job_id)
        self._result = result

    def submit(self) -> None:
        """It has been."""

    def status(self) -> JobStatus:
        return JobStatus.DONE

    def result(self) -> Result:
        return self._result


def _experiments(circuit: QuantumCircuit, ran: CircuitResult, shots: int, seed: int) -> list[dict[str, Any]]:
    header = {
        "name": circuit.name,
        "n_qubits": circuit.num_qubits,
        "qreg_sizes": [[register.name, register.size] for register in circuit.qregs],
        "creg_sizes": [[register.name, register.size] for register in circuit.cregs],
        "memory_slots": circuit.num_clbits,
        "global_phase": float(circuit.global_phase) if not circuit.parameters else 0.0,
        "metadata": circuit.metadata,
    }
    points = 1 if ran.points == () else ran.points[0]
    experiments = []
    for point in range(points):
        data: dict[str, Any] = {}
        if ran.tally is not None:
            outcomes, counts = ran.tally.point(point)
            data["counts"] = {hex(k): n for k, n in zip(outcomes.tolist(), counts.tolist(), strict=True)}
        if ran.memory is not None:
            data["memory"] = [hex(outcome) for outcome in ran.memory.reshape(points, -1)[point].tolist()]
        experiments.append(
            {
                "shots": shots,
                "success": True,
                "data": data,
                "status": "DONE",
                "seed": seed,
                "header": dict(header),
                "seed_simulator": seed,
            }
        )
    return experiments
