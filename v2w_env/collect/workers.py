"""Recording a list of episodes, in this process or in several.

Episode i depends on (seed, i) alone, so who records it does not matter.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from v2w_env.collect.config import CollectConfig
from v2w_env.collect.frames import FrameSource
from v2w_env.collect.policies import resolve_policy
from v2w_env.collect.recording import record_episode, save_recording
from v2w_env.collect.simulator import make_simulator


def record(config: CollectConfig, indices: list[int]) -> Iterator[int]:
    """Record the episodes `indices`, yielding each index once its file is safe on disk.

    Raises:
        OSError: if an episode cannot be written; says what is kept.
        RuntimeError: if a worker died.
    """
    if min(config.num_workers, len(indices)) <= 1:
        yield from _record_here(config, indices)
    else:
        yield from _record_in_workers(config, indices)


def not_written(config: CollectConfig, error: OSError) -> OSError:
    """`error` with what is kept and what to do."""
    kept = len(list(config.episodes_folder.glob("*.npz")))
    return OSError(
        error.errno,
        f"could not write to {config.out}: {error.strerror or error}. {kept} finished episodes are kept in "
        f"{config.episodes_folder}; free some space and run the same command again to continue",
    )


def _record_here(config: CollectConfig, indices: list[int], parent: int | None = None) -> Iterator[int]:
    if not indices:
        return
    env = make_simulator(config.env_id, config.env_kwargs)
    try:
        source = FrameSource(env, config.frame_size)
        factory = resolve_policy(config.policy)
        for index in indices:
            if parent is not None and os.getppid() != parent:
                return  # the run was killed: its workers must not go on alone
            seed = np.random.SeedSequence([config.seed, index])
            recording = record_episode(
                env, source, factory, seed, config.max_steps, config.frame_skip, tuple(config.info_keys)
            )
            try:
                save_recording(config.episode_path(index), recording)
            except OSError as error:
                raise not_written(config, error) from error
            yield index
    finally:
        env.close()


def _record_in_workers(config: CollectConfig, indices: list[int]) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")  # forking a process that runs torch threads can hang
    results: Any = context.Queue()
    count = min(config.num_workers, len(indices))
    workers = [
        context.Process(target=_work, args=(config, indices[start::count], os.getpid(), results), daemon=True)
        for start in range(count)
    ]
    for worker in workers:
        worker.start()
    left = len(indices)
    try:
        while left:
            codes = [worker.exitcode for worker in workers]  # looked up first: a worker's last word may still come
            try:
                result = results.get(timeout=0.5)
            except queue.Empty:
                if all(code is not None for code in codes) or any(codes):
                    raise RuntimeError(
                        f"a recording worker died (exit codes {codes}); finished episodes are kept in "
                        f"{config.episodes_folder}, run the same command again to continue"
                    ) from None
                continue
            if isinstance(result, Exception):
                raise result
            left -= 1
            yield result
    finally:
        for worker in workers:
            if left:
                worker.terminate()
            worker.join()


def _work(config: CollectConfig, indices: list[int], parent: int, results: Any) -> None:
    torch.set_num_threads(1)
    try:
        for index in _record_here(config, indices, parent):
            results.put(index)
    except Exception as error:  # handed to the parent, which raises it; foreign classes may not survive the way
        built_in = type(error).__module__ == "builtins"
        results.put(error if built_in else RuntimeError("a recording worker failed:\n" + traceback.format_exc()))
