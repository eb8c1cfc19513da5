"""Which jobs or sweeps a user asks for, and in which order; the same for those in a file and those alive in this process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from procjob.jobv1 import JobV1
from procjob.pool import checks
from procjob.status import JobStatus

_J = TypeVar("_J", bound=JobV1)
#: The largest integer of SQLite.
_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A question for jobs; None asks for nothing in particular. See `Store.jobs`."""

    limit: int | None
    skip: int
    statuses: frozenset[str] | None
    tags: tuple[str, ...]
    after: float | None
    before: float | None
    descending: bool
    backend_name: str | None

    @classmethod
    def checked(
        cls,
        limit: int | None,
        skip: int,
        *,
        status: Any,
        tags: Iterable[str] | None,
        created_after: datetime | None,
        created_before: datetime | None,
        descending: bool,
        backend_name: str | None = None,
    ) -> JobQuery:
        """Return the query for what a user has passed.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a number is negative, or there is no such status.
        """
        return cls(
            None if limit is None else checks.whole("limit", limit, lowest=0, expected=", or None"),
            checks.whole("skip", skip, lowest=0),
            None if status is None else frozenset(_status_names(status)),
            () if tags is None else checks.words("tags", tags),
            _unix_time("created_after", created_after),
            _unix_time("created_before", created_before),
            checks.flag("descending", descending),
            None if backend_name is None else checks.text("backend_name", backend_name),
        )

    def sql(self, name: str = "backend") -> tuple[str, list[Any]]:
        """Return what stands behind ``FROM jobs``, and its parameters.

        Args:
            name: the column with the name of what ran.
        """
        terms, given = ["1"], list[Any]()
        if self.statuses is not None:
            terms.append(f"status IN ({','.join('?' * len(self.statuses))})")
            given += self.statuses
        for tag in self.tags:  # a quote within a tag stands behind a backslash, so neither of the two is found there
            text = json.dumps(tag, ensure_ascii=False)
            terms.append("(instr(tags, ?) = 1 OR instr(tags, ?) > 0)")
            given += [f"[{text}", f", {text}"]
        for term, value in (
            ("created >= ?", self.after),
            ("created <= ?", self.before),
            (f"{name} = ?", self.backend_name),
        ):
            if value is not None:
                terms.append(term)
                given.append(value)
        order = "DESC" if self.descending else "ASC"
        page = [-1 if self.limit is None else min(self.limit, _MOST), min(self.skip, _MOST)]
        return f"WHERE {' AND '.join(terms)} ORDER BY created {order}, rowid {order} LIMIT ? OFFSET ?", given + page

    def among(self, jobs: Iterable[_J]) -> list[_J]:
        """Return those of some live jobs that are asked for."""
        found = [job for job in jobs if self._asks_for(job)]
        found.sort(key=_created, reverse=self.descending)
        return found[self.skip :][: self.limit]

    def _asks_for(self, job: Any) -> bool:
        created = _created(job)
        return (
            (self.statuses is None or job.status().name in self.statuses)
            and set(self.tags) <= set(job.tags)
            and self.backend_name in {None, getattr(job.backend(), "name", None)}
            and (self.after is None or created >= self.after)
            and (self.before is None or created <= self.before)
        )


def _status_names(status: Any) -> Sequence[Any]:
    """Return the names of one or several statuses: ours, Qiskit's, or names."""
    several = status if isinstance(status, Iterable) and not isinstance(status, str) else [status]
    names = [one.upper() if isinstance(one, str) else getattr(one, "name", None) for one in several]
    for name in names:
        if name not in JobStatus.__members__:
            raise ValueError(f"status must be one or some of {', '.join(JobStatus.__members__)}, not {status!r}")
    return names


def _unix_time(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, or None, not {value!r}")
    try:
        return value.timestamp()  # which takes one without a zone as local time
    except (ValueError, OverflowError, OSError) as exc:  # near the ends of the calendar there is no local time
        raise ValueError(f"{name} must be a time that is one here, or None, not {value!r}: {exc}") from None


def _created(job: Any) -> float:
    created: float = job.creation_date.timestamp()
    return created
