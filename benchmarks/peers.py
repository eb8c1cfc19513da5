"""The pools that are compared, each in the configuration in which it is fastest, behind one small face."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.tasks import each

#: Items that travel together where a pool is told; what the goal says of loky.
CHUNK = 100

#: How each is set up; in the report.
SETTINGS = {
    "procjob": "`ProcessPoolExecutor`, or `Backend` where a row says so",
    "loky": f"`loky.ProcessPoolExecutor`; `map` with `chunksize={CHUNK}`; `get_reusable_executor` where workers die",
    "joblib": "`Parallel` in a `with` block, batches chosen by itself; arrays by its own memmap",
    "stdlib": f"`concurrent.futures.ProcessPoolExecutor`, started by fork; `map` with `chunksize={CHUNK}`",
    "mp.Pool": "`multiprocessing.Pool`, started by fork; `map` with its own chunks",
    "pebble": f"`pebble.ProcessPool`, started by fork; `map` with `chunksize={CHUNK}`; by forkserver where tasks are stopped, which "
    "takes 3 seconds otherwise",
    "mpire": "`mpire.WorkerPool(keep_alive=True, order_tasks=True)` (else one worker may get all), started by fork; `map` with its "
    "own chunks; `shared_objects`",
    "distributed": "`LocalCluster(processes=True)` of one thread each without dashboard, profile and queueing; `scatter`; "
    f"lists of {CHUNK} items made by hand for `map`",
}


@dataclass(frozen=True, slots=True)
class Pool:
    """How one pool is asked; `gather` waits for what `submit` returned, in order, in the pool's best way."""

    submit: Callable[..., Any]
    gather: Callable[[list[Any]], list[Any]]
    map: Callable[[Callable[..., Any], Sequence[Any]], list[Any]]
    close: Callable[[], object]
    note: str = ""
    native: Any = None


def results(futures):
    return [future.result() for future in futures]


def gets(handles):
    return [handle.get() for handle in handles]


def procjob(workers):
    import procjob

    pool = procjob.ProcessPoolExecutor(workers)
    try:
        chunksize = None
        list(pool.map(abs, [1], chunksize=chunksize))
    except TypeError:  # chunks of its own choice are still to come
        chunksize = CHUNK
    return Pool(
        pool.submit,
        results,
        lambda fn, items: list(pool.map(fn, items, chunksize=chunksize)),
        pool.shutdown,
        note=f"chunksize={chunksize}",
        native=pool,
    )


def _futures(pool, **options):
    return Pool(
        pool.submit, results, lambda fn, items: list(pool.map(fn, items, **options)), pool.shutdown, native=pool
    )


def loky(workers):
    import loky

    return _futures(loky.ProcessPoolExecutor(workers), chunksize=CHUNK)


def reusable_loky(workers):
    import loky

    return _futures(loky.get_reusable_executor(workers, timeout=None), chunksize=CHUNK)


def stdlib(workers):
    from concurrent.futures import ProcessPoolExecutor

    return _futures(ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")), chunksize=CHUNK)


def joblib(workers):
    import joblib

    stack = contextlib.ExitStack()
    parallel = stack.enter_context(joblib.Parallel(n_jobs=workers))

    def map_(fn, items):
        return parallel(joblib.delayed(fn)(item) for item in items)

    def gather(calls):
        return parallel(calls)

    return Pool(lambda fn, *args: joblib.delayed(fn)(*args), gather, map_, stack.close)


def mp_pool(workers):
    pool = multiprocessing.get_context("fork").Pool(workers)
    return Pool(lambda fn, *args: pool.apply_async(fn, args), gets, pool.map, pool.terminate, native=pool)


def pebble(workers, method="fork"):
    import pebble

    pool = pebble.ProcessPool(workers, context=multiprocessing.get_context(method))

    def close():
        pool.stop()
        pool.join()

    return Pool(
        lambda fn, *args: pool.schedule(fn, args=args),
        results,
        lambda fn, items: list(pool.map(fn, items, chunksize=CHUNK).result()),
        close,
        native=pool,
    )


def mpire(workers, shared=None):
    import mpire

    pool = mpire.WorkerPool(workers, start_method="fork", keep_alive=True, order_tasks=True, shared_objects=shared)
    return Pool(
        lambda fn, *args: pool.apply_async(fn, args),
        gets,
        lambda fn, items: pool.map(fn, items, iterable_len=len(items)),
        pool.terminate,
        native=pool,
    )


def distributed(workers, saturation=float("inf")):
    import dask
    from distributed import Client, LocalCluster

    dask.config.set(
        {"distributed.scheduler.worker-saturation": saturation, "distributed.worker.profile.enabled": False}
    )
    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50, memory_limit=0
    )
    client = Client(cluster)

    def submit(fn, *args):
        return client.submit(fn, *args, pure=False)

    def map_(fn, items):
        chunks = [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]
        futures = client.map(partial(each, fn), chunks, pure=False)
        return list(itertools.chain.from_iterable(client.gather(futures)))

    def close():
        client.close()
        cluster.close()

    return Pool(submit, client.gather, map_, close, native=client)


MAKERS: dict[str, Callable[..., Pool]] = {
    "procjob": procjob,
    "loky": loky,
    "joblib": joblib,
    "stdlib": stdlib,
    "mp.Pool": mp_pool,
    "pebble": pebble,
    "mpire": mpire,
    "distributed": distributed,
}


@contextlib.contextmanager
def started(name: str, workers: int = 2, **options: Any) -> Iterator[Pool]:
    """Yield a pool whose workers have started; it is closed in the end."""
    pool = MAKERS[name](workers, **options)
    pool.gather([pool.submit(abs, number) for number in range(32 * workers)])
    yield pool
    pool.close()
