"""Checks of public arguments: a wrong one raises at the call, with its name, its value and what is allowed."""

from __future__ import annotations

import importlib.util
import math
import operator
import sys
import threading
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any


def whole(name: str, value: Any, *, lowest: int, expected: str = "") -> int:
    """Return ``value`` as an int.

    Args:
        name: how the message calls it.
        value: an int or what stands for one, as NumPy's do; no bool.
        lowest: the least that is allowed.
        expected: ends the message about a wrong type: what else is allowed.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is less than ``lowest``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number{expected}, not {value!r}")
    if number < lowest:
        limit = "greater than 0" if lowest == 1 else f"{lowest} or more"
        raise ValueError(f"{name} must be {limit}{expected}, not {value!r}")
    return number


def as_float(value: Any) -> float:
    """Return a real number as a float; one beyond them all, such as ``10**400``, as an infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def seconds(name: str, value: Any, *, positive: bool = False, optional: bool = True) -> float | None:
    """Return ``value`` as a float that a wait can take: ``inf`` becomes the longest wait there is (292 years).

    Args:
        name: how the message calls it.
        value: seconds, or None.
        positive: 0 is not allowed.
        optional: None is allowed.

    Raises:
        TypeError: it is not a real number.
        ValueError: it is negative, NaN, or 0 where that is not allowed.
    """
    if value is None and optional:
        return None
    allowed = f"a number of seconds, {'more than 0' if positive else '0 or more'}{', or None' if optional else ''}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {allowed}, not {value!r}")
    number = as_float(value)
    if not (number > 0 if positive else number >= 0):
        raise ValueError(f"{name} must be {allowed}, not {value!r}")
    return min(number, threading.TIMEOUT_MAX)


def words(name: str, value: Any) -> tuple[str, ...]:
    """Return several strings as a tuple.

    Raises:
        TypeError: it is one string, or something in it is none.
    """
    found = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if isinstance(value, str) or not all(isinstance(word, str) for word in found):
        raise TypeError(f"{name} must be a list of strings, not {value!r}")
    return found


def text(name: str, value: Any) -> str:
    """Return a string.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """Return a truth value.

    Raises:
        TypeError: it is none, but something that counts as one, such as "no".
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def modules(name: str, value: Any) -> tuple[str, ...]:
    """Return names of modules as a tuple; None: none.

    Raises:
        TypeError: it is one string, or something in it is none.
        ModuleNotFoundError: there is no such module, as far as can be told without importing anything.
    """
    found = () if value is None else words(name, value)
    for module in found:
        package = module.partition(".")[0]
        if not package or (package not in sys.modules and importlib.util.find_spec(package) is None):
            raise ModuleNotFoundError(f"{name}: there is no module {module!r} here; install it, or leave it out")
    return found


def call(name: str, value: Any) -> None:
    """Raise unless ``value`` can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {value!r}")


def worker_settings(initializer: Any, initargs: Any, threads_per_worker: Any, environment: Any) -> None:
    """Check what workers are started with.

    Raises:
        TypeError: one has the wrong type.
        ValueError: one is out of range.
    """
    if initializer is not None:
        call("initializer", initializer)
    if not isinstance(initargs, (tuple, list)):
        raise TypeError(f"initargs must be a tuple, not {initargs!r}")
    if threads_per_worker is not None:
        whole("threads_per_worker", threads_per_worker, lowest=1, expected=", or None")
    if environment is None:
        return
    if not isinstance(environment, Mapping) or not all(
        isinstance(s, str) for item in environment.items() for s in item
    ):
        raise TypeError(f"environment must be a mapping of strings to strings, not {environment!r}")
    for name, text in environment.items():
        if not name or "=" in name or "\0" in name + text:
            raise ValueError(f"environment must have names without '=' and no NUL, not {name!r}: {text!r}")
