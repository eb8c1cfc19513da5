"""The same script without a guard runs wherever Python runs: file, module, command line, stdin, thread, notebook."""

import asyncio
import subprocess
import sys
import warnings

import pytest

DEADLINE = 60.0

#: What it defines must travel to the workers, and nothing at its top level may run there.
SCRIPT = """
import os
from dataclasses import dataclass

import procjob

print("top level")
offset = 100


@dataclass
class Point:
    x: int


def simulate(point):
    return Point(point.x**2 + offset), os.getpid()


with procjob.Backend(simulate, workers=2) as backend:
    results = [job.result() for job in [backend.run(Point(n)) for n in range(4)]]
with procjob.ProcessPoolExecutor(2) as executor:
    squares = list(executor.map(lambda point: point.x**2, [Point(1), Point(2)]))
print([point.x for point, _ in results], squares, os.getpid() in {pid for _, pid in results})
"""
PRINTED = "top level\n[100, 101, 104, 109] [1, 4] False\n"

IN_A_THREAD = f"""
import threading

thread = threading.Thread(target=exec, args=({SCRIPT!r}, {{"__name__": "__main__"}}))
thread.start()
thread.join()
"""


def python(*arguments, script=None, cwd=None):
    """Run the interpreter, with a script on stdin if there is one, and return what it printed."""
    run = subprocess.run(
        [sys.executable, *arguments],
        input=script,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    return run.stdout


def test_a_file(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    assert python("script.py", cwd=tmp_path) == PRINTED


def test_a_module(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    assert python("-m", "script", cwd=tmp_path) == PRINTED


def test_a_command_line():
    assert python("-c", SCRIPT) == PRINTED


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=["redirected", "dash"])
def test_stdin(arguments):
    assert python(*arguments, script=SCRIPT) == PRINTED


#: A notebook, for one, has loaded multiprocessing before the user's first line.
ELSEWHERE = """
import multiprocessing
import os

import one
import procjob

os.chdir("folder")
import two

with procjob.ProcessPoolExecutor(1) as executor:
    print(executor.submit(one.name).result(), executor.submit(two.name).result())
"""


def test_modules_of_the_folder_that_the_script_was_started_in_and_of_the_one_that_it_went_to(tmp_path):
    (tmp_path / "folder").mkdir()
    for module in ("one", "folder/two"):
        (tmp_path / f"{module}.py").write_text("def name():\n    return __name__\n")
    assert python("-c", ELSEWHERE, cwd=tmp_path) == "one two\n"


def test_a_thread():
    assert python("-c", IN_A_THREAD) == PRINTED


CACHED = """
import fnmatch
import functools

import procjob


@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


class Model:
    @functools.lru_cache(maxsize=4)
    def energy(self, n):
        return fibonacci(n) + LENGTH(())


LENGTH = functools.lru_cache(len)
LIBRARY = fnmatch._compile_pattern  # goes by its name
with procjob.ProcessPoolExecutor(1) as executor:
    print(executor.submit(fibonacci, 60).result(), executor.submit(Model().energy, 50).result())
    print(executor.submit(lambda: LIBRARY is fnmatch._compile_pattern).result())
    print(executor.submit(lambda: (LENGTH.cache_parameters(), fibonacci(9), fibonacci.cache_info().currsize)).result())
"""


def test_functions_with_a_cache_travel_with_the_script():
    printed = "1548008755920 12586269025\nTrue\n({'maxsize': 128, 'typed': False}, 34, 10)\n"
    assert python("-c", CACHED) == printed


# ------------------------------------------------------------ a notebook

CELLS = [
    SCRIPT,
    """
import threading

def simulate(n):
    print("simulating", n)
    return n

def shown(job):
    job.wait_for_final_state()
    behind = threading.Event()  # in the thread that shows what jobs print, and after it
    backend.engine._pool._loop.relays.post(behind.set)
    behind.wait()
    return job

backend = procjob.Backend(simulate, workers=2)
""",
    "shown(backend.run(1)).result()",
    "await shown(backend.run(2))",
    "backend.close()",
]


def outputs_of_notebook(cells):
    """Run cells in a Jupyter kernel; return what each showed: what it printed, and then its value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Jupyter's own packages
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        asyncio.run(NotebookClient(notebook, timeout=DEADLINE, kernel_name="python3").async_execute())
    return ["".join(_text(output) for output in cell.outputs) for cell in notebook.cells]


def _text(output):
    return output.text if output.output_type == "stream" else output.data["text/plain"]


def test_a_notebook_shows_what_a_job_prints_under_the_cell_that_ran_it():
    first, _, second, third, _ = outputs_of_notebook(CELLS)
    assert first == PRINTED
    assert second == "simulating 1\n1"
    assert third == "simulating 2\n2"


# ------------------------------------------------------------ in another process

DOUBLE = """
import procjob

class Point:
    x = 4

def double(point):
    point.x *= 2
    return point
"""
SPAWN = f"""
import multiprocessing
{DOUBLE}
def child():
    with procjob.Backend(double, workers=1) as backend, procjob.ProcessPoolExecutor(1) as executor:
        print(backend.run(Point()).result().x, isinstance(executor.submit(double, Point()).result(), Point))

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
"""


def test_a_process_that_multiprocessing_has_spawned(tmp_path):
    (tmp_path / "script.py").write_text(SPAWN)
    assert python("script.py", cwd=tmp_path) == "8 True\n"


# ------------------------------------------------------------ in a module that cannot be imported by its name

TEST = f"""
{DOUBLE}
def test_double(tmp_path):
    with procjob.Backend(double, workers=1) as backend, procjob.ProcessPoolExecutor(1) as executor:
        assert backend.run(Point()).result().x == 8
        assert isinstance(executor.submit(double, Point()).result(), Point)
        assert executor.submit(plain, 3).result() == 6
    assert procjob.sweep(plain, procjob.grid(x=[1, 2]), store=tmp_path / "s.db", workers=1)["plain"].tolist() == [2, 4]

def plain(x):
    assert x
    return 2 * x
"""


@pytest.mark.parametrize("folder", [".", "test", "test/unit"])  # the interpreter has a package of the name `test`, too
def test_a_test_that_pytest_has_by_its_path(folder, tmp_path):
    file = tmp_path / folder / "test_users.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TEST)
    options = ("-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", str(tmp_path), "-q", "-W", "error")
    assert "1 passed" in python("-m", "pytest", *options, str(file), cwd="/")


def test_a_script_that_another_one_runs(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    assert python("-c", f"import runpy; runpy.run_path({str(tmp_path / 'script.py')!r})", cwd="/") == PRINTED


# ------------------------------------------------------------ in one file with its interpreter

FROZEN = """
import sys
import procjob

sys.frozen = True  # as PyInstaller says it
backend = procjob.Backend(abs, workers=1)
executor = procjob.ProcessPoolExecutor(1)
for start in (lambda: backend.run(-1), lambda: executor.submit(abs, -1), lambda: procjob.Backend(abs, warmup=[])):
    try:
        start()
    except RuntimeError as error:
        print(error)
print(procjob.Backend(abs, workers=0).run(-2).result())
"""


def test_a_frozen_application_starts_no_worker_which_would_be_itself_again_and_start_more():
    *told, result = python("-c", FROZEN).splitlines()
    assert (len(told), result) == (3, "2")
    assert all("frozen" in line and "workers=0" in line for line in told)


# ------------------------------------------------------------ after a fork

FORK = """
import os, sys, warnings
import procjob

warnings.simplefilter("ignore", DeprecationWarning)  # fork in a process with threads: what this is about
executor = procjob.ProcessPoolExecutor(1)
backend = procjob.Backend(abs, workers=1)
assert (executor.submit(abs, -1).result(), backend.run(-1).result()) == (1, 1)

child = os.fork()
if not child:
    for submit in (lambda: executor.submit(abs, -2), lambda: backend.run(-2)):
        try:
            submit()
        except RuntimeError as error:
            print(error)
    executor.shutdown()
    backend.close()
    with procjob.Backend(abs, workers=1) as fresh:
        print("fresh:", fresh.run(-3).result(), flush=True)
    sys.exit()

_, status = os.waitpid(child, 0)
print("child:", os.waitstatus_to_exitcode(status))
print("parent:", executor.submit(abs, -4).result(), backend.run(-5).result())
executor.shutdown()
backend.close()
"""


def test_a_forked_child_is_told_to_make_its_own_pool_and_can():
    lines = python("-c", FORK).splitlines()
    assert len(lines) == 5
    for line in lines[:2]:
        assert "belongs to process" in line
        assert "copied by fork" in line
        assert "make a new one" in line
    assert lines[2:] == ["fresh: 3", "child: 0", "parent: 4 5"]


FORK_WHILE_HELD = """
import os, signal, sys, threading, time, warnings
import procjob
import procjob.job

warnings.simplefilter("ignore", DeprecationWarning)
{before}
held, forked = threading.Event(), threading.Event()

def hold():
    with {lock}:
        held.set()
        forked.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    {in_child}
    sys.exit()

_, status = os.waitpid(child, 0)
forked.set()
thread.join()
print("child:", os.waitstatus_to_exitcode(status))
{after}
"""


def test_a_cancel_in_a_forked_child_waits_for_no_thread_of_the_parent_and_stops_nothing_there():
    script = FORK_WHILE_HELD.format(
        before="executor = procjob.ProcessPoolExecutor(1); future = executor.submit(time.sleep, 60)",
        lock="executor._pool._loop.inbox._lock",  # of a `submit`
        in_child="signal.alarm(10); print('cancel:', future.cancel(), flush=True)",
        after="print('done:', future.done()); future.cancel(); executor.shutdown()",
    )
    assert python("-c", script).splitlines() == ["cancel: True", "child: 0", "done: False"]


@pytest.mark.parametrize(
    ("module", "fresh"),
    [
        ("job", "procjob.Backend(abs, workers=1).run(-1).result()"),
        # Of a sweep before it runs, in this thread: a new one may have the number of the parent's, to which the lock is its own.
        ("sweeps.gathered", "len(procjob.Sweep(pow, [{'base': 2, 'exp': 3}], workers=1).result(partial=True))"),
    ],
)
def test_a_job_in_a_forked_child_waits_for_no_thread_of_the_parent(module, fresh):
    script = FORK_WHILE_HELD.format(
        before=f"import procjob.{module}",
        lock=f"procjob.{module}._shared.lock",
        in_child=f"signal.alarm(20); print('fresh:', {fresh}, flush=True)",
        after="",
    )
    assert python("-c", script).splitlines() == ["fresh: 1", "child: 0"]


FORK_OF_INLINE = """
import os, signal, threading, warnings
import procjob

warnings.simplefilter("ignore", DeprecationWarning)
backend = procjob.Backend(abs, workers=0)

def told(number):
    called = threading.Event()
    backend.run(number).future.add_done_callback(lambda _: called.set())
    return called.wait(10)

print("parent:", told(-1), flush=True)
child = os.fork()
if not child:
    print("child:", told(-2), flush=True)
    backend.close()
else:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told(-3))
"""


def test_callbacks_are_run_in_a_forked_child_too_though_their_thread_is_its_parents():
    assert python("-c", FORK_OF_INLINE).splitlines() == ["parent: True", "child: True", "0 True"]
