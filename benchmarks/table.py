"""All rows, by key, in the order of the table."""

from __future__ import annotations

from benchmarks import executor_face, import_time, stopping, transfer
from benchmarks.rows import Row

_ALL = [row for theme in (executor_face, transfer, stopping, import_time) for row in theme.ROWS]
ROWS: dict[str, Row] = {row.key: row for row in _ALL}
