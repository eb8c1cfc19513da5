"""Sweeps: one target at every point of a grid, on all cores, resumable, reproducible to the bit."""

from __future__ import annotations

from procjob.sweeps.job import Sweep, sweep
from procjob.sweeps.points import Points, grid, zipped
from procjob.sweeps.result import SweepResult
from procjob.sweeps.targets import vectorized

__all__ = ["Points", "Sweep", "SweepResult", "grid", "sweep", "vectorized", "zipped"]
