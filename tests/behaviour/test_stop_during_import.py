"""A stop that strikes in the middle of an import must not leave a half-imported package to the next job."""

import sys
import threading

import procjob

DEADLINE = 30.0

#: The first import of this package never ends; a later one finds `done`. The submodule of an interrupted import stays
#: in `sys.modules`, where a second import in the same process finds it and no longer binds it to the package.
PACKAGE = """
import pathlib
import time

import halfway.part
import procjob

if not pathlib.Path(__file__).with_name("done").exists():
    procjob.report_progress(1)
    while True:
        time.sleep(0.01)
"""


def test_a_cancel_in_the_middle_of_an_import_does_not_break_that_import_for_the_next_job(tmp_path):
    path, folder = str(tmp_path), tmp_path / "halfway"
    folder.mkdir()
    (folder / "__init__.py").write_text(PACKAGE)
    (folder / "part.py").write_text("value = 42\n")

    def use_the_package(_):
        sys.path.insert(0, path)
        import halfway

        return halfway.part.value

    with procjob.Backend(use_the_package, workers=1, grace=20) as backend:
        importing = threading.Event()
        first = backend.run(1)
        first.on_progress(lambda _: importing.set())
        assert first.progress() or importing.wait(DEADLINE)
        first.cancel()
        first.wait_for_final_state(timeout=DEADLINE / 3)  # less than its grace: it was not killed
        assert first.cancelled()
        (folder / "done").touch()
        assert backend.run(2).result(timeout=DEADLINE) == 42


def test_a_cancel_outside_of_an_import_keeps_the_worker():
    def work(endless):
        procjob.report_progress(1)
        while endless:
            pass

    with procjob.Backend(work, workers=1, grace=20) as backend:
        working = threading.Event()
        endless = backend.run(True)
        endless.on_progress(lambda _: working.set())
        assert endless.progress() or working.wait(DEADLINE)
        endless.cancel()
        quick = backend.run(False)
        quick.result(timeout=DEADLINE)
        assert endless.cancelled()
        assert quick.metrics().worker_pid == endless.metrics().worker_pid
