"""The built-in simulator: circuits as values, compiled into few array operations for a whole batch of points."""

from __future__ import annotations

from procjob.simulators.circuit import Circuit
from procjob.simulators.expressions import Parameter

__all__ = ["Circuit", "Parameter"]
