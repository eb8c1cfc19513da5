"""procjob for Qiskit: backends whose jobs can be stopped, and conversion of circuits to the built-in simulator's.

ProcessBackend(AerSimulator()).run(circuits) ──> QiskitJob       (backend, simulation and pieces, job)
ProcessSampler(sampler).run(pubs), ProcessEstimator ──> QiskitPrimitiveJob      (primitives, pubs and streams)
from_qiskit, from_qasm2, from_qasm3 ──> procjob.simulators.circuit.Circuit          (convert, expressions)
"""

try:
    import qiskit  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("procjob.qiskit needs Qiskit: pip install 'procjob[qiskit]'", name="qiskit") from error

from procjob.qiskit.backend import ProcessBackend
from procjob.qiskit.convert import from_qasm2, from_qasm3, from_qiskit
from procjob.qiskit.errors import CircuitError, JobCancelledError, JobError, JobTimeoutError
from procjob.qiskit.job import QiskitJob
from procjob.qiskit.primitives import ProcessEstimator, ProcessSampler, QiskitPrimitiveJob

__all__ = [
    "CircuitError",
    "JobCancelledError",
    "JobError",
    "JobTimeoutError",
    "ProcessBackend",
    "ProcessEstimator",
    "ProcessSampler",
    "QiskitJob",
    "QiskitPrimitiveJob",
    "from_qasm2",
    "from_qasm3",
    "from_qiskit",
]
