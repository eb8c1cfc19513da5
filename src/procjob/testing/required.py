"""What the documentation of Qiskit's JobV1 asks for."""

from __future__ import annotations

from typing import Any

import pytest

from procjob.testing.pieces import FINAL, POLL, STATUS_VALUES, Pieces, is_called

METHODS = (
    *("job_id", "backend", "submit", "result", "cancel", "status"),
    *("done", "running", "cancelled", "in_final_state", "wait_for_final_state"),
)


class Required(Pieces):
    """The tests ``test_required_...``."""

    # ------------------------------------------------------------ identity

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

    # ------------------------------------------------------------ status

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
        self._call(job.result)
        self._within(job.wait_for_final_state, wait=POLL)
        assert job.status().name == final, f"{final} became {job.status().name}"

    # ------------------------------------------------------------ result

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
        call = self._call(job.result)
        told = final == "ERROR" or call.error is not None or getattr(call.value, "success", True) is False
        assert told, f"the failing job is {final} with result {call.value!r}"

    def test_required_a_failing_job_is_not_done(self) -> None:
        """``done()`` returns whether the job has successfully run."""
        job = self._new("failing")
        final = self._await_final(job)
        assert not job.done(), f"done() of a failed job is True, its status {final}"

    # ------------------------------------------------------------ wait_for_final_state

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
        assert is_called(error, "JobTimeoutError"), f"not a JobTimeoutError at the timeout, but {error!r}"
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

    # ------------------------------------------------------------ cancel and submit

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
