"""The exception tree: kin, and the trip between processes."""

import pickle
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

from procjob import errors

KIN = {
    errors.JobTimeoutError: TimeoutError,
    errors.JobCancelledError: CancelledError,
    errors.NotPicklableError: pickle.PicklingError,
    errors.TimeLimitExceeded: TimeoutError,
    errors.MemoryLimitExceeded: MemoryError,
    errors.WorkerDiedError: BrokenProcessPool,
    errors.RemoteError: BrokenProcessPool,
}

ALL = [value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__]


@pytest.mark.parametrize("error", ALL)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(error, protocol):
    original = error("what went wrong")
    original.add_note("job 3f2a91c0")

    copy = pickle.loads(pickle.dumps(original, protocol))

    assert type(copy) is error
    assert (copy.args, vars(copy), str(copy)) == (original.args, vars(original), str(original))


def test_the_exit_code_and_stderr_of_a_dead_worker_survive_pickling():
    copy = pickle.loads(pickle.dumps(errors.WorkerDiedError("killed", exitcode=-9, stderr="out of memory\n")))
    assert (str(copy), copy.exitcode, copy.stderr) == ("killed", -9, "out of memory\n")


@pytest.mark.parametrize("error", ALL)
def test_everything_procjob_raises_is_a_procjob_error(error):
    # RemoteTraceback is never raised: it stands as the cause of an exception from a worker.
    assert issubclass(error, errors.ProcjobError) != (error is errors.RemoteTraceback)


@pytest.mark.parametrize(("error", "kin"), list(KIN.items()))
def test_an_error_is_caught_as_its_standard_library_kin(error, kin):
    with pytest.raises(kin):
        raise error("what went wrong")


def test_not_picklable_is_the_type_error_that_pickle_would_raise():
    assert issubclass(errors.NotPicklableError, TypeError)


def test_a_remote_traceback_shows_its_text():
    assert "line 3, in simulate" in str(errors.RemoteTraceback("line 3, in simulate"))
