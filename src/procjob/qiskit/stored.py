"""How results of Qiskit are kept in a store without a pickle; named in `procjob.store.values`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from qiskit.result import Result


def to_plain(result: Result) -> dict[str, Any]:
    """Return what `from_plain` needs: Qiskit's own dict, its measurement levels as numbers."""
    plain: dict[str, Any] = result.to_dict()
    for experiment in plain["results"]:
        if isinstance(experiment.get("meas_level"), IntEnum):
            experiment["meas_level"] = int(experiment["meas_level"])
    return plain


def from_plain(plain: Mapping[str, Any]) -> Result:
    """Return the result."""
    return Result.from_dict(dict(plain))
