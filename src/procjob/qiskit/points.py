"""A circuit with free parameters on a backend of Qiskit, as a function of their values: what `procjob.sweep` calls with ``backend=``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qiskit import QuantumCircuit
from qiskit.primitives import BackendEstimatorV2
from qiskit.providers import BackendV2
from qiskit.quantum_info import SparsePauliOp

from procjob.qiskit.backend import ProcessBackend
from procjob.qiskit.content import simulator_content
from procjob.qiskit.convert import from_qiskit


class CircuitOnBackend:
    """Runs a circuit on a backend, each call with the values of one point; in a worker.

    Args:
        backend: any backend of Qiskit; of a `ProcessBackend` the wrapped one.
        circuit: as the backend takes it: transpile it before.
        name: how it is called.
        shots: of each point.
        observables: by name, what `SparsePauliOp` or a Pauli string says; their means are the results, instead of counts.

    Raises:
        TypeError: ``backend`` or an observable is something else.
        ValueError: the circuit measures nothing that could be counted.
    """

    def __init__(
        self, backend: Any, circuit: QuantumCircuit, name: str, *, shots: int, observables: Mapping[str, Any]
    ) -> None:
        if isinstance(backend, ProcessBackend):
            backend = backend.wrapped
        if not isinstance(backend, BackendV2):
            raise TypeError(f"backend must be a qiskit.providers.BackendV2, not {backend!r:.200}")
        self._backend = backend
        self._circuit = circuit
        self._shots = shots
        self._observables = {name: _operator(each) for name, each in observables.items()}
        self._parameters = {parameter.name: parameter for parameter in circuit.parameters}
        self.parameters = tuple(self._parameters)
        self.options = {"shots": shots, "observables": {key: each.to_list() for key, each in self._observables.items()}}
        if not observables and not circuit.clbits:
            raise ValueError(f"{name} measures nothing; call measure_all() before, or give observables=")
        self.__name__ = name
        self.seeded = hasattr(backend.options, "seed_simulator")

    def __call__(self, *, seed: int | None = None, **values: float) -> dict[str, Any]:
        """Return counts, or the mean of each observable."""
        seeds = {"seed_simulator": seed} if self.seeded else {}
        if self._observables:
            options = {"default_precision": self._shots**-0.5, **seeds}
            ordered = [values[parameter.name] for parameter in self._circuit.parameters]
            pub = (self._circuit, list(self._observables.values()), ordered)
            means = BackendEstimatorV2(backend=self._backend, options=options).run([pub]).result()[0].data.evs
            return dict(zip(self._observables, means.tolist(), strict=True))
        bound = self._circuit.assign_parameters({self._parameters[name]: value for name, value in values.items()})
        result = self._backend.run(bound, shots=self._shots, **seeds).result()
        return {"counts": dict(sorted(result.get_counts().items()))}

    def __procjob_identity__(self) -> tuple[Any, ...]:
        return from_qiskit(self._circuit), simulator_content(self._backend)


def _operator(observable: Any) -> SparsePauliOp:
    if isinstance(observable, (str, SparsePauliOp)):
        return SparsePauliOp(observable)
    if isinstance(observable, Mapping):
        return SparsePauliOp.from_list(list(observable.items()))
    raise TypeError(
        f"an observable must be a SparsePauliOp, a Pauli string or a mapping of such to numbers, not {observable!r}"
    )
