"""Print the figures of what procjob promises about truth, stopping and survival; needs the extra `qiskit`.

    python benchmarks/promises.py

Each line: what was done, the bound, the figures. Nothing is asserted; tests/behaviour does that with generous bounds.
"""

from __future__ import annotations

import hashlib
import os
import select
import signal
import subprocess
import sys
import threading
import time

import psutil
from timing import seconds

import procjob


def act(what: object) -> object:
    """The simulator of this script: does what its input says."""
    procjob.report_progress(1)
    if what == "pbkdf2":
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)
    if what == "aer":
        return simulate_wide()
    if isinstance(what, float):
        time.sleep(what)
    return what


def simulate_wide(qubits: int = 26) -> object:
    """One call of Aer that keeps the interpreter for a minute or more."""
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    circuit = QuantumCircuit(qubits)
    for layer in range(30):
        for qubit in range(qubits):
            circuit.rx(0.1 + layer, qubit)
            circuit.cx(qubit, (qubit + 1) % qubits)
    circuit.measure_all()
    procjob.report_progress(2)
    return AerSimulator(method="statevector", fusion_enable=False).run(circuit).result()


def running(backend: procjob.Backend, what: object, at_progress: int = 1) -> procjob.Job:
    """Return a job whose task has said that it is where it should be."""
    job = backend.run(what)
    reported = threading.Event()
    job.on_progress(lambda progress: reported.set() if progress.done >= at_progress else None)
    progress = job.progress()
    if progress is None or progress.done < at_progress:
        reported.wait(60)
    time.sleep(0.3)  # code that keeps the interpreter cannot say that it has begun to
    return job


def say(what: str, bound: str, figures: str) -> None:
    """Print one line of the table."""
    print(f"{what:62s} {bound:28s} {figures}", flush=True)


def states() -> None:
    """Six naps on two workers."""
    with procjob.Backend(act, workers=2) as backend:
        procjob.wait([backend.run(0.1) for _ in range(2)])
        jobs = [backend.run(0.4) for _ in range(6)]
        time.sleep(0.15)
        count = sum(job.running() for job in jobs)
        queued = [job for job in jobs if job.status() is procjob.JobStatus.QUEUED]
        woken: list[float] = []
        threads = [
            threading.Thread(target=lambda job=job: (job.wait_for_final_state(), woken.append(time.perf_counter())))
            for job in queued
        ]
        for thread in threads:
            thread.start()
        began = time.perf_counter()
        cancelled = sum(job.cancel() for job in queued)
        for thread in threads:
            thread.join()
        say(
            "6 jobs of 0.4 s, 2 workers, after 0.15 s",
            "2 running, 4 woken < 20 ms",
            f"{count} running, {cancelled} cancelled, last waiter woken after {(max(woken) - began) * 1e3:.1f} ms",
        )


def cancels() -> None:
    """Cancel of code that never returns to the interpreter; the rest is in `stopping.py`."""
    for what, at in (("pbkdf2", 1), ("aer", 2)):
        with procjob.Backend(act, workers=2) as backend:
            job = running(backend, what, at)
            others = [backend.run(n) for n in range(50)]
            took = seconds(lambda job=job: (job.cancel(), job.wait_for_final_state())) * 1e3
            kept = sum(other.result() == n for n, other in enumerate(others))
            say(
                f"cancel of one {what} call that never returns",
                "< grace 500 + 200 ms",
                f"{took:.0f} ms, {kept} of 50 neighbours",
            )


def timeouts() -> None:
    """Waits while Aer keeps its interpreter, and how long the main thread of the parent is held up."""
    with procjob.Backend(act, workers=1, grace=0.1) as backend:
        job = running(backend, "aer", 2)
        for name, wait in (
            ("result(timeout=0.5)", lambda: job.result(timeout=0.5)),
            ("wait_for_final_state(timeout=0.5, wait=5)", lambda: job.wait_for_final_state(timeout=0.5, wait=5)),
        ):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                try:
                    wait()
                except procjob.JobTimeoutError:
                    times.append(time.perf_counter() - began)
            say(f"{name} while Aer runs", "0.50 to 0.60 s", f"{min(times):.3f} to {max(times):.3f} s")
        gaps, last = [], time.perf_counter()
        while len(gaps) < 200_000:
            job.status()
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
        say("longest hold-up of the parent's main thread while Aer runs", "< 50 ms", f"{max(gaps) * 1e3:.2f} ms")
        job.cancel()


def deaths() -> None:
    """One of four workers killed under 200 jobs."""
    for retries in (0, 1):
        with procjob.Backend(act, workers=4, retries=retries) as backend:
            jobs = [backend.run(0.02) for _ in range(200)]
            jobs[20].wait_for_final_state()
            victim = next(job for job in jobs if job.running())
            os.kill(victim.metrics().worker_pid or 0, signal.SIGKILL)
            procjob.wait(jobs)
            done, failed = (sum(getattr(job, state)() for job in jobs) for state in ("done", "errored"))
            say(
                f"SIGKILL of 1 of 4 workers under 200 jobs, retries={retries}",
                "199 + 1, or 200",
                f"{done} DONE, {failed} ERROR",
            )


SCRIPT = """
import time, procjob
def work(seconds):
    procjob.report_progress(1)
    {busy}
backend = procjob.Backend(work, workers=2)
jobs = [backend.run(6.0) for _ in range(102)]
while None in [job.progress() for job in jobs[:2]]:
    time.sleep(0.01)
print(flush=True)
jobs[50].result()
"""


def leaving() -> None:
    """Ctrl-C and SIGKILL of a script with 2 running and 100 queued jobs."""
    busy = "while True: pass"
    for what, body, stop in (
        ("Ctrl-C to the process group", "time.sleep(seconds)", lambda p: os.killpg(p.pid, signal.SIGINT)),
        ("Ctrl-C to the parent alone", "time.sleep(seconds)", lambda p: os.kill(p.pid, signal.SIGINT)),
        ("Ctrl-C to the parent alone, busy workers", busy, lambda p: os.kill(p.pid, signal.SIGINT)),
        ("SIGKILL of the parent, busy workers", busy, lambda p: os.kill(p.pid, signal.SIGKILL)),
    ):
        script = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(busy=body)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        script.stdout.readline()  # type: ignore[union-attr]
        family = [os.pidfd_open(child.pid) for child in psutil.Process(script.pid).children(recursive=True)]
        began = time.perf_counter()
        stop(script)
        script.wait()
        left = time.perf_counter() - began
        ended = sum(bool(select.select([process], [], [], 10)[0]) for process in family)
        gone = time.perf_counter() - began
        say(
            what,
            "< 2 s, nothing left",
            f"script {left:.2f} s, its {len(family)} processes {gone:.2f} s, {len(family) - ended} left",
        )


if __name__ == "__main__":
    for part in (states, cancels, timeouts, deaths, leaving):
        part()
