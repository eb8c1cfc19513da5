"""What procjob promises on top of JobV1."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from procjob.testing.pieces import FINAL, ORDER, Background, Pieces, is_called


class Added(Pieces):
    """The tests ``test_added_...``."""

    # ------------------------------------------------------------ before the submit

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
        assert is_called(error, "JobError"), f"a second submit() raised {error!r}, no JobError"
        assert self._await_final(job) == "DONE"

    # ------------------------------------------------------------ cancel

    def test_added_cancel_of_a_running_job_ends_it_cancelled(self) -> None:
        """True, at once; then CANCELLED, and ``result()`` raises an error that says so."""
        job = self._running_endless_job()
        call = self._call(job.cancel)
        assert call.value is True, f"cancel() of a running job returned {call.value!r} and raised {call.error!r}"
        assert call.took < self.tolerance, f"cancel() blocked for {call.took:.2f} s"
        assert self._await_final(job) == "CANCELLED"
        error = self._error_of(job.result)
        assert is_called(error, "JobCancelledError"), f"result() of a cancelled job raised {error!r}"

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
            Background(job.result),
            Background(job.wait_for_final_state, wait=10 * self.patience),
            Background(job.wait_for_final_state),
        ]
        self._within(job.cancel)
        for wait in waits:
            assert wait.ended(self.patience), "a waiting thread was not woken by cancel()"
        assert is_called(waits[0].error, "JobCancelledError"), f"result() raised {waits[0].error!r}"
        assert waits[1].error is waits[2].error is None, f"wait_for_final_state() raised {waits[1].error!r}"

    # ------------------------------------------------------------ waiting

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
        call = self._call(job.wait_for_final_state, timeout=0.2, wait=wait, callback=lambda *_: None)
        assert is_called(call.error, "JobTimeoutError"), f"it raised {call.error!r}, no JobTimeoutError"
        assert 0.2 <= call.took < 0.2 + self.tolerance, f"a timeout of 0.2 s took {call.took:.3f} s"

    def test_added_result_has_a_timeout_that_leaves_the_job_alone(self) -> None:
        """A JobTimeoutError that is also a TimeoutError; the job goes on."""
        job = self._new("slow")
        call = self._call(job.result, timeout=0.1)
        assert is_called(call.error, "JobTimeoutError"), (
            f"result(timeout=0.1) raised {call.error!r}, no JobTimeoutError"
        )
        assert isinstance(call.error, TimeoutError), f"{type(call.error).__name__} is no TimeoutError"
        assert 0.1 <= call.took < 0.1 + self.tolerance, f"a timeout of 0.1 s took {call.took:.3f} s"
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
            call = self._call(method, timeout=0)
            assert is_called(call.error, "JobTimeoutError"), f"{method.__name__}(timeout=0) raised {call.error!r}"
            assert call.took < self.tolerance, f"{method.__name__}(timeout=0) took {call.took:.2f} s"

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

    # ------------------------------------------------------------ the callback of a wait

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

    # ------------------------------------------------------------ status, errors, threads

    @pytest.mark.parametrize("kind", ["quick", "slow", "failing", "endless"])
    def test_added_nobody_sees_a_status_go_back(self, kind: str) -> None:
        """Sampled by two threads as fast as they can, through the end or a cancel."""
        if kind == "endless":
            self._needs_stopping()
        job = self._new(kind)
        samplers = [Background(self._changes_until_final, job) for _ in range(2)]
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
                    try:
                        method(timeout=0.01)
                    except Exception as exc:
                        if not is_called(exc, "JobTimeoutError"):
                            raise

        threads = [Background(ask) for _ in range(8)]
        for thread in threads:
            assert thread.ended(self.patience), "a thread has not returned"
            assert thread.error is None, f"a thread raised {thread.error!r}"
        assert self._await_final(job) == "DONE"

    def test_added_one_of_many_cancels_at_once_decides(self) -> None:
        """All get the same answer or find the job final; it ends CANCELLED."""
        job = self._running_endless_job()
        threads = [Background(job.cancel) for _ in range(8)]
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


class _OfCallback(Exception):
    """Raised by a callback of the tests."""
