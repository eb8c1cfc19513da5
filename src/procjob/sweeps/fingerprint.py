"""What a target is made of: the code of a function, and all of the user's own code and data that it refers to.

Each part stands under a name, so that a change can be told. Installed packages count by name only: their versions are recorded with a
sweep, not part of what it is.
"""

from __future__ import annotations

import builtins
import contextlib
import copyreg
import dis
import functools
import importlib
import importlib.util
import sys
import sysconfig
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from itertools import pairwise
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np

from procjob.pool.culprit import ATOMS
from procjob.sweeps.identity import Encoder, NoIdentity, digest, name_of, text

#: What a class statement says of its place; of no consequence.
_ABOUT_CLASSES = ("__doc__", "__firstlineno__", "__module__", "__qualname__", "__static_attributes__")
#: Attributes of functions: what is decorated is closed over, and the mark is encoded by itself.
_SAID_ELSEWHERE = ("__wrapped__", "__procjob_vectorized__")


def fingerprint(target: Any, name: str) -> dict[str, str]:
    """Return what a target is made of: for each part a short name and a hash of 32 hexadecimal digits.

    The parts of a function are its code (not its name, comments, docstrings and line numbers) with its defaults and attributes,
    what it closes over, and each global that it refers to; the user's own functions and classes among those likewise, and what they refer to.

    Raises:
        NoIdentity: something in it has none.
    """
    return fingerprint_and_imported(target, name)[0]


def fingerprint_and_imported(target: Any, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the parts as `fingerprint` does, and what of them a worker imports for itself.

    This is the code of functions of the user's own modules, and the plain values there that functions refer to and do not assign. Other
    data may be a cache or a generator of random numbers, which differ from process to process.
    """
    found = _Fingerprint()
    found.add(name, target)
    parts = {where: digest(encoded).hex() for where, encoded in found.parts.items()}
    imported = {where: each for where, each in found.imported.items() if where not in found.assigned}
    return parts, {where: digest(*sorted(each)).hex() for where, each in imported.items()}


class Classes:
    """What the user's own classes are of which there are values in points: a point is another one if that of a value has changed.

    Args:
        known: what was found before, of each class by its name.
        fixed: these are all that count.
    """

    def __init__(self, known: Mapping[str, str] | None = None, *, fixed: bool = False) -> None:
        self.known = dict(known or {})
        self._fixed = fixed

    def code(self, cls: type, where: str) -> bytes:
        """See `procjob.sweeps.identity.Encoder`.

        Raises:
            NoIdentity: something that the class is made of has none.
        """
        name = name_of(cls)
        if name not in self.known and not self._fixed and _is_own(cls.__module__):
            parts = fingerprint(cls, where)
            self.known[name] = digest(*(part.encode() for part in parts.values())).hex()
        return text(self.known[name]) if name in self.known else b""


class _Fingerprint:
    """Collects the parts of a target; each function and class of the user's own once."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.imported: defaultdict[str, set[bytes]] = defaultdict(set)
        self.assigned: set[str] = set()  # globals, by functions
        self._encoder = Encoder(self._other, self._in_order, self._code_of_class)
        self._known: dict[int, str] = {}
        self._kept: list[Any] = []  # so that no id is used twice

    def add(self, where: str, value: Any) -> None:
        """Add a value as a part of its own, with what it refers to."""
        self.parts[where] = b""  # its place in the order
        self.parts[where] = self._encoder.encode(value, where)

    def _other(self, value: Any, where: str) -> bytes:  # noqa: PLR0911  (one for each type)
        if isinstance(value, types.ModuleType):
            return b"M" + text(value.__name__)
        if isinstance(value, (types.BuiltinFunctionType, types.BuiltinMethodType, np.ufunc)):
            return self._builtin(value, where)
        if isinstance(value, types.MethodType):
            return b"m" + self._encoded(value.__func__, where) + self._encoded(value.__self__, where)
        if isinstance(value, functools.partial):
            return b"p" + self._encoded((value.func, value.args, dict(value.keywords)), where)
        if isinstance(value, functools._lru_cache_wrapper):
            return b"L" + self._encoded(value.__wrapped__, where)
        if isinstance(value, (types.FunctionType, type)):
            return self._own(value, where) if _is_own(value.__module__) else b"F" + text(name_of(value))
        if isinstance(value, types.CodeType):
            return self._code(value, where)
        return self._object(value, where)

    def _in_order(self, members: Any, where: str) -> Iterable[Any]:
        """Return the members of a set in order: with the first object of a class goes the class."""
        named = _Named()
        return sorted(members, key=lambda member: named._encoded(member, where))

    def _encoded(self, value: Any, where: str) -> bytes:
        return self._encoder.encode(value, where)

    def _builtin(self, value: Any, where: str) -> bytes:
        name = getattr(value, "__qualname__", value.__name__)
        if (
            isinstance(value, np.ufunc)
            and set(value.types) == {"O" * value.nin + "->" + "O" * value.nout}
            and _of_python(value)
        ):
            raise NoIdentity(
                f"{where}, made by numpy.frompyfunc, does not show its function, so nobody can tell whether it has changed; "
                "use numpy.vectorize, or give version= to say so yourself"
            )
        owner = getattr(value, "__self__", None)
        bound = b"" if owner is None or isinstance(owner, (types.ModuleType, type)) else self._encoded(owner, where)
        return b"B" + text(str(getattr(value, "__module__", None))) + text(name) + bound

    def _own(self, value: Any, where: str) -> bytes:
        """A function or class of the user's own: once; again by the name of its first part."""
        if id(value) in self._known:
            return b"K" + text(self._known[id(value)])
        self._known[id(value)] = f"{len(self._known)}"
        self._kept.append(value)
        return self._function(value, where) if isinstance(value, types.FunctionType) else self._class(value, where)

    def _function(self, fn: types.FunctionType, where: str) -> bytes:
        code = b"C" + self._code(fn.__code__, where)
        is_imported = _is_imported_as_it_is(fn.__module__)
        if is_imported and "<" not in fn.__code__.co_qualname:  # made by no other function
            self.imported[f"{fn.__module__}.{fn.__code__.co_qualname}"].add(code)
        defaults = self._encoded((fn.__defaults__, fn.__kwdefaults__), f"a default of {where}")
        named = []
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            for n, home, each in _unfolded(name, "", value, _mentioned(fn), set()):
                named.append(self._refer(n, f"{where}: {n}", each))
                self._import(home, each)
        referred = list(_globals_of(fn))
        for name, home, value in referred:
            named.append(self._refer(name, name if value is not fn else where, value))
            if is_imported or "." in name:
                self._import(home, value)
        self.assigned |= _assigned(fn, {home for name, home, _ in referred if "." in name})
        for name, value in vars(fn).items():
            if name not in _SAID_ELSEWHERE:
                named.append(self._refer(f".{name}", f"{where}.{name}", value))
        marked = b"v" if getattr(fn, "__procjob_vectorized__", False) else b""
        return code + defaults + b"".join(sorted(named)) + marked

    def _import(self, home: str, value: Any) -> None:
        """Note what a name in a module of the user's stands for; of a function its own name, as another one may be set there."""
        if home and type(value) in ATOMS:
            self.imported[home].add(self._encoded(value, home))
        elif (
            isinstance(value, types.FunctionType)
            and _is_own(value.__module__)
            and _is_imported_as_it_is(home.rpartition(".")[0])  # as for its code, which may go by the same name
        ):
            self.imported[home].add(text(name_of(value)))

    def _refer(self, name: str, where: str, value: Any) -> bytes:
        """Add what a function refers to; return what it is if it counts by its name, or is there."""
        plain = isinstance(value, (types.FunctionType, type)) and (
            not _is_own(value.__module__) or id(value) in self._known
        )
        if plain or isinstance(value, (types.ModuleType, types.BuiltinFunctionType)):
            return text(name) + self._encoded(value, where)
        label, number = where, 2
        while label in self.parts:
            label, number = f"{where} ({number})", number + 1
        self.add(label, value)
        return b""

    def _code_of_class(self, cls: type, where: str) -> bytes:
        """What an object of plain data can do: nothing that counts unless its class is the user's own."""
        return self._own(cls, where) if _is_own(cls.__module__) else b""

    def _class(self, cls: type, where: str) -> bytes:
        skipped = {"__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__", "__annotations__",
                   "__annotate_func__", "__annotations_cache__", "__abstractmethods__", "_abc_impl", "__slotnames__"}  # fmt: skip
        members = {
            name: _unwrapped(value)
            for name, value in vars(cls).items()
            if name not in skipped and not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType))
        }
        own = [type(cls)] if _is_own(type(cls).__module__) else []
        return b"Y" + self._encoded([list(cls.__bases__), members, *own], where)

    def _code(self, code: types.CodeType, where: str) -> bytes:
        """Encode instructions and the constants that they use: a docstring is none of these."""
        steps, constants = [], []
        instructions = [*dis.get_instructions(code), None]
        for step, following in pairwise(instructions):
            assert step is not None
            constant = step.opcode in dis.hasconst
            about = following is not None and following.opname == "STORE_NAME" and following.argval in _ABOUT_CLASSES
            if about and (constant or step.opname == "LOAD_SMALL_INT"):  # the latter is a line number, from 3.14 on
                continue
            if constant:
                constants.append(step.argval)
            steps.append(pack("<HQ", step.opcode, 0 if constant else step.arg or 0))
        return self._encoded(
            [
                (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~0x4000000),
                b"".join(steps),
                code.co_exceptiontable,
                [*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars],
                constants,
            ],
            where,
        )

    def _object(self, value: Any, where: str) -> bytes:
        """Any other object by how it would be pickled; it is not pickled itself, since pickles of equal objects differ."""
        if any(_top(kind.__module__) in ("qiskit", "qiskit_aer") for kind in type(value).__mro__):
            content = self._content(value, where)
            if content is not None:
                return b"Q" + text(type(value).__qualname__) + self._encoded(content, where)
        if isinstance(value, (set, frozenset)):  # of a class of its own: pickled as a list in any order
            return b"R" + self._encoded([type(value), frozenset(value), getattr(value, "__dict__", None)], where)
        try:
            reduced = (
                copyreg.dispatch_table[type(value)](value)
                if type(value) in copyreg.dispatch_table
                else value.__reduce_ex__(4)
            )
        except Exception as exc:
            raise NoIdentity(
                f"{where}, a {type(value).__qualname__}, has no stable identity ({exc}), so nobody can tell whether it has changed; "
                "give version= to say so yourself, or its class a method __procjob_identity__()"
            ) from exc
        if isinstance(reduced, str):
            return b"G" + text(name_of(type(value))) + text(reduced)
        made = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        return b"R" + self._encoded(made, where)

    def _content(self, value: Any, where: str) -> Any:
        from procjob.qiskit.content import Unknown, content_of

        try:
            return content_of(value)
        except Unknown as exc:
            raise NoIdentity(
                f"{where}, a {type(value).__qualname__}, has no stable identity ({exc}), so nobody can tell whether it has changed; "
                "give version= to say so yourself"
            ) from exc


class _Named(_Fingerprint):
    """Encodes with the user's own functions and classes by their names: the same whatever was encoded before."""

    def _in_order(self, members: Any, where: str) -> Iterable[Any]:
        return members  # type: ignore[no-any-return]

    def _own(self, value: Any, where: str) -> bytes:
        return b"F" + text(name_of(value))


def _top(module: Any) -> str:
    return str(module).partition(".")[0]


def _unwrapped(member: Any) -> Any:
    """Return what a descriptor of a class wraps."""
    if isinstance(member, (staticmethod, classmethod)):
        return (type(member).__name__, member.__func__)
    if isinstance(member, property):
        return ("property", member.fget, member.fset, member.fdel)
    if isinstance(member, functools.cached_property):
        return ("cached_property", member.func)
    return member


def _of_python(ufunc: np.ufunc) -> bool:
    return ufunc.__name__.endswith(" (vectorized)")


def _globals_of(fn: types.FunctionType) -> Iterator[tuple[str, str, Any]]:
    """Yield the globals that a function refers to, and of the user's own modules the attributes that it names; see `_unfolded`."""
    found: dict[str, Any] = {}
    for code in _codes(fn.__code__):
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in fn.__globals__:
                if step.argval != "__annotations__":  # of a class in the function; those of the module are found here
                    found[step.argval] = fn.__globals__[step.argval]
            elif step.opname == "IMPORT_NAME":
                found |= _imported(str(step.argval), fn)
    mentioned = _mentioned(fn)
    for name in sorted(found):
        yield from _unfolded(name, f"{fn.__module__}.{name}", found[name], mentioned, set())


def _is_imported_as_it_is(module: str | None) -> bool:
    """Whether workers import a module as it is here: no hook, such as that of pytest for its assertions, nor -O has changed it."""
    spec = getattr(sys.modules.get(module or ""), "__spec__", None)
    return module != "__main__" and type(getattr(spec, "loader", None)) is SourceFileLoader and not sys.flags.optimize


def _assigned(fn: types.FunctionType, others: set[str]) -> set[str]:
    """Return what a function assigns of its module, and of what others have that it names: by ``module.name += 1``, say."""
    found: set[str] = set()
    attributes: set[str] = set()
    for code in _codes(fn.__code__):
        for before, step in pairwise(dis.get_instructions(code)):
            if step.opname == "STORE_GLOBAL":
                found.add(f"{fn.__module__}.{step.argval}")
            elif step.opname == "STORE_ATTR" and before.opname in ("LOAD_GLOBAL", "SWAP"):  # not of self, say
                attributes.add(step.argval)
    return found | {home for home in others if home.rpartition(".")[2] in attributes}


def _mentioned(fn: types.FunctionType) -> set[str]:
    return {name for code in _codes(fn.__code__) for name in code.co_names}


def _unfolded(name: str, home: str, value: Any, mentioned: set[str], seen: set[str]) -> Iterator[tuple[str, str, Any]]:
    """Yield a value, its name and its module's with it; instead of one of the user's own modules its attributes that a function mentions."""
    if not isinstance(value, types.ModuleType) or not _is_own(value.__name__):
        yield name, home, value
    elif value.__name__ not in seen:
        for attribute in sorted(mentioned & vars(value).keys()):
            inner, each = f"{value.__name__}.{attribute}", vars(value)[attribute]
            yield from _unfolded(f"{name}.{attribute}", inner, each, mentioned, seen | {value.__name__})


def _imported(name: str, fn: types.FunctionType) -> dict[str, Any]:
    """Return what a function imports when it is called, if that is a module of the user's own; it is imported now."""
    found: dict[str, Any] = {}
    for full in (name, f"{fn.__globals__.get('__package__')}.{name}".rstrip(".")):
        top = full.partition(".")[0]
        with contextlib.suppress(Exception):  # it may be there for the workers alone
            if not found and top and _is_own(top, importlib.util.find_spec(top)):
                found = {full: importlib.import_module(full), top: sys.modules[top]}
    return found


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


@functools.cache
def _installed() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(path).resolve() for name in names if (path := sysconfig.get_path(name))})


def _is_own(module: str | None, spec: ModuleSpec | None = None) -> bool:
    """Whether a module is the user's own: neither built in, nor installed, nor procjob; ``spec``: of one that is not imported yet."""
    # Code that was made by exec has none, say; the file of __main__ is another one in a worker.
    if module is None or module == "__main__":
        return True
    if module.partition(".")[0] == "procjob" or module in sys.builtin_module_names or module == builtins.__name__:
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or getattr(spec, "origin", None)
    if file is None:
        return module not in sys.stdlib_module_names
    return _is_own_file(file)


@functools.cache
def _is_own_file(file: str) -> bool:
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _installed())
