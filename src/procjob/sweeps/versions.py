"""Versions of the libraries that results depend on: recorded with each sweep, and told where they have changed since."""

from __future__ import annotations

import sys
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from procjob import __version__
from procjob.store import SweepRecord

#: Libraries by the names of their modules; those of Qiskit count if they have been imported.
_OPTIONAL = {"qiskit": "qiskit", "qiskit-aer": "qiskit_aer"}
_LIBRARIES = ("procjob", "numpy", *_OPTIONAL)


def library_versions() -> dict[str, str]:
    """Return the version of each library that is there, by its name."""
    found = {"procjob": __version__, "numpy": np.__version__}
    for name, module in _OPTIONAL.items():
        version = getattr(sys.modules.get(module), "__version__", None)
        if version is not None:
            found[name] = str(version)
    return found


class VersionCheck:
    """Warns, once, that points are reused which other versions of the libraries have computed.

    Args:
        what: the name of their target, and of the store.
        sweeps: reads the sweeps of the target, the oldest first; called when there is a point that is reused.
    """

    def __init__(self, what: str, sweeps: Callable[[], Sequence[SweepRecord]]) -> None:
        self._what = what
        self._read = sweeps
        self._sweeps: Sequence[SweepRecord] | None = None
        self._told = False

    def tell(self, finished: Iterable[float]) -> None:
        """Take note of points that are reused, by the times at which they were finished."""
        if self._told:
            return
        if self._sweeps is None:
            self._sweeps = self._read()
        created = [record.created for record in self._sweeps]
        # A point belongs to the last sweep that began before it: of two at the same time nobody can tell.
        makers = {bisect_right(created, time) - 1 for time in finished}
        changes = sorted(
            {change for maker in makers if maker >= 0 for change in _changes(self._sweeps[maker].provenance)}
        )
        if changes:
            self._told = True
            warnings.warn(
                f"{self._what} has points that were computed with other versions: {', '.join(changes)}. They are reused as they "
                "are; to compute them again, give version='...' a new text, or take another store",
                stacklevel=2,
            )


def _changes(then: Mapping[str, object]) -> list[str]:
    now = library_versions()
    return [
        f"{name} {then[name]} (now {now[name]})"
        for name in _LIBRARIES
        if name in then and name in now and then[name] != now[name]
    ]
