"""Ctrl-C at any moment of any call, hundreds of times: whoever catches it can go on with the same backend."""

from __future__ import annotations

import subprocess
import sys

DEADLINE = 60.0
#: When a script that hangs tells where, and ends.
HANGS = 50.0

SCRIPT = f"""
import faulthandler
faulthandler.dump_traceback_later({HANGS}, exit=True)
import os, random, signal, threading, time
import procjob

random.seed(20240229)
backend = procjob.Backend(time.sleep, workers=2)
backend.run(0.0).result(20)
armed, gate = False, threading.Lock()
ended = threading.Event()

def strike():
    pause = random.Random(7)
    while not ended.wait(pause.uniform(0.001, 0.006)):
        with gate:
            if armed:
                os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=strike, daemon=True).start()
struck = 0
began = time.monotonic()
while time.monotonic() - began < 3 and struck < 2000:
    jobs = []
    try:
        armed = True
        while True:
            jobs.append(backend.run(random.choice([0.0, 0.0, 0.001, 60.0])))
            if random.random() < 0.3:
                random.choice(jobs).cancel()
            for _ in range(5):
                jobs[-1].done()
            if random.random() < 0.05:
                try:
                    jobs[-1].result(0.002)
                except (procjob.JobTimeoutError, procjob.JobCancelledError):
                    pass
    except KeyboardInterrupt:
        struck += 1
    while True:  # until none is on its way
        try:
            with gate:
                armed = False
            time.sleep(0.005)
            break
        except KeyboardInterrupt:
            pass
    for job in jobs:
        job.cancel()
    for job in jobs:
        job.wait_for_final_state(10)
    assert backend.run(0.0).result(10) is None
ended.set()
assert struck > 20, struck
backend.close()
print("fine")
"""


def test_ctrl_c_at_any_moment_breaks_nothing():
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=False, timeout=DEADLINE, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)
