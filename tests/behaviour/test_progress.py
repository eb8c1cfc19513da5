"""`procjob.progress.track`: the jobs it yields, and the bar it draws."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import termios
import threading

import pytest

import procjob
from procjob.progress import track

DEADLINE = 20.0


class Screen(io.StringIO):
    """A stderr that can be waited for."""

    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def write(self, text):
        with self._changed:
            super().write(text)
            self._changed.notify_all()
        return len(text)

    def wait_for(self, text):
        with self._changed:
            return self._changed.wait_for(lambda: text in self.getvalue(), DEADLINE)


def screen():
    """Stand in for stderr; pytest puts its own there between fixture and test."""
    return contextlib.redirect_stderr(Screen())


@pytest.fixture
def backend():
    def simulate(what):
        if what == "fail":
            raise ValueError("no such circuit")
        if what == "endless":
            procjob.report_progress(1, 2)
        while what == "endless":
            pass
        return what

    backend = procjob.Backend(simulate, workers=2)
    yield backend
    backend.close(cancel=True)


def last_line(screen):
    return screen.getvalue().rstrip("\n").rpartition("\r")[2]


def test_every_job_is_yielded_once_when_it_is_final(backend):
    jobs = [backend.run("done"), backend.run("fail"), backend.run("done")]
    tracked = []
    for job in track(iter([*jobs, *jobs]), disable=False):
        assert job.in_final_state()
        tracked.append(job)
    assert len(tracked) == 3
    assert set(tracked) == set(jobs)


def test_a_finished_bar_tells_what_became_of_the_jobs(backend):
    with screen() as shown:
        cancelled = backend.run("endless")
        cancelled.cancel()
        jobs = [cancelled, backend.run("fail"), backend.run("done"), backend.run("done")]
        assert len(list(track(jobs, desc="sweep", disable=False))) == 4
        assert last_line(shown).startswith("sweep: 100%")
        assert "4/4 [" in last_line(shown)
        assert last_line(shown).endswith(", 1 failed, 1 cancelled]")
        assert shown.getvalue().endswith("\n")


def test_the_bar_moves_with_the_progress_of_a_job_while_it_runs(backend):
    with screen() as shown:
        endless = backend.run("endless")
        seen = []

        def watch():
            seen.append(shown.wait_for("0.5/1 ["))
            seen.append(shown.wait_for("1 running"))
            endless.cancel()

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert list(track([endless], disable=False)) == [endless]
        watcher.join()
        assert seen == [True, True]
        assert endless.cancelled()
        assert "running" not in last_line(shown)


def test_the_bar_goes_on_while_the_caller_is_busy_with_a_job(backend):
    with screen() as shown:
        for _ in track([backend.run("done"), backend.run("done")], disable=False):
            assert shown.wait_for("2/2 [")


def test_a_loop_that_is_left_early_closes_its_bar_and_leaves_the_jobs_alone(backend):
    with screen() as shown:
        endless = backend.run("endless")
        tracked = track([backend.run("done"), endless], disable=False)
        next(tracked)
        tracked.close()
        assert shown.getvalue().endswith("\n")
        assert not [thread for thread in threading.enumerate() if thread.name == "procjob-progress"]
        assert not endless.in_final_state()
        endless.cancel()


def test_no_job_is_no_error():
    with screen():
        assert list(track([], disable=False)) == []


# ------------------------------------------------------------ when a bar is shown

SCRIPT = """
import sys, procjob
from procjob.progress import track
backend = procjob.Backend(abs, workers=0)
assert [job.result() for job in track([backend.run(-1)])] == [1]
backend.close()
print("tqdm" in sys.modules)
"""


def run_script(stderr, **environment):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=DEADLINE,
        check=True,
        env={**{k: v for k, v in os.environ.items() if k != "PROCJOB_PROGRESS"}, **environment},
    )


def run_script_in_a_terminal(**environment):
    """Return what it printed and what stood on the terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    try:
        stdout = run_script(theirs, **environment).stdout
        os.set_blocking(ours, False)
        try:
            return stdout, os.read(ours, 65536).decode()
        except BlockingIOError:
            return stdout, ""
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_shows_the_bar():
    stdout, terminal = run_script_in_a_terminal()
    assert "1/1 [" in terminal
    assert stdout == "True\n"


def test_without_a_terminal_nothing_is_shown_nor_loaded():
    run = run_script(subprocess.PIPE)
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_the_environment_switches_the_bar_on_and_off():
    assert "1/1 [" in run_script(subprocess.PIPE, PROCJOB_PROGRESS="1").stderr
    assert run_script_in_a_terminal(PROCJOB_PROGRESS="0") == ("False\n", "")


BAR_OF_A_SWEEP = """
import sys, procjob, procjob.progress
stdout = sys.stdout
if sys.argv[1] == "closed":
    sys.stderr.close()
if sys.argv[1] == "only written":
    class Log:
        write = flush = staticmethod(lambda *text: None)
    sys.stderr = Log()
if sys.argv[1] == "stdout is full":
    sys.stdout = open("/dev/full", "w")
    print("some text")
values = procjob.sweep(lambda x: -x, [{"x": 1}], workers=0)["value"]
backend = procjob.Backend(abs, workers=0)
jobs = [job.result() for job in procjob.progress.track([backend.run(-1)])]
print(values, jobs, file=stdout)
"""


@pytest.mark.parametrize(
    ("stream", "progress"),
    [("full", "1"), ("none", "1"), ("closed", "1"), ("closed", ""), ("only written", ""), ("stdout is full", "1")],
)
def test_a_stream_that_takes_no_bar_harms_nothing(stream, progress):
    onto = {"full": "2>/dev/full", "none": "2>&-"}.get(stream, "2>/dev/null")
    run = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {onto}', sys.executable, "-c", BAR_OF_A_SWEEP, stream],
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        env=os.environ | {"PROCJOB_PROGRESS": progress, "PYTHONUNBUFFERED": ""},  # no buffer, no trouble with it
        check=False,
    )
    assert run.stdout == "[-1] [1]\n"
    assert run.returncode == (120 if "full" in stream else 0)  # of Python itself, where a buffer cannot be written


def test_the_argument_wins_over_the_environment(backend, monkeypatch):
    with screen() as shown:
        monkeypatch.setenv("PROCJOB_PROGRESS", "1")
        assert len(list(track([backend.run("done")], disable=True))) == 1
        assert shown.getvalue() == ""


def test_a_script_that_dies_inside_the_loop_ends_with_its_error_and_its_bar():
    script = SCRIPT.replace(
        "assert [job.result() for job in track([backend.run(-1)])] == [1]",
        "jobs = track([backend.run(-1)])\nnext(jobs)\n1 / 0",
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, "PROCJOB_PROGRESS": "1"},
    )
    assert run.returncode == 1
    assert "ZeroDivisionError" in run.stderr
    assert "1/1 [" in run.stderr
    assert "Fatal" not in run.stderr


# ------------------------------------------------------------ bad input


def test_bad_arguments_are_told_at_the_call(backend, monkeypatch):
    job = backend.run("done")
    with pytest.raises(TypeError, match=r"jobs\[1\] must be a procjob Job, not 'job'"):
        track([job, "job"])
    with pytest.raises(TypeError, match="jobs must be a list or another iterable of jobs, not 3"):
        track(3)
    with pytest.raises(TypeError, match="desc must be a string or None, not 3"):
        track([job], desc=3)
    with pytest.raises(TypeError, match="disable must be True, False or None, not 'yes'"):
        track([job], disable="yes")
    monkeypatch.setenv("PROCJOB_PROGRESS", "yes")
    with pytest.raises(ValueError, match="PROCJOB_PROGRESS must be 0 or 1, not 'yes'"):
        track([job])


def test_a_divided_run_shows_a_bar_of_its_pieces():
    theta = procjob.Parameter("theta")
    with screen() as stderr, procjob.Backend(workers=2) as backend:
        circuit = procjob.Circuit(8).ry(theta, 0)
        job = backend.run(circuit, parameters={"theta": range(500)}, observables=["Z0"], shots=None, progress=True)
        job.wait_for_final_state(timeout=DEADLINE)
        assert stderr.wait_for("2/2")


def test_a_run_shows_a_bar_of_what_its_simulator_reports():
    def simulate(steps):
        for step in range(steps):
            procjob.report_progress(step + 1, steps)
        return steps

    with screen() as stderr, procjob.Backend(simulate, workers=1) as backend:
        backend.run(7, progress=True).wait_for_final_state(timeout=DEADLINE)
        assert stderr.wait_for("7/7")
        backend.run(5).wait_for_final_state(timeout=DEADLINE)
    assert "5/5" not in stderr.getvalue()


def test_progress_of_a_run_has_to_be_a_bool_or_none(backend):
    with pytest.raises(TypeError, match="progress must be True, False or None, not 'yes'"):
        backend.run(1, progress="yes")
