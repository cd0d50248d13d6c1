"""Tasks of the planning benchmark, tried in this process or shared among several."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from threading import Thread

import torch

from benchmarks.planning_log import Attempt
from benchmarks.planning_rows import Setup, attempt
from world_model.allocator import keep_freed_memory

_setup: Setup | None = None  # of a worker process


def attempts(setup: Setup, row: str, which: Sequence[tuple[int, int]]) -> Iterator[list[Attempt]]:
    """Try tasks, each a pair of its place and a seed, `tasks_at_once` in a batch; batches come as they are done."""
    size = setup.config.tasks_at_once
    batches = [which[start : start + size] for start in range(0, len(which), size)]
    workers = min(setup.config.workers, len(batches))
    if workers <= 1:
        yield from (attempt(setup, row, batch) for batch in batches)
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    spawn = get_context("spawn")  # forking a process that runs torch threads can hang
    with ProcessPoolExecutor(workers, spawn, _begin, (setup, threads)) as pool:
        jobs = [pool.submit(_attempt, row, batch) for batch in batches]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(setup: Setup, threads: int) -> None:
    global _setup
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    keep_freed_memory()
    _setup = setup


def _end_with_parent() -> None:
    """A run that is killed leaves no workers behind."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _attempt(row: str, which: Sequence[tuple[int, int]]) -> list[Attempt]:
    assert _setup is not None
    return attempt(_setup, row, which)
