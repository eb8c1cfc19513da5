"""The built-in simulator: circuits as values, compiled into few array operations for a whole batch of points."""

from __future__ import annotations

from procjob.simulators.circuit import Circuit
from procjob.simulators.expressions import Parameter
from procjob.simulators.noise import NoiseModel
from procjob.simulators.plan import Plan, compile  # noqa: A004  the name of the step, everywhere
from procjob.simulators.result import Result
from procjob.simulators.statevector import StatevectorSimulator

__all__ = ["Circuit", "NoiseModel", "Parameter", "Plan", "Result", "StatevectorSimulator", "compile"]
