"""What a provider hands over, and the pieces that the tests are made of."""

from __future__ import annotations

import inspect
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
POLL = 0.005


class Pieces:
    """Jobs to test, and ways to ask them that cannot hang the tests; the attributes are those of `JobV1Contract`."""

    additions = True
    stops_running_jobs = True
    failure: type[BaseException] | None = None
    patience = 30.0
    tolerance = 0.5

    # ------------------------------------------------------------ what a provider hands over

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

    # ------------------------------------------------------------ what tests are made of

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

    def _call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Background:
        """Call ``fn`` in another thread and return what came of it; fail after `patience` seconds."""
        call = Background(fn, *args, **kwargs)
        if not call.ended(self.patience):
            pytest.fail(f"{fn.__name__}() has not returned after {self.patience:g} s")
        return call

    def _within(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fn`` likewise and return or raise what it does."""
        call = self._call(fn, *args, **kwargs)
        if call.error is not None:
            raise call.error
        return call.value

    def _error_of(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException | None:
        """Call ``fn`` likewise and return what it raises; None if it returns."""
        return self._call(fn, *args, **kwargs).error


class Background:
    """A call in a daemon thread, so that one that never returns costs its test only."""

    def __init__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.took = 0.0
        self._thread = threading.Thread(target=self._run, args=(fn, args, kwargs), name="contract", daemon=True)
        self._thread.start()

    def ended(self, seconds: float) -> bool:
        """Wait for the end; whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        began = time.monotonic()
        try:
            self.value = fn(*args, **kwargs)
        except BaseException as exc:  # noqa: BLE001  (the test looks at it)
            self.error = exc
        self.took = time.monotonic() - began


def is_called(error: BaseException | None, name: str) -> bool:
    """Whether the class of an error, or one it inherits from, has a name."""
    return any(cls.__name__ == name for cls in inspect.getmro(type(error)))
