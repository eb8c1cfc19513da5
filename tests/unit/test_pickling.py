"""What may not cross the process border is named, and exceptions cross whole."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procjob.errors import NotPicklableError, RemoteError, RemoteTraceback, WorkerDiedError
from procjob.pool.culprit import find_culprit
from procjob.pool.pickling import dumps, dumps_call, dumps_simple_call, loads, pack_exception, unpack_exception

LOCK = threading.Lock()


class Box:
    """A plain object."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("__private", "inner")

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.__private = 1


@dataclass
class Data:
    inner: object
    other: int = 0


@dataclass(frozen=True, slots=True)
class FrozenData:
    inner: object
    other: list[int] = field(default_factory=list)


class Pair(NamedTuple):
    first: object
    second: object


class MyList(list[Any]):
    pass


class MyDict(dict[Any, Any]):
    pass


def path_of(value: object, label: str = "value") -> str:
    return find_culprit(label, value, pickling_error_of(value)).path


def pickling_error_of(value: object) -> BaseException:
    with pytest.raises(BaseException) as caught:
        cloudpickle.dumps(value)
    return caught.value


def message_of(value: object, label: str = "value") -> str:
    with pytest.raises(NotPicklableError) as caught:
        dumps(value, label=label)
    return str(caught.value)


def call_message(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(NotPicklableError) as caught:
        dumps_call(fn, args, kwargs)
    return str(caught.value)


# --- dumps and dumps_call ---------------------------------------------------------------------------------------------


def test_a_value_comes_back_by_plain_pickle() -> None:
    value = {"theta": [0.1, 0.2], "fn": lambda x: x + 1}
    back = pickle.loads(dumps(value))
    assert back["theta"] == value["theta"]
    assert back["fn"](1) == 2


def test_a_call_comes_back_as_function_arguments_and_keywords() -> None:
    fn, args, kwargs = loads(dumps_call(max, (1, 2), {"key": abs}), what="the call")
    assert (fn, args, kwargs) == (max, (1, 2), {"key": abs})


def of_this_module(value: object) -> None: ...


class Word(str):
    __slots__ = ()


class Incomparable:
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        raise ValueError("not to be compared")


def with_module(name: Any) -> Any:
    def fn(value: object) -> None: ...

    fn.__module__ = name
    return fn


@functools.wraps(of_this_module)
def wrapper_under_another_name(value: object) -> None: ...


@pytest.mark.parametrize("fn", [abs, len, time.monotonic, of_this_module, functools.reduce, b"digest"])
def test_a_simple_call_is_pickled_as_cloudpickle_would_do_it(fn: Any) -> None:
    call = fn, (1, 2.0, "x", None, b"y", True, 1j), {"seed": 7}
    assert dumps_simple_call(*call) == cloudpickle.dumps(call, pickle.HIGHEST_PROTOCOL)


@pytest.mark.parametrize(
    "call",
    [
        (lambda value: value, (1,), {}),
        (wrapper_under_another_name, (1,), {}),
        ([].append, (1,), {}),
        (Box().method, (), {}),
        (functools.partial(abs, 1), (), {}),
        (Box, (), {}),
        (abs, ([1],), {}),
        (abs, (), {"x": (1,)}),
        (abs, (MyList(),), {}),
        (abs, Pair(1, 2), {}),
        (abs, (), {Word("seed"): 7}),
        (abs, (), MappingProxyType({"seed": 7})),
        (with_module([]), (1,), {}),
        (with_module(Incomparable()), (1,), {}),
    ],
    ids=str,
)
def test_what_cloudpickle_may_treat_in_its_own_way_is_left_to_it(call: Any) -> None:
    assert dumps_simple_call(*call) is None


def test_a_function_of_the_script_or_of_a_module_that_travels_by_value_is_left_to_cloudpickle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    cloudpickle.register_pickle_by_value(json)
    try:
        assert dumps_simple_call(of_this_module, (1,), {}) is None
        assert dumps_simple_call(json.decoder.py_scanstring, (1,), {}) is None  # of a module of that package
        assert dumps_simple_call(functools.wraps, (1,), {}) is not None
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        cloudpickle.unregister_pickle_by_value(json)
    monkeypatch.setattr(of_this_module, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "of_this_module", of_this_module, raising=False)
    assert dumps_simple_call(of_this_module, (1,), {}) is None


@pytest.mark.parametrize(("name", "spec"), [("json.in_c", None), ("json.alias", json.decoder.__spec__)])
def test_a_class_of_a_module_that_its_package_has_put_there_itself_travels_by_its_name(
    name: str, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType(name)
    module.__spec__, module.Kind = spec, type("Kind", (), {"__module__": name})
    monkeypatch.setitem(sys.modules, name, module)
    assert dumps(module.Kind) == pickle.dumps(module.Kind, pickle.HIGHEST_PROTOCOL)


@pytest.mark.parametrize("module", ["moved.sub", "aliased.nick.sub"])
def test_a_class_of_a_package_that_looks_elsewhere_for_its_modules_travels_by_its_name(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("moved/there", "aliased/there"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / "sub.py").write_text("class Kind: pass")
    (tmp_path / "moved" / "__init__.py").write_text("__path__ = [__path__[0] + '/there']")
    (tmp_path / "aliased" / "__init__.py").write_text(
        "import sys, aliased.there\nsys.modules['aliased.nick'] = aliased.there"
    )
    monkeypatch.syspath_prepend(tmp_path)
    kind = importlib.import_module(module).Kind
    assert dumps(kind) == pickle.dumps(kind, pickle.HIGHEST_PROTOCOL)


def test_the_message_names_the_path_to_a_lock_in_a_nested_dict() -> None:
    assert message_of({"noise": Box(handle=LOCK)}, "args[0]") == (
        "args[0]['noise'].handle: cannot pickle '_thread.lock' object; create it inside the task instead"
    )


def test_the_original_exception_is_the_cause() -> None:
    with pytest.raises(NotPicklableError) as caught:
        dumps(LOCK)
    assert isinstance(caught.value.__cause__, TypeError)
    assert "_thread.lock" in str(caught.value.__cause__)


def test_the_path_in_a_call_starts_with_fn_args_or_kwargs() -> None:
    assert call_message(lambda: LOCK).startswith("fn.<global 'LOCK'>: ")
    assert call_message(print, 1, [LOCK]).startswith("args[1][0]: ")
    assert call_message(print, 1, sep=(LOCK,)).startswith("kwargs['sep'][0]: ")


def test_the_next_step_fits_the_culprit(tmp_path: Any) -> None:
    assert message_of(i for i in "abc").endswith("; pass a list of its items instead")
    with (tmp_path / "log").open("w") as file:
        assert message_of([file]).endswith("; pass its path and open it inside the task instead")
    assert message_of(sys._getframe()).endswith("; leave it out, or create it inside the task instead")


def test_an_error_of_the_values_own_code_is_named_with_its_type() -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            raise KeyError("stubborn")

    assert message_of([1, Stubborn()]).startswith("value[1]: KeyError: 'stubborn'; ")


def test_a_stop_request_while_pickling_passes_unchanged() -> None:
    for stop in (KeyboardInterrupt, SystemExit, asyncio.CancelledError):

        class Stopping:
            def __reduce__(self, stop: type[BaseException] = stop) -> Any:
                raise stop

        with pytest.raises(stop):
            dumps([Stopping()])


def test_out_of_memory_while_pickling_passes_unchanged() -> None:
    class Huge:
        def __reduce__(self) -> Any:
            raise MemoryError

    with pytest.raises(MemoryError) as caught:
        dumps(Huge())
    assert type(caught.value) is MemoryError


def test_a_too_deep_input_is_explained_by_where_its_nesting_begins() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert message_of({"tree": deep}) == (
        "value['tree']: nested too deeply to pickle; pass a flatter structure instead"
    )
    assert call_message(print, 1, deep).startswith("args[1]: nested too deeply")


def test_an_endless_reduction_is_explained() -> None:
    assert message_of([Endless()]) == "value[0]: nested too deeply to pickle; pass a flatter structure instead"


class Endless:
    def __reduce__(self) -> Any:
        return Endless, (Endless(),)


def test_a_failure_that_does_not_repeat_is_reported_with_its_reason() -> None:
    class Moody:
        calls = 0

        def __reduce__(self) -> Any:
            type(self).calls += 1
            if self.calls == 1:
                raise ValueError("not today")
            return Moody, ()

    assert message_of(Moody()).startswith("value: ValueError: not today; ")


def test_a_failure_without_a_text_is_reported_with_its_type() -> None:
    class Mute:
        def __reduce__(self) -> Any:
            raise TypeError

    assert message_of(Mute()).startswith("value: TypeError; ")


def test_a_very_long_path_is_shortened_in_the_middle() -> None:
    message = message_of({"k" * 90: {"l" * 90: {"m" * 90: {"n" * 90: LOCK}}}})
    assert message.startswith("value['kkk")
    assert "characters left out" in message
    assert len(message) < 500


# --- the path ---------------------------------------------------------------------------------------------------------


HIDDEN = [
    LOCK,
    [1, LOCK],
    (1, (2, LOCK)),
    {"a": 1, ("b", 2): LOCK},
    {None: {1.5: LOCK}},
    Box(inner=LOCK),
    Box(**{"not an identifier": LOCK}),
    Slotted(LOCK),
    Data(LOCK),
    FrozenData([LOCK]),
    Pair(1, LOCK),
    MyList([1, LOCK]),
    MyDict(a=[LOCK]),
    deque([0, LOCK]),
    OrderedDict(a=1, b=LOCK),
    defaultdict(LOCK.acquire),
    functools.partial(print, 1, LOCK),
    functools.partial(print, sep=LOCK),
    functools.partial(LOCK.acquire),
    Box(inner=LOCK).method,
    LOCK.acquire,
    property(LOCK.acquire),
    ValueError("bad", LOCK),
    np.array([[None, LOCK]], dtype=object),
    slice(0, Box(inner=LOCK)),
]


@pytest.mark.parametrize("value", HIDDEN, ids=[f"{n}-{type(value).__name__}" for n, value in enumerate(HIDDEN)])
def test_the_path_evaluates_to_the_lock(value: object) -> None:
    assert eval(path_of(value), {"value": value}) is LOCK


def test_the_path_leads_through_an_attribute_whose_name_is_no_string() -> None:
    box = Box()
    vars(box)[1] = [LOCK]  # type: ignore[index]
    assert path_of(box) == "value.__dict__[1][0]"


def test_the_path_names_a_dict_key_and_an_element_of_a_set() -> None:
    assert path_of({"a": 1, LOCK: 2}).startswith("value.<key <unlocked _thread.lock")
    assert path_of([{LOCK}]) == "value[0].<element 0>"


def test_a_long_key_stays_whole_in_the_path_unless_it_is_huge() -> None:
    assert path_of({"k" * 500: LOCK}) == f"value['{'k' * 500}']"
    assert len(path_of({"k" * 1_000_000: LOCK})) < 1200


def test_the_path_names_a_closure_variable() -> None:
    lock = threading.Lock()
    assert path_of(lambda: lock, "fn") == "fn.<closure 'lock'>"


def test_the_path_names_a_global_used_inside_a_nested_function() -> None:
    assert path_of(lambda: [lambda: LOCK], "fn") == "fn.<global 'LOCK'>"


def test_a_global_with_the_name_of_a_mere_attribute_is_not_blamed() -> None:
    def fn(x: Any, y: Any = LOCK) -> Any:
        return x.LOCK, y

    assert path_of(fn, "fn") == "fn.<default 'y'>"


def test_the_path_names_a_default_argument() -> None:
    def fn(a: Any, b: Any = (), c: Any = LOCK, *, d: Any = 1) -> None: ...

    def keyword_only(a: Any, *, d: Any = LOCK) -> None: ...

    assert path_of(fn, "fn") == "fn.<default 'c'>"
    assert path_of(keyword_only, "fn") == "fn.<default 'd'>"


def test_the_path_names_an_attribute_of_a_local_class() -> None:
    class Local:
        lock = LOCK

    assert path_of(Local) == "value.lock"
    assert path_of(Local()) == "value.__class__.lock"


def test_the_path_leads_through_what_a_local_class_uses() -> None:
    class Local:
        def run(self) -> Any:
            return LOCK

    assert path_of([Local()]) == "value[0].__class__.run.<global 'LOCK'>"


def test_the_path_leads_through_a_method_to_its_function_and_its_object() -> None:
    lock = threading.Lock()

    class Local:
        def run(self) -> Any:
            return lock, Local

    assert path_of(Local().run, "fn") == "fn.__func__.<closure 'lock'>"
    assert path_of(Box(handle=LOCK).method, "fn") == "fn.__self__.handle"


def test_a_lock_left_out_by_getstate_is_not_blamed() -> None:
    assert path_of([Careful(), LOCK]) == "value[1]"


def test_a_state_under_another_name_than_its_attribute_is_named_as_given() -> None:
    careful = Careful()
    careful.extra = threading.Lock()
    path = path_of(careful)
    assert path == "value.__getstate__()['packed'][0]"
    assert eval(path, {"value": careful}) is careful.extra


class Careful:
    def __init__(self) -> None:
        self.lock = LOCK
        self.extra: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"packed": [self.extra]}


def test_a_cycle_is_walked_once() -> None:
    value: dict[str, Any] = {}
    value["self"] = [value, {"again": value}]
    value["lock"] = LOCK
    assert path_of(value) == "value['lock']"


def test_a_part_that_fails_only_through_its_owner_is_not_blamed() -> None:
    owner = Box()
    owner.first = Box(second=Box(owner=owner))  # type: ignore[attr-defined]
    owner.handle = LOCK  # type: ignore[attr-defined]
    assert path_of(owner) == "value.handle"


def test_the_search_ends_at_its_number_of_objects_with_the_best_path_so_far() -> None:
    value = {"a": [*([i] for i in range(1000)), LOCK]}
    assert find_culprit("value", value, pickling_error_of(value), max_objects=100).path == "value['a']"


def test_the_search_ends_at_its_time_with_the_best_path_so_far() -> None:
    value = Box(first=1, last=[*(Slow() for _ in range(100)), LOCK])
    error = pickling_error_of(value)
    begin = time.monotonic()
    found = find_culprit("value", value, error, max_seconds=0.75)
    assert time.monotonic() - begin < 2
    assert found.path in ("value", "value.last")


class Slow:
    def __reduce__(self) -> Any:
        time.sleep(0.005)
        return Slow, ()


def test_parts_that_exist_only_while_they_are_pickled_are_told_apart() -> None:
    assert path_of(MadeUp()) == "value[50][0]"


class MadeUp:
    def __reduce__(self) -> Any:
        return MadeUp, (), None, ([LOCK if i == 50 else i] for i in range(51))


def test_a_large_list_is_searched_to_its_end() -> None:
    assert path_of([*([i] for i in range(20_000)), LOCK]) == "value[20000]"


def test_hostile_values_do_not_break_the_search() -> None:
    class Hostile:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise SystemExit

        def __repr__(self) -> str:
            raise ZeroDivisionError

        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise OSError

    assert path_of([Hostile()]) == "value[0]"
    assert path_of({Hostile(): LOCK}).startswith("value.<key <")


def test_a_culprit_that_fails_to_name_its_class_is_still_named() -> None:
    class Nameless:
        def __reduce__(self) -> Any:
            raise ValueError("no")

        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise OSError

    assert message_of([Nameless()]).startswith("value[0]: ")


def test_the_search_changes_nothing() -> None:
    value = {"a": iter([1, 2, 3]), "b": Box(items=[1, {2}]), "c": (i for i in "xyz"), "d": LOCK}
    path_of(value)
    assert list(value["a"]) == [1, 2, 3]  # type: ignore[call-overload]
    assert list(value["c"]) == ["x", "y", "z"]  # type: ignore[call-overload]
    assert list(value) == ["a", "b", "c", "d"]
    assert vars(value["b"]) == {"items": [1, {2}]}


keys = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.tuples(st.integers(), st.text()))
innocent = st.recursive(
    st.one_of(keys, st.floats(), st.binary(max_size=5), st.just(abs), st.builds(lambda: lambda: 1)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3), st.builds(Data, inner)
    ),
    max_leaves=5,
)


@st.composite
def wrapped(draw: st.DrawFn, inner: Any) -> Any:
    """One more layer around ``inner``, among innocent neighbours."""
    before, after = draw(st.lists(innocent, max_size=3)), draw(st.lists(innocent, max_size=3))
    around = [*before, inner, *after]
    wrappers: list[Callable[[], Any]] = [
        lambda: around,
        lambda: tuple(around),
        lambda: deque(around),
        lambda: MyList(around),
        lambda: dict(zip(draw(st.lists(keys, min_size=7, max_size=7, unique=True)), around, strict=False)),
        lambda: OrderedDict(enumerate(around)),
        lambda: Box(**{f"a{i}": part for i, part in enumerate(around)}),
        lambda: Slotted(around),
        lambda: Data(inner),
        lambda: FrozenData(inner),
        lambda: Pair(before, inner),
        lambda: functools.partial(print, *around),
        lambda: functools.partial(print, sep=inner),
        lambda: Box(inner=inner).method,
        lambda: with_cycle(around),
    ]
    return draw(st.sampled_from(wrappers))()


def with_cycle(around: list[Any]) -> list[Any]:
    around.insert(0, Box(back=around))
    return around


@st.composite
def structures_with_a_lock(draw: st.DrawFn) -> tuple[object, object]:
    lock = threading.Lock()
    value: object = lock
    for _ in range(draw(st.integers(0, 6))):
        value = draw(wrapped(value))
    return value, lock


@settings(max_examples=500, deadline=None)
@given(structures_with_a_lock())
def test_a_lock_hidden_anywhere_is_named_by_a_path_that_evaluates_to_it(hidden: tuple[object, object]) -> None:
    value, lock = hidden
    path = path_of(value)
    assert eval(path, {"value": value}) is lock
    assert dumps_call_names(value) == path.replace("value", "args[0]", 1)


def dumps_call_names(value: object) -> str:
    message = call_message(print, value)
    if "characters left out" in message:
        return path_of(value, "args[0]")
    return message.split(": cannot pickle '_thread.lock' object")[0]


@settings(max_examples=100, deadline=None)
@given(innocent)
def test_an_innocent_value_travels(value: object) -> None:
    assert type(loads(dumps(value), what="the value")).__name__ == type(value).__name__


# --- loads ------------------------------------------------------------------------------------------------------------


class RaisesOnLoad:
    """Unpickling raises what it was made with."""

    def __init__(self, exc: BaseException) -> None:
        self.exc = exc

    def __setstate__(self, state: Any) -> None:
        raise state["exc"]


@pytest.mark.parametrize("exc", [ValueError("no"), SystemExit(3), GeneratorExit(), asyncio.CancelledError()], ids=repr)
def test_anything_raised_while_unpickling_is_a_remote_error_with_its_cause(exc: BaseException) -> None:
    with pytest.raises(RemoteError, match=r"^the result could not be unpickled: ") as caught:
        loads(dumps(RaisesOnLoad(exc)), what="the result")
    assert type(exc).__qualname__ in str(caught.value)
    assert type(caught.value.__cause__) is type(exc)


def test_damaged_data_is_a_remote_error() -> None:
    for data in (b"", b"\x80", b"junk", dumps([1, 2, 3])[:-3]):
        with pytest.raises(RemoteError, match="the call could not be unpickled"):
            loads(data, what="the call")


def test_out_of_memory_while_unpickling_passes_unchanged() -> None:
    with pytest.raises(MemoryError) as caught:
        loads(dumps(RaisesOnLoad(MemoryError())), what="the result")
    assert type(caught.value) is MemoryError


# --- exceptions -------------------------------------------------------------------------------------------------------


def crossed(exc: BaseException) -> BaseException:
    return unpack_exception(pack_exception(exc))


def text_of(exc: BaseException) -> str:
    assert isinstance(exc.__cause__, RemoteTraceback)
    return exc.__cause__.text


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def fail() -> None:
    try:
        raise KeyError("the first")
    except KeyError as error:
        raise ValueError("the second") from error


def test_an_exception_keeps_its_type_arguments_and_attributes() -> None:
    back = crossed(WorkerDiedError("gone", exitcode=-9, stderr="killed"))
    assert type(back) is WorkerDiedError
    assert (back.args, back.exitcode, back.stderr) == (("gone",), -9, "killed")


def test_the_remote_traceback_shows_the_chained_causes() -> None:
    text = text_of(crossed(raised(fail)))
    assert "KeyError: 'the first'" in text
    assert "direct cause of the following exception" in text
    assert "ValueError: the second" in text
    assert "in fail" in text


def test_the_printed_exception_shows_the_remote_traceback() -> None:
    assert "in fail" in "".join(traceback.format_exception(crossed(raised(fail))))


def test_notes_are_kept_once() -> None:
    exc = ValueError("bad")
    exc.add_note("point 7")
    exc.add_note("attempt 2")
    assert crossed(exc).__notes__ == ["point 7", "attempt 2"]


class ForgetsNotes(Exception):
    def __reduce__(self) -> Any:
        return type(self), self.args


def test_notes_that_a_custom_reduce_drops_are_added_back() -> None:
    exc = ForgetsNotes("bad")
    exc.add_note("point 7")
    back = crossed(exc)
    assert type(back) is ForgetsNotes
    assert back.__notes__ == ["point 7"]


class DoesNotFitItsArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


def test_an_exception_that_pickles_but_does_not_unpickle_becomes_a_remote_error() -> None:
    exc = DoesNotFitItsArguments(7, "no qubits")
    exc.add_note("point 7")
    back = crossed(exc)
    assert type(back) is RemoteError
    assert str(back) == f"{__name__}.DoesNotFitItsArguments: 7: no qubits"
    assert back.__notes__ == ["point 7"]
    assert "no qubits" in text_of(back)


def test_an_exception_that_holds_a_lock_becomes_a_remote_error() -> None:
    back = crossed(ValueError("bad", LOCK))
    assert type(back) is RemoteError
    assert str(back).startswith("ValueError: ('bad', <unlocked _thread.lock")


@pytest.mark.parametrize("stop", [ValueError, SystemExit, GeneratorExit, asyncio.CancelledError, MemoryError])
@pytest.mark.parametrize("method", ["__reduce__", "__reduce_ex__", "__getstate__", "__str__", "__setstate__"])
def test_an_exception_hostile_in_any_of_its_methods_still_crosses(method: str, stop: type[BaseException]) -> None:
    def sabotage(*args: Any) -> Any:
        raise stop

    hostile = type("Hostile", (Exception,), {method: sabotage})
    exc = hostile("bad")
    exc.attribute = 1
    back = crossed(exc)
    if method in ("__str__", "__getstate__"):  # an exception is pickled without __getstate__
        assert type(back) is hostile
    else:
        assert type(back) is RemoteError
        assert str(back) == f"{__name__}.Hostile: bad"
    assert "Hostile" in text_of(back)


def test_an_exception_without_a_text_or_a_pickle_still_says_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemExit

        def __reduce__(self) -> Any:
            raise SystemExit

    assert str(crossed(Mute())).endswith("Mute: <its str() failed>")


def test_an_exception_that_fails_only_in_the_receiver_becomes_a_remote_error(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack_exception(ForgetsNotes("bad"))
    monkeypatch.delattr(sys.modules[__name__], "ForgetsNotes")
    back = unpack_exception(data)
    assert type(back) is RemoteError
    assert str(back) == f"{__name__}.ForgetsNotes: bad"


def test_an_exit_while_loading_in_the_receiver_becomes_a_remote_error(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack_exception(ForgetsNotes("bad"))
    monkeypatch.setattr(ForgetsNotes, "__init__", lambda *args: sys.exit(1))
    assert type(unpack_exception(data)) is RemoteError


def test_a_pickle_that_loads_as_no_exception_becomes_a_remote_error() -> None:
    class Disguised(Exception):
        def __reduce__(self) -> Any:
            return str, ("a string",)

    assert type(crossed(Disguised("bad"))) is RemoteError


def test_damaged_exception_data_becomes_a_remote_error() -> None:
    assert type(unpack_exception(b"junk")) is RemoteError
    assert type(unpack_exception(dumps("a string"))) is RemoteError


@dataclass(frozen=True, slots=True)
class FrozenError(Exception):
    code: int

    def __reduce__(self) -> Any:
        return FrozenError, (self.code,)


def test_an_exception_that_is_a_frozen_dataclass_gets_its_cause() -> None:
    exc = FrozenError(3)
    BaseException.__setattr__(exc, "__notes__", ["point 7"])
    back = crossed(exc)
    assert isinstance(back, FrozenError)
    assert back.code == 3
    assert back.__notes__ == ["point 7"]
    assert "FrozenError" in text_of(back)


def test_an_exception_group_keeps_its_members_and_their_notes() -> None:
    member = KeyError("b")
    member.add_note("point 7")
    back = crossed(ExceptionGroup("two", [ValueError("a"), member]))
    assert isinstance(back, ExceptionGroup)
    assert [type(exc) for exc in back.exceptions] == [ValueError, KeyError]
    assert back.exceptions[1].__notes__ == ["point 7"]


@pytest.mark.parametrize("exc", [KeyboardInterrupt("stop"), SystemExit(3), GeneratorExit(), MemoryError("much")])
def test_an_exit_or_interrupt_raised_by_the_task_keeps_its_type(exc: BaseException) -> None:
    back = crossed(exc)
    assert type(back) is type(exc)
    assert back.args == exc.args


def test_a_huge_message_stays_whole_in_the_exception_and_is_cut_in_the_text() -> None:
    back = crossed(ValueError("x" * 5_000_000))
    assert len(str(back)) == 5_000_000
    assert len(text_of(back)) < 200_000
    assert len(str(crossed(ValueError("x" * 5_000_000, LOCK)))) < 200_000


def test_an_exception_nested_too_deeply_becomes_a_remote_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    class Deep(Exception):
        def __str__(self) -> str:
            return "deep"

    assert str(crossed(Deep(deep))).endswith("Deep: deep")


def test_a_text_of_a_hostile_str_type_is_shipped_as_plain_text() -> None:
    class Text(str):  # noqa: SLOT000  (a plain subclass, as users write them)
        def __reduce__(self) -> Any:
            raise ValueError

    class Odd(Exception):
        def __str__(self) -> str:
            return Text("odd")

        def __reduce__(self) -> Any:
            raise ValueError

    exc = Odd()
    exc.add_note(Text("note"))
    back = crossed(exc)
    assert str(back).endswith("Odd: odd")
    assert back.__notes__ == ["note"]


def test_strange_notes_do_no_harm() -> None:
    for notes in (7, [1, "real"], None):
        exc = DoesNotFitItsArguments(7, "bad")
        exc.__notes__ = notes  # type: ignore[assignment]
        assert type(crossed(exc)) is RemoteError


def test_a_cycle_of_causes_is_packed() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert str(crossed(first)) == "a"


def test_an_exception_of_a_script_crosses_from_another_process() -> None:
    script = """if True:
        import sys
        from procjob.pool.pickling import pack_exception

        class Mine(Exception):
            def __init__(self, code, reason):
                super().__init__(code, reason)

        try:
            raise Mine(7, "from afar")
        except Mine as error:
            error.add_note("a note")
            sys.stdout.buffer.write(pack_exception(error))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60)
    back = unpack_exception(done.stdout)
    assert type(back).__name__ == "Mine"
    assert back.args == (7, "from afar")
    assert back.__notes__ == ["a note"]
    assert "from afar" in text_of(back)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    """Ctrl-C comes while it is pickled."""

    def __reduce__(self) -> Any:
        signal.raise_signal(signal.SIGINT)
        return Interrupted, ()


class Pretends(Exception):
    """Raises KeyboardInterrupt by itself while it is pickled."""

    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


@contextmanager
def sigint(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_real_ctrl_c_during_packing_passes() -> None:
    with sigint(signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        pack_exception(Interrupted())


def test_a_real_ctrl_c_during_unpickling_passes() -> None:
    with sigint(signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        loads(dumps(RaisesOnLoad(KeyboardInterrupt())), what="the result")


def test_a_worker_that_ignores_ctrl_c_takes_no_exception_for_one() -> None:
    with sigint(signal.SIG_IGN):
        assert type(crossed(Pretends("bad"))) is RemoteError
        with pytest.raises(RemoteError, match="KeyboardInterrupt"):
            loads(dumps(RaisesOnLoad(KeyboardInterrupt())), what="the call")


def test_a_thread_other_than_the_main_one_takes_no_exception_for_ctrl_c() -> None:
    outcome: list[BaseException] = []
    thread = threading.Thread(target=lambda: outcome.append(crossed(Pretends("bad"))))
    thread.start()
    thread.join()
    assert type(outcome[0]) is RemoteError
