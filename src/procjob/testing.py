"""Contract tests for any JobV1 class: Qiskit's, a provider's, or procjob's own.

A provider subclasses `JobV1Contract` in its test-suite and says how to get jobs; pytest does the rest. What the
documentation of Qiskit's JobV1 asks for is in the tests named ``test_required_...``; what procjob promises on top is in
those named ``test_added_...``. Needs pytest (the extra ``testing``) and neither Qiskit nor anything else of procjob:
statuses and errors are compared by name, so both packages' classes pass.
"""

from __future__ import annotations

import inspect
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

STATUS_VALUES = {
    "INITIALIZING": "job is being initialized",
    "QUEUED": "job is queued",
    "VALIDATING": "job is being validated",
    "RUNNING": "job is actively running",
    "CANCELLED": "job has been cancelled",
    "DONE": "job has successfully run",
    "ERROR": "job incurred error",
}
FINAL = ("DONE", "CANCELLED", "ERROR")
#: The order in which a job may go through the states; the final ones are one step.
ORDER = {"INITIALIZING": 0, "VALIDATING": 1, "QUEUED": 2, "RUNNING": 3, **dict.fromkeys(FINAL, 4)}
METHODS = (
    *("job_id", "backend", "submit", "result", "cancel", "status"),
    *("done", "running", "cancelled", "in_final_state", "wait_for_final_state"),
)
POLL = 0.005


class JobV1Contract:
    """Tests of a JobV1 class; subclass it and override the factories. Each test gets fresh jobs.

    Attributes:
        additions: whether the tests ``test_added_...`` run; set it to False to ask only for what JobV1 requires.
        stops_running_jobs: whether `cancel` can stop a job that runs; False skips the tests that need it.
        failure: type of the exception that `failing_job` raises from ``result``; None if any will do.
        patience: seconds that any single wait may take before its test fails.
        tolerance: seconds by which a timeout or a call that must not block may be late.

    Example:
        >>> import procjob
        >>> from procjob.testing import JobV1Contract
        >>> class TestMyJob(JobV1Contract):
        ...     backend = procjob.Backend(eval, workers=2)
        ...     failure = ZeroDivisionError
        ...
        ...     def quick_job(self):
        ...         return self.backend.run("1 + 1")
        ...
        ...     def slow_job(self):
        ...         return self.backend.run("__import__('time').sleep(0.5)")
        ...
        ...     def failing_job(self):
        ...         return self.backend.run("1 / 0")
        ...
        ...     def endless_job(self):
        ...         return self.backend.run("__import__('time').sleep(3600)")
    """

    additions = True
    stops_running_jobs = True
    failure: type[BaseException] | None = None
    patience = 30.0
    tolerance = 0.5

    # ------------------------------------------------------------ what the provider hands over

    def quick_job(self) -> Any:
        """Return a submitted job that succeeds in no time."""
        raise NotImplementedError("override quick_job() to return a submitted job that succeeds in no time")

    def slow_job(self) -> Any:
        """Return a submitted job that succeeds after half a second to a second."""
        raise NotImplementedError("override slow_job() to return a submitted job that takes 0.5 to 1 s")

    def failing_job(self) -> Any:
        """Return a submitted job that fails."""
        raise NotImplementedError("override failing_job() to return a submitted job that fails")

    def endless_job(self) -> Any:
        """Return a submitted job that runs until it is cancelled, or until `release`. Only additions need it."""
        pytest.skip("endless_job() is not overridden")

    def unsubmitted_job(self) -> Any:
        """Return a job on which ``submit`` has not been called and that would succeed in no time; optional."""
        pytest.skip("unsubmitted_job() is not overridden")

    def release(self) -> None:
        """Let the endless jobs of a test end; called after each test, for jobs that `cancel` cannot stop."""

    # ------------------------------------------------------------ required: identity

    def test_required_it_has_the_methods_of_jobv1_and_its_version(self) -> None:
        """``version`` is 1 and every method is there."""
        job = self._new("quick")
        assert job.version == 1, f"version is {job.version!r}, not 1"
        missing = [name for name in METHODS if not callable(getattr(job, name, None))]
        assert not missing, f"no method {', '.join(missing)}"

    def test_required_job_id_is_a_string_that_stays(self) -> None:
        """``job_id()`` returns the same string every time."""
        job = self._new("quick")
        first = job.job_id()
        assert isinstance(first, str), f"job_id() is {first!r}, no string"
        assert first, "job_id() is empty"
        self._await_final(job)
        assert job.job_id() == first, f"job_id() was {first!r} and became {job.job_id()!r}"

    def test_required_job_ids_are_unique(self) -> None:
        """No two jobs have the same id."""
        ids = [self._new("quick").job_id() for _ in range(3)]
        assert len(set(ids)) == 3, f"ids of three jobs: {ids}"

    def test_required_backend_returns_the_backend_or_raises(self) -> None:
        """``backend()`` returns where the job runs, always the same; without a backend it raises."""
        job = self._new("quick")
        try:
            backend = job.backend()
        except Exception:  # noqa: BLE001  (QiskitError or the provider's own: it has none)
            return
        assert backend is not None, "backend() returned None; without a backend it has to raise"
        assert job.backend() is backend, "backend() returned another object the second time"

    def test_required_metadata_is_a_dict(self) -> None:
        """The keyword arguments of the constructor are kept in ``metadata``."""
        metadata = self._new("quick").metadata
        assert isinstance(metadata, dict), f"metadata is {metadata!r}, not a dict"

    # ------------------------------------------------------------ required: status

    @pytest.mark.parametrize("kind", ["quick", "slow", "failing"])
    def test_required_status_is_always_one_of_jobstatus(self, kind: str) -> None:
        """``status()`` returns a member of JobStatus, by name and value, from the submit to the end."""
        job = self._new(kind)
        for status in self._statuses_until_final(job):
            name, value = getattr(status, "name", None), getattr(status, "value", None)
            assert STATUS_VALUES.get(str(name)) == value, f"status() returned {status!r}, not a member of JobStatus"

    @pytest.mark.parametrize("kind", ["quick", "slow"])
    def test_required_a_job_that_succeeds_ends_done(self, kind: str) -> None:
        """The final state of a job that works is DONE."""
        job = self._new(kind)
        assert self._await_final(job) == "DONE"

    @pytest.mark.parametrize("kind", ["quick", "slow", "failing"])
    def test_required_predicates_agree_with_status(self, kind: str) -> None:
        """``done``, ``running``, ``cancelled`` and ``in_final_state`` say what ``status`` says, as bools."""
        job = self._new(kind)
        for status in self._statuses_until_final(job):
            said = (job.done(), job.running(), job.cancelled(), job.in_final_state())
            name = status.name
            meant = (name == "DONE", name == "RUNNING", name == "CANCELLED", name in FINAL)
            if job.status() is status:  # it did not move meanwhile
                assert said == meant, (
                    f"at {name}: done, running, cancelled, in_final_state are {said}, should be {meant}"
                )
                assert all(isinstance(word, bool) for word in said), f"not all of {said} are bools"

    @pytest.mark.parametrize("kind", ["quick", "failing"])
    def test_required_a_final_status_stays(self, kind: str) -> None:
        """What is final does not change, neither by waiting nor by asking for the result."""
        job = self._new(kind)
        final = self._await_final(job)
        self._outcome(job)
        self._within(job.wait_for_final_state, wait=POLL)
        assert job.status().name == final, f"{final} became {job.status().name}"

    # ------------------------------------------------------------ required: result

    def test_required_result_of_a_done_job_is_there(self) -> None:
        """``result()`` of a DONE job returns, again and again."""
        job = self._new("quick")
        self._await_final(job)
        first, second = self._within(job.result), self._within(job.result)
        assert type(first) is type(second), f"result() returned {first!r} and then {second!r}"

    def test_required_result_waits_for_the_job(self) -> None:
        """``result()`` of a job that runs returns when it is done."""
        job = self._new("slow")
        self._within(job.result)
        assert self._await_final(job) == "DONE"

    def test_required_a_failing_job_says_so(self) -> None:
        """The status is ERROR, or ``result()`` raises, or the result has ``success`` False."""
        job = self._new("failing")
        final = self._await_final(job)
        result, error = self._outcome(job)
        told = final == "ERROR" or error is not None or getattr(result, "success", True) is False
        assert told, f"the failing job is {final} with result {result!r}"

    def test_required_a_failing_job_is_not_done(self) -> None:
        """``done()`` returns whether the job has successfully run."""
        job = self._new("failing")
        final = self._await_final(job)
        assert not job.done(), f"done() of a failed job is True, its status {final}"

    # ------------------------------------------------------------ required: wait_for_final_state

    @pytest.mark.parametrize("kind", ["quick", "slow", "failing"])
    def test_required_wait_for_final_state_returns_when_the_job_is_final(self, kind: str) -> None:
        """It returns None once the job is final, and does not raise for a job that failed."""
        job = self._new(kind)
        returned = self._within(job.wait_for_final_state, wait=POLL)
        assert returned is None, f"wait_for_final_state() returned {returned!r}"
        assert job.in_final_state(), f"it returned while the job is {job.status().name}"

    def test_required_wait_for_final_state_raises_at_its_timeout(self) -> None:
        """A JobTimeoutError at the timeout, which leaves the job alone."""
        job = self._new("slow")
        error = self._error_of(job.wait_for_final_state, timeout=0.1, wait=0.02)
        assert _is_called(error, "JobTimeoutError"), f"not a JobTimeoutError at the timeout, but {error!r}"
        assert self._await_final(job) == "DONE", f"after a timeout the job ended {job.status().name}"

    def test_required_callback_gets_job_id_status_and_job(self) -> None:
        """The callback is called with (job_id, status, job), all positional."""
        job = self._new("slow")
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._within(job.wait_for_final_state, wait=0.02, callback=lambda *a, **k: calls.append((a, k)))
        assert calls, "the callback was never called while the job ran"
        for positional, named in calls:
            assert (len(positional), len(named)) == (3, 0), f"called with {positional} and {named}"
            job_id, status, who = positional
            assert job_id == job.job_id(), f"job_id was {job_id!r}, not {job.job_id()!r}"
            assert status.name in STATUS_VALUES, f"status was {status!r}"
            assert who is job, f"job was {who!r}"

    def test_required_wait_for_final_state_takes_its_arguments_by_position(self) -> None:
        """The order is timeout, wait, callback."""
        job = self._new("quick")
        self._within(job.wait_for_final_state, self.patience, POLL, lambda *_: None)
        assert job.in_final_state(), f"it returned while the job is {job.status().name}"

    # ------------------------------------------------------------ required: cancel and submit

    def test_required_cancel_is_an_attempt(self) -> None:
        """``cancel()`` may be refused or not implemented; the job still ends, and its words agree."""
        job = self._new("slow")
        error = self._error_of(job.cancel)
        assert error is None or isinstance(error, NotImplementedError), f"cancel() raised {error!r}"
        final = self._await_final(job)
        assert job.cancelled() == (final == "CANCELLED"), f"cancelled() is {job.cancelled()} for {final}"

    def test_required_submit_hands_the_job_over(self) -> None:
        """After ``submit()`` the job runs to its end."""
        job = self._new("unsubmitted")
        self._within(job.submit)
        assert self._await_final(job) == "DONE"

    # ------------------------------------------------------------ added: before the submit

    def test_added_a_job_is_initializing_before_its_submit(self) -> None:
        """Its status says so, and what needs a submitted job raises instead of waiting for ever."""
        job = self._new("unsubmitted")
        assert job.status().name == "INITIALIZING", f"the status is {job.status().name}"
        for method in (job.result, job.wait_for_final_state, job.cancel):
            error = self._error_of(method)
            assert isinstance(error, Exception), f"{method.__name__}() of a job that was not submitted did not raise"
        assert job.status().name == "INITIALIZING", f"the status became {job.status().name}"

    def test_added_a_second_submit_raises(self) -> None:
        """A job runs once."""
        job = self._new("quick")
        error = self._error_of(job.submit)
        assert _is_called(error, "JobError"), f"a second submit() raised {error!r}, no JobError"
        assert self._await_final(job) == "DONE"

    # ------------------------------------------------------------ added: cancel

    def test_added_cancel_of_a_running_job_ends_it_cancelled(self) -> None:
        """True, at once; then CANCELLED, and ``result()`` raises an error that says so."""
        job = self._running_endless_job()
        began = time.monotonic()
        accepted = self._within(job.cancel)
        took = time.monotonic() - began
        assert accepted is True, f"cancel() of a running job returned {accepted!r}"
        assert took < self.tolerance, f"cancel() blocked for {took:.2f} s"
        assert self._await_final(job) == "CANCELLED"
        error = self._error_of(job.result)
        assert _is_called(error, "JobCancelledError"), f"result() of a cancelled job raised {error!r}"

    def test_added_cancel_right_after_the_submit_ends_it_cancelled(self) -> None:
        """Whether it runs already or not: CANCELLED, and a second cancel changes nothing."""
        self._needs_stopping()
        job = self._new("endless")
        assert self._within(job.cancel) is True, "cancel() right after the submit did not return True"
        self._within(job.cancel)
        assert self._await_final(job) == "CANCELLED"

    @pytest.mark.parametrize("kind", ["quick", "failing"])
    def test_added_cancel_of_a_final_job_is_false(self, kind: str) -> None:
        """It changes nothing."""
        job = self._new(kind)
        final = self._await_final(job)
        assert self._within(job.cancel) is False, f"cancel() of a {final} job did not return False"
        assert job.status().name == final, f"{final} became {job.status().name}"

    def test_added_cancel_of_a_cancelled_job_is_false(self) -> None:
        """It is final."""
        job = self._running_endless_job()
        self._within(job.cancel)
        self._await_final(job)
        assert self._within(job.cancel) is False, "cancel() of a CANCELLED job did not return False"

    @pytest.mark.parametrize("kind", ["quick", "failing"])
    def test_added_after_true_a_job_never_ends_otherwise(self, kind: str) -> None:
        """However close to its end a job is cancelled: True and CANCELLED, or False and its own end."""
        for step in range(20):
            job = self._new(kind)
            time.sleep(0.0005 * step)
            accepted = self._within(job.cancel)
            own = "DONE" if kind == "quick" else "ERROR"
            final = self._await_final(job)
            assert final == ("CANCELLED" if accepted else own), f"cancel() returned {accepted!r} and it ended {final}"

    def test_added_cancel_wakes_who_waits(self) -> None:
        """Threads in ``result`` and ``wait_for_final_state`` return."""
        job = self._running_endless_job()
        waits = [
            _Background(job.result),
            _Background(job.wait_for_final_state, wait=10 * self.patience),
            _Background(job.wait_for_final_state),
        ]
        self._within(job.cancel)
        for wait in waits:
            assert wait.ended(self.patience), "a waiting thread was not woken by cancel()"
        assert _is_called(waits[0].error, "JobCancelledError"), f"result() raised {waits[0].error!r}"
        assert waits[1].error is waits[2].error is None, f"wait_for_final_state() raised {waits[1].error!r}"

    # ------------------------------------------------------------ added: waiting

    def test_added_wait_returns_at_once_and_not_at_the_next_poll(self) -> None:
        """``wait`` is the rhythm of the callback and no delay."""
        job = self._new("slow")
        self._within(job.wait_for_final_state, wait=10 * self.patience)
        assert job.in_final_state(), f"it returned while the job is {job.status().name}"

    def test_added_wait_with_a_callback_returns_at_once_too(self) -> None:
        """The callback is called once, right after the first look."""
        job = self._new("slow")
        told: list[Any] = []
        self._within(
            job.wait_for_final_state, wait=10 * self.patience, callback=lambda _, status, __: told.append(status)
        )
        assert len(told) == 1, f"the callback was called {len(told)} times, not once: {told}"

    @pytest.mark.parametrize("wait", [0.02, 1000.0, None])
    def test_added_the_timeout_is_kept_whatever_the_wait(self, wait: float | None) -> None:
        """Never before ``timeout`` seconds and hardly after."""
        job = self._new("endless")
        error, took = self._timed_error_of(job.wait_for_final_state, timeout=0.2, wait=wait, callback=lambda *_: None)
        assert _is_called(error, "JobTimeoutError"), f"it raised {error!r}, no JobTimeoutError"
        assert 0.2 <= took < 0.2 + self.tolerance, f"a timeout of 0.2 s took {took:.3f} s"

    def test_added_result_has_a_timeout_that_leaves_the_job_alone(self) -> None:
        """A JobTimeoutError that is also a TimeoutError; the job goes on."""
        job = self._new("slow")
        error, took = self._timed_error_of(job.result, timeout=0.1)
        assert _is_called(error, "JobTimeoutError"), f"result(timeout=0.1) raised {error!r}, no JobTimeoutError"
        assert isinstance(error, TimeoutError), f"{type(error).__name__} is no TimeoutError"
        assert 0.1 <= took < 0.1 + self.tolerance, f"a timeout of 0.1 s took {took:.3f} s"
        self._within(job.result)
        assert self._await_final(job) == "DONE"

    def test_added_a_final_job_wins_over_the_timeout(self) -> None:
        """A timeout of 0 on a job that is final is no timeout."""
        job = self._new("quick")
        self._await_final(job)
        assert self._within(job.wait_for_final_state, timeout=0) is None
        self._within(job.result, timeout=0)

    def test_added_a_timeout_of_zero_raises_at_once(self) -> None:
        """It is a look."""
        job = self._new("endless")
        for method in (job.result, job.wait_for_final_state):
            error, took = self._timed_error_of(method, timeout=0)
            assert _is_called(error, "JobTimeoutError"), f"{method.__name__}(timeout=0) raised {error!r}"
            assert took < self.tolerance, f"{method.__name__}(timeout=0) took {took:.2f} s"

    def test_added_an_infinite_timeout_is_no_limit(self) -> None:
        """``inf`` waits for the end."""
        job = self._new("slow")
        self._within(job.wait_for_final_state, timeout=float("inf"), wait=float("inf"))
        self._within(job.result, timeout=float("inf"))

    @pytest.mark.parametrize("timeout", ["soon", -1, float("nan"), True])
    def test_added_a_wrong_timeout_raises_and_says_so(self, timeout: Any) -> None:
        """The message names the argument and its value."""
        job = self._new("quick")
        for method in (job.result, job.wait_for_final_state):
            error = self._error_of(method, timeout=timeout)
            assert isinstance(error, (TypeError, ValueError)), f"timeout={timeout!r} raised {error!r}"
            for word in ("timeout", repr(timeout)):
                assert word in str(error), f"the message lacks {word}: {error}"

    # ------------------------------------------------------------ added: the callback of a wait

    def test_added_the_callback_comes_at_once_and_then_every_wait_seconds(self) -> None:
        """After the first look, then in the rhythm of ``wait``."""
        job = self._new("endless")
        at: list[float] = []
        began = time.monotonic()
        self._error_of(
            job.wait_for_final_state, timeout=0.55, wait=0.1, callback=lambda *_: at.append(time.monotonic())
        )
        assert at, "the callback was never called"
        assert at[0] - began < self.tolerance, f"the first call came after {at[0] - began:.2f} s"
        gaps = [b - a for a, b in itertools.pairwise(at)]
        assert 2 <= len(at) <= 6, f"{len(at)} calls in 0.55 s at wait=0.1"
        assert min(gaps) > 0.09, f"calls followed each other after {min(gaps):.3f} s"

    @pytest.mark.parametrize("wait", [0.001, None])
    @pytest.mark.parametrize("kind", ["slow", "failing"])
    def test_added_the_callback_is_never_told_a_final_status(self, kind: str, wait: float | None) -> None:
        """The return of the wait says that."""
        job = self._new(kind)
        told: list[str] = []
        self._within(job.wait_for_final_state, wait=wait, callback=lambda _, status, __: told.append(status.name))
        assert not set(told) & set(FINAL), f"the callback was told {told}"

    def test_added_wait_none_calls_back_once_for_each_status(self) -> None:
        """No status twice, and in their order."""
        job = self._new("slow")
        told: list[str] = []
        self._within(job.wait_for_final_state, wait=None, callback=lambda _, status, __: told.append(status.name))
        assert told, "the callback was never called"
        assert told == sorted(set(told), key=ORDER.__getitem__), f"the callback was told {told}"

    def test_added_an_exception_of_the_callback_propagates(self) -> None:
        """It ends the wait and leaves the job alone."""
        job = self._new("slow")

        def callback(*_: object) -> None:
            raise _OfCallback

        error = self._error_of(job.wait_for_final_state, callback=callback)
        assert isinstance(error, _OfCallback), f"the wait ended with {error!r}"
        assert self._await_final(job) == "DONE"

    def test_added_a_callback_that_cannot_be_called_raises_at_once(self) -> None:
        """Even where it would never be called."""
        job = self._new("quick")
        self._await_final(job)
        error = self._error_of(job.wait_for_final_state, callback=5)
        assert isinstance(error, TypeError), f"callback=5 raised {error!r}"
        assert "callback" in str(error), f"the message does not say what is wrong: {error}"

    # ------------------------------------------------------------ added: status, errors, threads

    @pytest.mark.parametrize("kind", ["quick", "slow", "failing", "endless"])
    def test_added_nobody_sees_a_status_go_back(self, kind: str) -> None:
        """Sampled by two threads as fast as they can, through the end or a cancel."""
        if kind == "endless":
            self._needs_stopping()
        job = self._new(kind)
        samplers = [_Background(self._changes_until_final, job) for _ in range(2)]
        if kind == "endless":
            self._await_running(job)
            self._within(job.cancel)
        for sampler in samplers:
            assert sampler.ended(self.patience), f"the job is {job.status().name} after {self.patience:g} s"
            steps = [ORDER[name] for name in sampler.value]
            assert steps == sorted(set(steps)), f"the status went {' -> '.join(sampler.value)}"

    def test_added_a_failing_job_ends_in_error_with_its_own_exception(self) -> None:
        """ERROR, and ``result()`` raises the same, of the original type, as often as asked."""
        job = self._new("failing")
        assert self._await_final(job) == "ERROR"
        first, second = self._error_of(job.result), self._error_of(job.result)
        assert first is not None, "result() of an ERROR job returned"
        assert type(first) is type(second), f"result() raised {first!r} and then {second!r}"
        if self.failure is not None:
            assert type(first) is self.failure, f"result() raised {first!r}, no {self.failure.__name__}"

    def test_added_every_method_may_be_called_from_many_threads(self) -> None:
        """Eight threads ask everything while the job runs and ends."""
        job = self._new("slow")

        def ask() -> None:
            while not job.in_final_state():
                job.job_id(), job.status(), job.done(), job.running(), job.cancelled(), repr(job)
                for method in (job.result, job.wait_for_final_state):
                    error = self._error_here(method, timeout=0.01)
                    assert error is None or _is_called(error, "JobTimeoutError"), repr(error)

        threads = [_Background(ask) for _ in range(8)]
        for thread in threads:
            assert thread.ended(self.patience), "a thread has not returned"
            assert thread.error is None, f"a thread raised {thread.error!r}"
        assert self._await_final(job) == "DONE"

    def test_added_one_of_many_cancels_at_once_decides(self) -> None:
        """All get the same answer or find the job final; it ends CANCELLED."""
        job = self._running_endless_job()
        threads = [_Background(job.cancel) for _ in range(8)]
        for thread in threads:
            assert thread.ended(self.patience), "cancel() has not returned"
        answers = [thread.value for thread in threads]
        assert {True} <= set(answers) <= {True, False}, f"eight cancels at once: {answers}"
        assert self._await_final(job) == "CANCELLED"

    @pytest.mark.parametrize("kind", ["quick", "failing"])
    def test_added_repr_is_one_true_line(self, kind: str) -> None:
        """It shows the status."""
        job = self._new(kind)
        final = self._await_final(job)
        text = repr(job)
        assert text.splitlines() == [text], f"repr has several lines: {text!r}"
        assert final in text, f"repr of a {final} job: {text!r}"

    # ------------------------------------------------------------ pieces

    @pytest.fixture(autouse=True)
    def _one_test(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Skip what was not asked for; afterwards end every job that the test has made."""
        if not self.additions and request.node.originalname.startswith("test_added_"):
            pytest.skip("additions = False: JobV1 does not require it")
        self._jobs: list[Any] = []
        yield
        self.release()
        for job in self._jobs:
            self._end(job)

    def _new(self, kind: str) -> Any:
        job = getattr(self, f"{kind}_job")()
        self._jobs.append(job)
        return job

    def _end(self, job: Any) -> None:
        try:
            if not job.in_final_state():
                job.cancel()
        except Exception:  # noqa: BLE001  (not submitted, or it cannot be cancelled: then it ends by itself)
            return
        deadline = time.monotonic() + self.patience
        while not job.in_final_state() and time.monotonic() < deadline:
            time.sleep(POLL)

    def _needs_stopping(self) -> None:
        if not self.stops_running_jobs:
            pytest.skip("stops_running_jobs = False: a job that runs cannot be stopped")

    def _running_endless_job(self) -> Any:
        self._needs_stopping()
        job = self._new("endless")
        self._await_running(job)
        return job

    def _await_running(self, job: Any) -> None:
        deadline = time.monotonic() + self.patience
        while not job.running():
            assert not job.in_final_state(), f"the endless job has ended {job.status().name}"
            assert time.monotonic() < deadline, f"the job is {job.status().name} after {self.patience:g} s, not RUNNING"
            time.sleep(POLL)

    def _await_final(self, job: Any) -> str:
        """Return the name of the final status, by looking, so that no test of another method relies on waiting."""
        *_, last = self._statuses_until_final(job)
        return str(last.name)

    def _statuses_until_final(self, job: Any) -> Iterator[Any]:
        deadline = time.monotonic() + self.patience
        while True:
            status = job.status()
            yield status
            if getattr(status, "name", None) in FINAL:
                return
            assert time.monotonic() < deadline, f"the job is {status!r} after {self.patience:g} s"
            time.sleep(POLL)

    def _changes_until_final(self, job: Any) -> list[str]:
        """Return the names of the statuses seen, each change once, looking without a pause."""
        seen: list[str] = []
        deadline = time.monotonic() + self.patience
        while not (seen and seen[-1] in FINAL) and time.monotonic() < deadline:
            name = job.status().name
            if not seen or name != seen[-1]:
                seen.append(name)
        return seen

    def _within(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fn`` in another thread and return or raise what it does; fail after `patience` seconds."""
        call = _Background(fn, *args, **kwargs)
        if not call.ended(self.patience):
            pytest.fail(f"{fn.__name__}() has not returned after {self.patience:g} s")
        if call.error is not None:
            raise call.error
        return call.value

    def _error_here(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException | None:
        try:
            fn(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001  (what it raised is what is tested)
            return exc
        return None

    def _error_of(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException | None:
        """Return what ``fn`` raises, None if it returns; fail after `patience` seconds."""
        return self._timed_error_of(fn, *args, **kwargs)[0]

    def _timed_error_of(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[BaseException | None, float]:
        began = time.monotonic()
        call = _Background(fn, *args, **kwargs)
        if not call.ended(self.patience):
            pytest.fail(f"{fn.__name__}() has not returned after {self.patience:g} s")
        return call.error, call.at - began

    def _outcome(self, job: Any) -> tuple[Any, BaseException | None]:
        call = _Background(job.result)
        if not call.ended(self.patience):
            pytest.fail(f"result() has not returned after {self.patience:g} s")
        return call.value, call.error


class _OfCallback(Exception):
    """Raised by a callback of the tests."""


class _Background:
    """A call in a daemon thread, so that one that never returns costs its test only."""

    def __init__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.at = 0.0
        self._thread = threading.Thread(target=self._run, args=(fn, args, kwargs), name="contract", daemon=True)
        self._thread.start()

    def ended(self, seconds: float) -> bool:
        """Wait for the end; whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self.value = fn(*args, **kwargs)
        except BaseException as exc:  # noqa: BLE001  (the test looks at it)
            self.error = exc
        self.at = time.monotonic()


def _is_called(error: BaseException | None, name: str) -> bool:
    """Whether the class of an error, or one it inherits from, has a name."""
    return any(cls.__name__ == name for cls in inspect.getmro(type(error)))
