"""What a row of the table is, and the goals that it can have. Plain values: nothing is measured here."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

#: What one round of one contender found: the row's figure, or that as ``value`` and more, numbers or words.
Found = float | dict[str, float | str]
#: Sets up a contender (the argument: whether it has to be quick), yields what measures one round, and tears it down.
Contender = Callable[[bool], AbstractContextManager[Callable[[], Found]]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The rounds of a row: for each contender the figure of each round, None where there is none, and what else it found."""

    more_is_better: bool
    rounds: Mapping[str, list[float | None]]
    others: Mapping[str, list[Mapping[str, float | str]]] = field(default_factory=dict)
    ours: str = "procjob"

    def median(self, name: str) -> float | None:
        """Return the median of one contender."""
        found = [value for value in self.rounds.get(name, ()) if value is not None]
        return statistics.median(found) if found else None

    def times_better(self, name: str) -> float | None:
        """Return how many times better ours is than another, the median over the rounds that both have."""
        pairs = zip(self.rounds.get(self.ours, ()), self.rounds.get(name, ()), strict=False)
        ratios = [a / b if self.more_is_better else b / a for a, b in pairs if a and b]
        return statistics.median(ratios) if ratios else None


@dataclass(frozen=True, slots=True)
class Goal:
    """A text, and how far it is reached: 1 and more is enough; None if nothing can be said."""

    text: str
    reach: Callable[[Figures], float | None]
    graded: bool = True  # more than yes or no


def limit(text: str, value: float) -> Goal:
    """At least, or at most, so much."""

    def reach(figures: Figures) -> float | None:
        ours = figures.median(figures.ours)
        if ours is None:
            return None
        return ours / value if figures.more_is_better else value / max(ours, 1e-12)

    return Goal(text, reach)


def beside(text: str, name: str, factor: float = 1.0) -> Goal:
    """No worse than another one, or than so many times as bad."""

    def reach(figures: Figures) -> float | None:
        better = figures.times_better(name)
        return None if better is None else better * factor

    return Goal(text, reach)


def also(text: str, name: str, least: float) -> Goal:
    """The median of something else that the rounds found is at least so much."""

    def reach(figures: Figures) -> float | None:
        found = [value for other in figures.others.get(figures.ours, []) if isinstance(value := other.get(name), float)]
        return statistics.median(found) / least if found else None

    return Goal(text, reach)


def always(text: str, name: str, value: str) -> Goal:
    """What else each round found is this."""

    def reach(figures: Figures) -> float | None:
        found = figures.others.get(figures.ours, [])
        return float(all(other.get(name) == value for other in found)) if found else None

    return Goal(text, reach, graded=False)


def best_of(text: str, names: list[str]) -> Goal:
    """Better than each of them."""

    def reach(figures: Figures) -> float | None:
        return min((better for name in names if (better := figures.times_better(name))), default=None)

    return Goal(text, reach)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        key: what ``--rows`` takes.
        title: what is measured.
        unit: of the figures.
        contenders: the first is ours.
        goals: all have to be reached; a row without one is compared with the best peer.
        more_is_better: of the figures.
        rounds: full and quick.
        fresh: each round has processes of its own.
        references: contenders that are no peers: a plain copy, another face of procjob.
        deadline: seconds for starting, and for each round.
        why: what is to be said about the result, written by hand.
    """

    key: str
    title: str
    unit: str
    contenders: Mapping[str, Contender]
    goals: tuple[Goal, ...] = ()
    more_is_better: bool = False
    rounds: tuple[int, int] = (9, 3)
    fresh: bool = False
    references: frozenset[str] = field(default_factory=frozenset)
    deadline: float = 30.0
    why: str = ""

    def __post_init__(self) -> None:
        """Check what the report relies on."""
        if next(iter(self.contenders)) != "procjob":
            raise ValueError(f"the first contender of row {self.key} is not procjob")

    @property
    def peers(self) -> list[str]:
        """Names of the contenders that ours is compared with."""
        return [name for name in self.contenders if name != "procjob" and name not in self.references]
