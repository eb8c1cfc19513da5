"""Objects that travel to each worker once, under the hash of their pickle."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator

import pytest

from procjob.errors import NotPicklableError
from procjob.pool import constants
from procjob.pool.constants import DIGEST_SIZE, Constant, drop, fetch, pack_call, store
from procjob.pool.pickling import loads


@pytest.fixture(autouse=True)
def worker() -> Iterator[None]:
    """This process plays the worker too: what it was sent is forgotten after the test."""
    yield
    constants._stored.clear()
    constants._loaded.clear()


def send(constant: Constant) -> None:
    """Bring a constant to the worker, as the executor does."""
    store(constant.digest + constant.payload)


def take(x: object, *args: object) -> object:
    return x


def test_equal_objects_have_the_same_digest_and_others_another():
    noise = {"p": [0.1, 0.2]}
    assert Constant(noise).digest == Constant({"p": [0.1, 0.2]}).digest
    assert Constant(noise).digest != Constant({"p": [0.1, 0.3]}).digest
    assert len(Constant(noise).digest) == DIGEST_SIZE


def test_a_constant_is_a_snapshot():
    noise = [0.1]
    constant = Constant(noise)
    noise.append(0.2)
    send(constant)
    assert fetch(constant.digest) == [0.1]


def test_a_constant_that_cannot_be_pickled_names_the_culprit_under_its_label():
    with pytest.raises(NotPicklableError, match=r"^simulator\['lock'\]: "):
        Constant({"lock": threading.Lock()}, label="simulator")


def test_a_call_carries_the_digest_of_a_constant_and_notes_it():
    constant = Constant(bytes(100_000))
    call, found = pack_call(take, (constant,), {"again": constant})
    assert found
    assert set(found) == {constant}
    assert len(call) < 1000


def test_a_digest_turns_back_into_the_object_in_the_worker():
    constant = Constant({"shots": 1024})
    call, _ = pack_call(take, (constant, [constant]), {})
    send(constant)
    _, (first, (second,)), _ = loads(call, what="the call")
    assert first == {"shots": 1024}
    assert first is second
    assert loads(call, what="the call")[1][0] is first


def test_constants_are_noted_in_the_order_in_which_they_are_pickled():
    first, second = Constant(1), Constant(2)
    _, found = pack_call(take, ([second, first],), {})
    assert found == [second, first]


def test_a_constant_cannot_be_pickled_outside_of_a_call():
    with pytest.raises(pickle.PicklingError, match="can only be used in a call to the engine that shipped it"):
        pickle.dumps(Constant(1))
    with pytest.raises(NotPicklableError, match="can only be used in a call"):
        Constant([Constant(1)])


class Packs:
    """Packs another call while it is being pickled itself."""

    def __init__(self, inner: Constant) -> None:
        self.inner = inner
        self.found: list[Constant] = []

    def __reduce__(self):
        _, self.found = pack_call(take, (self.inner,), {})
        return int, ()


def test_references_of_a_call_that_is_packed_inside_another_one_stay_there():
    outer, inner = Constant(1), Constant(2)
    packs = Packs(inner)
    _, found = pack_call(take, (packs, outer), {})
    assert (found, packs.found) == ([outer], [inner])


def test_threads_note_their_own_references_only():
    constant = Constant(1)
    found_elsewhere: list[list[Constant]] = []

    class PacksInAThread:
        def __reduce__(self):
            thread = threading.Thread(target=lambda: found_elsewhere.append(pack_call(take, (), {})[1]))
            thread.start()
            thread.join()
            return int, ()

    _, found = pack_call(take, (PacksInAThread(), constant), {})
    assert (found, found_elsewhere) == ([constant], [[]])


def test_a_constant_is_unpickled_at_its_first_use_and_kept():
    constant = Constant([1, 2, 3])
    send(constant)
    assert constants._loaded == {}
    assert fetch(constant.digest) is fetch(constant.digest)
    assert constants._stored == {}


@pytest.mark.parametrize("used", [True, False])
def test_a_dropped_constant_is_gone_until_it_is_sent_again(used):
    constant = Constant([1, 2, 3])
    send(constant)
    if used:
        fetch(constant.digest)
    drop(constant.digest)
    with pytest.raises(KeyError):
        fetch(constant.digest)
    send(constant)
    assert fetch(constant.digest) == [1, 2, 3]


def test_dropping_what_is_not_there_does_nothing():
    drop(bytes(DIGEST_SIZE))


def fail_to_load() -> None:
    raise ZeroDivisionError("while loading")


class Broken:
    def __reduce__(self):
        return fail_to_load, ()


def test_a_constant_that_does_not_unpickle_fails_each_use_of_it():
    constant = Constant(Broken())
    send(constant)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="while loading"):
            fetch(constant.digest)
