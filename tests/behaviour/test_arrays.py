"""Large values go through memory that both processes map: the bits are the same, and nothing is left, whoever is killed."""

from __future__ import annotations

import gc
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

import procjob
from procjob.pool import memory, payload, process

DEADLINE = 60.0
LARGE = 4 * memory.LEAST_MAPPED  # bytes
MIDDLE = payload.LEAST * 3 // 2
assert payload.LEAST < MIDDLE < memory.LEAST_MAPPED < LARGE
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory without a name")


@pytest.fixture(scope="module")
def pool():
    """One worker that no test may kill."""
    with procjob.ProcessPoolExecutor(1) as pool:
        assert pool.submit(abs, -1).result(DEADLINE) == 1
        yield pool


@pytest.fixture
def own_pool():
    """One worker of a test's own."""
    with procjob.ProcessPoolExecutor(1) as pool:
        yield pool


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(7).random(size // 8)


def same(x):
    return x


def memories(pid: int | str = "self") -> list[str]:
    """Descriptors and mappings of memory for payloads that a process has."""
    found = [str(link.readlink()) for link in _links(pid)] + Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [entry for entry in found if "memfd:procjob " in entry + " "]


def _links(pid: int | str) -> list[Path]:
    return [link for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]


# ---------------------------------------------------------------- bits

KINDS = {
    "large array": lambda: noise(LARGE),
    "array that is copied": lambda: noise(MIDDLE),
    "Fortran order": lambda: np.asfortranarray(noise(LARGE).reshape(64, -1)),
    "not contiguous": lambda: noise(LARGE).reshape(64, -1)[::2, 1:],
    "read-only": lambda: np.frombuffer(noise(LARGE).tobytes(), np.uint8),
    "structured": lambda: np.zeros(LARGE // 12, [("a", "<f8"), ("b", ">i4")]),
    "objects": lambda: np.array([{"a": 1}, None, noise(MIDDLE)], dtype=object),
    "numpy scalar": lambda: np.complex64(1 + 2j),
    "masked": lambda: np.ma.masked_greater(noise(MIDDLE), 0.5),
    "empty and large": lambda: [np.empty(0), noise(LARGE), np.empty((0, 3))],
    "nested": lambda: {"a": [noise(LARGE), (noise(MIDDLE), {"b": noise(64)})], "c": {1, 2}},
    "many": lambda: [noise(MIDDLE) + n for n in range(20)],
    "bytes": lambda: noise(LARGE).tobytes(),
    "bytearray": lambda: bytearray(noise(LARGE).tobytes()),
    "text": lambda: "ä" * LARGE,
    "frozen buffer": lambda: pickle.PickleBuffer(b"x" * LARGE),
}


def bits(x):
    """What is compared: every bit, and what an array says about itself."""
    if isinstance(x, np.ma.MaskedArray):
        return "masked", bits(x.data), bits(x.mask)
    if isinstance(x, np.ndarray) and x.dtype == object:
        return x.shape, [bits(item) for item in x.flat]
    if isinstance(x, np.ndarray):
        return x.dtype.descr, x.shape, x.flags.writeable, x.flags.f_contiguous, x.tobytes("A")
    if isinstance(x, dict):
        return {key: bits(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return type(x), [bits(value) for value in x]
    return type(x), bytes(x) if isinstance(x, pickle.PickleBuffer | memoryview) else x


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_value_comes_back_as_one_that_was_pickled_in_one_piece_does(pool, make):
    value = make()
    assert bits(pool.submit(same, value).result(DEADLINE)) == bits(pickle.loads(pickle.dumps(value, 5)))


def test_a_data_frame_comes_back_equal_and_can_be_changed(pool):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": noise(LARGE), "n": np.arange(LARGE // 8), "s": "text"})
    back = pool.submit(same, frame).result(DEADLINE)
    pandas.testing.assert_frame_equal(back, frame)
    back.loc[3, "x"] = 2.0
    assert back.x[3] == 2.0
    assert frame.x[3] != 2.0


def test_a_value_of_several_arrays_keeps_those_that_are_one_array_one(pool):
    array = noise(LARGE)
    first, second = pool.submit(same, (array, array)).result(DEADLINE)
    assert first is second


@pytest.mark.parametrize("size", [MIDDLE, LARGE])
def test_arrays_are_writable_and_private_to_each_receiver(pool, size):
    def change(array):
        array[:] = -1.0
        return array

    array = noise(size)
    kept = array.copy()
    future = pool.submit(change, array)
    changed = future.result(DEADLINE)
    assert (changed == -1.0).all()
    assert (array == kept).all()
    changed[0] = 5.0
    assert pool.submit(change, array).result(DEADLINE)[0] == -1.0


def test_arrays_begin_where_vector_instructions_want_them(pool):
    arrays = pool.submit(same, [np.ones(n, np.uint8) for n in (LARGE + 1, LARGE + 3, LARGE)]).result(DEADLINE)
    assert [array.ctypes.data % 64 for array in arrays] == [0, 0, 0]


def test_what_the_caller_writes_after_submit_does_not_reach_the_call(pool):
    array = noise(LARGE)
    first = array[0]
    gate = pool.submit(time.sleep, 0.2)
    future = pool.submit(np.ndarray.item, array, 0)
    array[:] = 0
    assert future.result(DEADLINE) == first
    assert gate.done()


@linux
@pytest.mark.parametrize("size", [MIDDLE, LARGE])
def test_an_array_really_goes_through_memory(size):
    sent = payload.Buffers()
    pickled = pickle.dumps(noise(size), 5, buffer_callback=sent.keeps)
    assert len(pickled) < 1000
    assert isinstance(payload.pack(pickled, sent), memory.Memory)


def test_an_exception_with_a_large_array_comes_back_whole(pool):
    def fail(array):
        raise ValueError(array)

    with pytest.raises(ValueError) as caught:
        pool.submit(fail, noise(LARGE)).result(DEADLINE)
    assert (caught.value.args[0] == noise(LARGE)).all()


def test_an_array_that_comes_back_is_not_the_memory_of_the_parents_children():
    """A copy of the parent made by fork has its own copy of a result."""
    with procjob.ProcessPoolExecutor(1) as pool:
        array = pool.submit(noise, LARGE).result(DEADLINE)
    if (child := os.fork()) == 0:
        array[:] = 3.0
        os._exit(0)
    os.waitpid(child, 0)
    assert (array == noise(LARGE)).all()


# ---------------------------------------------------------------- nothing is left


@linux
def test_a_result_is_given_back_to_the_system_when_nobody_has_it_any_more(pool):
    array = pool.submit(noise, LARGE).result(DEADLINE)
    part = array[3:5]
    del array
    assert len(memories()) == 1
    del part
    gc.collect()
    assert memories() == []


@linux
def test_neither_side_keeps_memory_of_a_call_that_has_ended(own_pool):
    assert own_pool.submit(lambda array: array.sum(), noise(LARGE)).result(DEADLINE) > 0
    own_pool.submit(same, noise(LARGE)).result(DEADLINE)
    (pid,) = own_pool._pool.worker_pids()
    assert own_pool.submit(memories).result(DEADLINE) == []
    assert memories(pid) == memories() == []


@linux
def test_nothing_is_left_of_results_whose_workers_are_killed_while_they_send_them(tmp_path):
    def work(path):
        (path / str(os.getpid())).touch()
        return np.ones(LARGE)

    with procjob.ProcessPoolExecutor(2) as pool:
        futures = [pool.submit(work, tmp_path) for _ in range(12)]
        deadline = time.monotonic() + DEADLINE
        killed = 0
        while killed < 3 and time.monotonic() < deadline:
            for path in list(tmp_path.iterdir()):
                path.unlink()
                time.sleep(0.01 * killed)
                os.kill(int(path.name), signal.SIGKILL)
                killed += 1
        outcomes = [future.exception(DEADLINE) for future in futures]
        assert all(error is None or isinstance(error, procjob.WorkerDiedError) for error in outcomes)
        assert sum(error is None for error in outcomes) >= len(futures) - killed
        assert pool.submit(abs, -1).result(DEADLINE) == 1
        del futures
        gc.collect()
        assert memories() == []


@linux
def test_a_cancel_while_a_large_result_is_made_and_sent_leaves_nothing():
    def work():
        procjob.report_progress(1)
        return np.ones(LARGE)

    with procjob.Backend(lambda _: work(), workers=1) as backend:
        for n in range(12):
            job = backend.run(n)
            time.sleep(0.001 * n)
            job.cancel()
            job.wait_for_final_state(DEADLINE)
            assert job.cancelled() or job.done()
        assert backend.run(0).result(DEADLINE).size == LARGE
        del job
        gc.collect()
        assert memories() == []


@linux
def test_queued_calls_that_are_cancelled_give_their_memory_back(own_pool):
    blocker = own_pool.submit(time.sleep, 60)
    futures = [own_pool.submit(same, noise(LARGE)) for _ in range(10)]
    assert len(memories()) == 10
    assert all(future.cancel() for future in futures)
    blocker.cancel()
    with pytest.raises(CancelledError):
        blocker.result(DEADLINE)
    own_pool.submit(abs, -1).result(DEADLINE)
    assert memories() == []


SCRIPT = """
import time
import numpy as np
import procjob

with procjob.ProcessPoolExecutor(2) as pool:
    table = procjob.shared(np.ones(1 << 20))
    futures = [pool.submit(np.repeat, np.ones(1 << 18), 3) for _ in range(100)]
    futures += [pool.submit(np.dot, table, table) for _ in range(50)]
    futures[3].result()
    print("ready", flush=True)
    for _ in range(600):
        time.sleep(0.1)  # Python does not see a signal that comes right before a sleep until that ends
"""


@linux
@pytest.mark.parametrize("strike", [signal.SIGKILL, signal.SIGINT])
def test_a_parent_that_is_killed_or_interrupted_amid_arrays_leaves_no_process_and_no_file(tmp_path, strike):
    before = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").exists() else set()
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with script:
        assert script.stdout.readline() == b"ready\n"
        family = psutil.Process(script.pid).children(recursive=True)
        script.send_signal(strike)
        script.wait(DEADLINE)
        _, alive = psutil.wait_procs(family, 10)
    assert alive == []
    after = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").exists() else set()
    assert {path.name for path in after - before if "procjob" in path.name} == set()
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- where there is no memory, or no descriptor


def run(script: str) -> str:
    """Run a script in an interpreter of its own, and return what it has printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BOTH_WAYS = """
with procjob.ProcessPoolExecutor(2, initializer=prepare) as pool:
    arrays = [np.full(1 << 18, n) for n in range(8)]
    table = procjob.shared(np.arange(1 << 18))
    futures = [pool.submit(work, array, table) for array in arrays]
    for n, future in enumerate(futures):
        first, second = future.result(60)
        assert (first == n).all() and (second == np.arange(1 << 18) + n).all()
        first[0] = -1
    print("same")
"""
PREPARE = """
import os, resource
import numpy as np, procjob

def work(array, table):
    assert array.flags.writeable and not table.flags.writeable
    return array, array + table
"""


def test_without_such_memory_everything_goes_through_the_pipe():
    script = """
    def prepare():
        import os
        if hasattr(os, "memfd_create"):
            del os.memfd_create
    prepare()
    """
    assert run(PREPARE + textwrap.dedent(script) + BOTH_WAYS) == "same\n"


@linux
def test_without_such_memory_in_the_workers_results_go_through_the_pipe():
    script = """
    def prepare():
        import os
        del os.memfd_create
    """
    assert run(PREPARE + textwrap.dedent(script) + BOTH_WAYS) == "same\n"


@linux
def test_files_that_may_not_grow_large_are_no_obstacle():
    script = """
    def prepare():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    prepare()
    """
    assert run(PREPARE + textwrap.dedent(script) + BOTH_WAYS) == "same\n"


FEW = """
def prepare():
    pass

def take_all_but(count):
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    for fd in taken[:count]:
        os.close(fd)
    return taken[count:]
"""


@linux
@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_parent_with_hardly_a_descriptor_left_still_gets_its_results(left):
    body = f"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    with procjob.ProcessPoolExecutor(2) as pool:
        for future in [pool.submit(abs, n) for n in range(100)]:
            future.result(60)
        pids = set(pool.map(lambda n: (__import__("time").sleep(0.2), os.getpid())[1], range(2)))
        assert len(pids) == 2
        array = np.arange(1 << 18)
        held = take_all_but({left})
        futures = [pool.submit(lambda a, n: a + n, array, n) for n in range(8)]
        for n, future in enumerate(futures):
            assert (future.result(60) == array + n).all()
        for fd in held:
            os.close(fd)
        print("same")
    """
    assert run(PREPARE + FEW + textwrap.dedent(body)) == "same\n"


@linux
def test_a_worker_with_no_descriptor_left_still_gets_its_arguments():
    script = """
    def prepare():
        import numpy
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        global held
        held = take_all_but(0)
    """
    assert run(PREPARE + FEW + textwrap.dedent(script) + BOTH_WAYS) == "same\n"


@linux
def test_a_worker_with_no_address_space_for_an_argument_fails_the_call_and_lives():
    def shrink():
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 27), used + (1 << 27)))

    with procjob.ProcessPoolExecutor(1, initializer=shrink) as pool:
        pid = pool.submit(os.getpid).result(DEADLINE)
        with pytest.raises(MemoryError):
            pool.submit(len, np.ones(1 << 26, np.float32)).result(DEADLINE)
        assert pool.submit(len, np.ones(1 << 20)).result(DEADLINE) == 1 << 20
        assert pool.submit(os.getpid).result(DEADLINE) == pid


@linux
def test_a_worker_with_no_memory_for_the_copy_of_a_result_fails_the_call_and_lives(own_pool):
    def work():
        del os.memfd_create
        array = np.ones(1 << 24)
        limit = psutil.Process().memory_info().vms + (1 << 26)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        return array

    pid = own_pool.submit(os.getpid).result(DEADLINE)
    with pytest.raises(MemoryError):
        own_pool.submit(work).result(DEADLINE)
    assert own_pool.submit(os.getpid).result(DEADLINE) == pid


@linux
def test_ten_thousand_queued_calls_with_arrays_hold_few_descriptors_and_all_arrive(pool, monkeypatch):
    monkeypatch.setattr(payload, "LEAST", 1 << 16)  # so that they take no 5 GB
    monkeypatch.setattr(payload.Buffers, "least", 1 << 16)
    array = np.arange(payload.LEAST // 4, dtype=np.int32)
    gate = pool.submit(time.sleep, 60)
    open_before = len(_links("self"))
    futures = [pool.submit(np.ndarray.item, array, -1 - n) for n in range(10_000)]
    assert 100 < len(_links("self")) - open_before < 600
    gate.cancel()
    kept = futures[:300] + futures[-300:]
    for future in futures[300:-300]:
        future.cancel()
    assert [future.result(DEADLINE) for future in kept[:300]] == array[-1:-301:-1].tolist()
    assert [future.result(DEADLINE) for future in kept[300:]] == array[-9701:-10001:-1].tolist()
    assert len(_links("self")) <= open_before


# ---------------------------------------------------------------- retries


def test_a_retry_after_a_death_gets_the_array_as_it_was(tmp_path):
    def work(array):
        array += 1
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return array

    with procjob.Backend(work, workers=1, retries=1) as backend:
        job = backend.run(noise(LARGE))
        assert (job.result(DEADLINE) == noise(LARGE) + 1).all()
        assert job.metrics().attempts == 2


# ---------------------------------------------------------------- shared

Point = namedtuple("Point", "x y")


def test_a_shared_value_may_be_anywhere_in_the_arguments(pool):
    table = procjob.shared({"a": noise(LARGE)})

    def look(first, pairs, *, scale):
        return first["a"][3] + pairs[0][1]["a"][3] * scale["by"]["a"][3]

    x = noise(LARGE)[3]
    assert pool.submit(look, table, [(1, table)], scale={"by": table}).result(DEADLINE) == x + x * x
    assert list(pool.map(partial(lambda t, n: t["a"][n], table), range(5))) == noise(LARGE)[:5].tolist()


def test_a_shared_value_travels_to_each_worker_once(tmp_path):
    class Counted:
        def __init__(self, path):
            self.path = path

        def __reduce__(self):
            return load, (self.path,)

    def load(path):
        (path / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return path

    def use(shared):
        time.sleep(0.02)
        return os.getpid()

    with procjob.ProcessPoolExecutor(2) as pool:
        table = procjob.shared(Counted(tmp_path))
        used = {future.result(DEADLINE) for future in [pool.submit(use, table) for _ in range(20)]}
    loaded = [int(path.name.partition("-")[0]) for path in tmp_path.iterdir()]
    assert sorted(loaded) == sorted(used)


def test_arrays_of_a_shared_value_are_read_only_in_calls_whatever_their_size(pool):
    for size in (64, MIDDLE, LARGE):
        with pytest.raises(ValueError, match="read-only"):
            pool.submit(np.ndarray.fill, procjob.shared(noise(size)), 0).result(DEADLINE)


def test_a_shared_value_is_a_snapshot(pool):
    array = noise(LARGE)
    table = procjob.shared(array)
    array[:] = 0
    assert pool.submit(np.ndarray.item, table, 3).result(DEADLINE) == noise(LARGE)[3]


@linux
def test_workers_map_the_same_pages_of_a_shared_value(tmp_path):
    def where(array, path):
        (path / str(os.getpid())).touch()
        while len(list(path.iterdir())) < 2:
            time.sleep(0.001)
        entries = Path("/proc/self/maps").read_text().splitlines()
        return {entry.split()[4] for entry in entries if "memfd:procjob " in entry + " "}

    with procjob.ProcessPoolExecutor(2) as pool:
        table = procjob.shared(noise(LARGE))
        futures = [pool.submit(where, table, tmp_path) for _ in range(2)]
        inodes = [future.result(DEADLINE) for future in futures]
        assert len(inodes[0]) == 1
        assert inodes[0] == inodes[1]


def test_a_worker_that_takes_the_place_of_a_dead_one_gets_the_shared_value(own_pool):
    table = procjob.shared(noise(LARGE))
    pid = own_pool.submit(lambda _: os.getpid(), table).result(DEADLINE)
    with pytest.raises(procjob.WorkerDiedError):
        own_pool.submit(lambda _: os._exit(1), table).result(DEADLINE)
    other, item = own_pool.submit(lambda array: (os.getpid(), array[3]), table).result(DEADLINE)
    assert other != pid
    assert item == noise(LARGE)[3]


def test_a_worker_keeps_as_many_shared_values_as_it_may_and_gets_the_others_again(monkeypatch, own_pool):
    def look(array):
        from procjob.pool import constants

        return int(array[0]), len(constants._loaded)

    monkeypatch.setattr(process, "CONSTANTS_BUDGET", 3 * MIDDLE)
    tables = [procjob.shared(np.full(MIDDLE // 8 - 64, n)) for n in range(5)]
    found = [own_pool.submit(look, tables[n % 5]).result(DEADLINE) for n in range(12)]
    assert [number for number, _ in found] == [n % 5 for n in range(12)]
    assert [kept for _, kept in found] == [
        1,
        2,
        3,
        *[4] * 9,
    ]  # the oldest is dropped behind the call that needs another


def test_a_worker_forgets_large_values_that_nobody_shares_any_more(own_pool):
    def look(array):
        from procjob.pool import constants

        return len(constants._loaded)

    kept = [own_pool.submit(look, procjob.shared(np.full(1 << 19, n))).result(DEADLINE) for n in range(12)]
    assert max(kept) <= 3  # its own, and two on their way: a value is dropped behind the call after its own


def test_a_worker_forgets_large_values_also_if_nothing_is_shared_any_more(own_pool):
    def look(_=None):
        from procjob.pool import constants

        return len(constants._loaded)

    assert own_pool.submit(look, procjob.shared(np.ones(1 << 20))).result(DEADLINE) == 1
    gc.collect()
    assert [own_pool.submit(look).result(DEADLINE) for _ in range(2)][-1] == 0  # dropped behind the call after its own


def test_a_worker_keeps_small_values_for_when_equal_ones_come_again(own_pool):
    def count(calls):
        calls.append(None)
        return len(calls)

    assert [own_pool.submit(count, procjob.shared([n % 2])).result(DEADLINE) for n in range(6)] == [2, 2, 3, 3, 4, 4]


def test_equal_values_are_one_and_a_writable_constant_is_another():
    first, second = procjob.shared(noise(MIDDLE)), procjob.shared(noise(MIDDLE))
    assert first.digest == second.digest
    assert first.digest != procjob.shared(noise(MIDDLE) + 1).digest
    assert first.digest != procjob.pool.constants.Constant(noise(MIDDLE)).digest


@pytest.mark.parametrize("workers", [0, 1])
def test_a_backend_takes_shared_values_as_input_and_as_options(workers):
    def simulate(points, *, scale):
        return float(points[1] * scale[0])

    with procjob.Backend(simulate, workers=workers) as backend:
        job = backend.run(procjob.shared(noise(LARGE)), scale=procjob.shared(np.array([2.0])))
        assert job.result(DEADLINE) == noise(LARGE)[1] * 2.0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_simulator_that_divides_its_runs_sees_what_is_shared(workers):
    circuit = procjob.Circuit(2).h(0).cx(0, 1).measure_all()
    with procjob.Backend(workers=workers) as backend:
        shared, own = (backend.run(c, shots=50, seed=3) for c in (procjob.shared(circuit), circuit))
        assert shared.result(DEADLINE).get_counts() == own.result(DEADLINE).get_counts()


def test_a_shared_value_reaches_a_call_of_a_pool_inside_a_worker(pool):
    def outer():
        with procjob.ProcessPoolExecutor(2) as inner:
            return inner.submit(sum, [procjob.shared(1), 2]).result()

    assert pool.submit(outer).result(DEADLINE) == 3


def test_a_shared_value_is_pickled_by_its_value_elsewhere():
    for size in (64, LARGE):
        assert (pickle.loads(pickle.dumps(procjob.shared(noise(size)))) == noise(size)).all()


def test_the_handle_of_a_shared_value_says_what_it_is():
    assert re.fullmatch(r"<shared value [0-9a-f]{8}, \d{7} bytes>", repr(procjob.shared(noise(LARGE))))


def test_what_cannot_be_shared_is_named():
    with pytest.raises(procjob.NotPicklableError, match=r"^value\['x'\]: cannot pickle 'generator' object"):
        procjob.shared({"x": (n for n in range(3))})
