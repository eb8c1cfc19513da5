"""The pipe that wakes the pool's thread may be full: no submit waits for it, and no task is forgotten."""

from __future__ import annotations

import os

import procjob

DEADLINE = 30.0


def test_a_full_wakeup_pipe_blocks_no_submit_and_loses_no_task():
    with procjob.ProcessPoolExecutor(2) as pool:
        assert pool.submit(abs, -1).result(DEADLINE) == 1
        futures = []
        for n in range(300):
            try:
                while True:
                    os.write(pool._pool._loop.inbox._pipe.write_end, bytes(4096))
            except BlockingIOError:
                pass
            futures.append(pool.submit(abs, -n))
        assert [future.result(DEADLINE) for future in futures] == list(range(300))
