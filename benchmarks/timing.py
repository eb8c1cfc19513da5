"""How long something takes, and how long several things take that have their turns in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def seconds(action: Callable[[], object]) -> float:
    """Time one call; what it returns is dropped after the clock has stopped."""
    began = time.perf_counter()
    result = action()
    took = time.perf_counter() - began
    del result
    return took


def in_turns(actions: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 0) -> dict[str, list[float]]:
    """Seconds of each action in each round, after ``warm`` rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(-warm, rounds):
        for name, action in actions.items():
            took = seconds(action)
            if number >= 0:
                times[name].append(took)
    return times


def medians(actions: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 0) -> dict[str, float]:
    """Median seconds of each action; see `in_turns`."""
    return {name: statistics.median(times) for name, times in in_turns(actions, rounds, warm=warm).items()}


def median(action: Callable[[], object], rounds: int) -> float:
    """Median seconds of one action."""
    return medians({"": action}, rounds)[""]
