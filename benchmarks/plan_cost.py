"""What a plan costs: seconds, network passes, the share of the parts, and the memory that candidates take.

    python -m benchmarks.plan_cost [checkpoint=pusht_blocks num_candidates=64 ...]

CEM plans from one of the model's own starts for the goal image of another, in as many rounds as in the planning
benchmark, and so for several environments in one batch. Memory is counted, not sampled: the bytes of the tensors that
candidates hold after their last step, against those of as many copies of the state.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from diffusers.models.autoencoders.vae import Decoder

from benchmarks import report
from benchmarks.command_line import run
from benchmarks.loading import load_model, locate
from benchmarks.report import Table, Target, number
from benchmarks.stopwatch import Stopwatch
from planners import CEM, CEMConfig, GoalImage, GoalState, Objective
from v2w_env.resets import Start
from v2w_env.starting import begin
from world_model.bundle import load_episodes
from world_model.model import WorldModel
from world_model.network.unet import CausalUNet
from world_model.types import WorldState

TARGETS = (
    Target("seconds_per_plan", "at_most", 15.0, "seconds a plan, one environment"),
    Target("copied_share", "at_most", 0.0, "bytes of the past held by candidates, as a share of the past"),
)


@dataclass(frozen=True)
class PlanCostConfig:
    """Settings of the measurement.

    Attributes:
        checkpoint: a folder, or the name of a model shipped with the package; one that has starts.
        env_steps: steps of the simulator that a plan is long; a model of blocks of actions takes fewer of its own.
        num_candidates, num_iterations: of CEM.
        goal_space: what is compared with the goal.
        environments: planned for in one batch, in the second measurement.
        memory_candidates: whose memory is counted.
        repeats: plans, of which the median counts.
        threads: of torch; null leaves its choice.
    """

    checkpoint: str = "pusht_blocks"
    env_steps: int = 25
    num_candidates: int = 64
    num_iterations: int = 5
    goal_space: Literal["latent", "pixels", "state"] = "state"
    environments: int = 4
    memory_candidates: int = 256
    repeats: int = 3
    threads: int | None = None
    seed: int = 0
    results: str = report.RESULTS_FOLDER
    quick: bool = False


def main(config: PlanCostConfig) -> dict[str, Any]:
    """Measure and write the report. Returns the measures.

    Raises:
        ValueError: a model without starts, or sizes below 1.
    """
    given = config
    for field in ("env_steps", "num_candidates", "num_iterations", "environments", "memory_candidates", "repeats"):
        if getattr(config, field) < 1:
            raise ValueError(f"{field}: expected at least 1, got {getattr(config, field)}")
    if config.quick:
        config = replace(
            config, num_candidates=min(8, config.num_candidates), num_iterations=2, environments=2, repeats=1,
            memory_candidates=min(16, config.memory_candidates), results=report.QUICK_FOLDER,
        )  # fmt: skip
    if config.threads:
        torch.set_num_threads(config.threads)
    model = load_model(config.checkpoint)
    measures: dict[str, Any] = {}
    rows = []
    for count in (1, config.environments):
        found = _timed(config, model, count)
        if count == 1:
            measures |= found
        measures[f"seconds_per_plan_of_{count}"] = found["seconds_per_plan"] / count
        rows.append(
            [
                str(count), number(found["seconds_per_plan"] / count), number(found["cpu_seconds"] / count),
                str(found["network_passes"]), str(found["frames_imagined"]),
                *(f"{found[f'{part}_share']:.0%}" for part in ("network", "decoder", "rest")),
            ]
        )  # fmt: skip
    measures |= _memory(config, model)
    header = ["environments", "s / plan", "CPU s / plan", "network passes", "frames imagined"]
    header += ["network", "decoder", "the rest"]
    memory = [[name, number(measures[key] / 2**20)] for name, key in MEMORY.items()]
    tables = [
        report.target_table(measures, TARGETS),
        Table("Time", header, rows),
        Table(f"Memory of {config.memory_candidates} candidates", ["what", "MiB"], memory),
    ]
    notes = (
        f"CEM, {config.num_candidates} candidates, {config.num_iterations} rounds, {measures['horizon']} steps of the "
        f"model ({config.env_steps} of the simulator). A network pass denoises one frame of all candidates that fit "
        "into memory together; the first one puts the newest frame into the memory that they share. Shares are of CPU "
        "seconds."
    )
    report.write("plan_cost", given, measures, tables, folder=config.results, notes=notes)
    return measures


MEMORY = {
    "the past of the state": "past_bytes",
    "candidates at the start, beyond it": "repeated_bytes",
    "candidates after the last step, beyond it": "stepped_bytes",
    "their frames' latents alone": "latent_bytes",
    "as many copies of the past": "copies_bytes",
}


def _timed(config: PlanCostConfig, model: WorldModel, count: int) -> dict[str, Any]:
    state, goals = _start(config, model, count)
    horizon = -(-config.env_steps // (model.config.action_block * model.config.frame_skip))
    objective: Objective
    if config.goal_space == "state":
        objective = GoalState(model, goals, over="best")
    else:
        objective = GoalImage(model, goals, config.goal_space, over="best")
    settings = CEMConfig(
        horizon=horizon, num_candidates=config.num_candidates, num_iterations=config.num_iterations, start="hold",
        num_elites=min(8, config.num_candidates),
    )  # fmt: skip
    planner = CEM(model, objective, settings)
    planner.plan(state, torch.Generator().manual_seed(config.seed))  # warm up
    wall, cpu, shares, calls, frames = [], [], [], 0, 0
    for repeat in range(config.repeats):
        with Stopwatch({"network": CausalUNet, "decoder": Decoder}, str(model.device)) as watch:
            begun = watch.now()
            plan = planner.plan(state, torch.Generator().manual_seed(config.seed + repeat))
            ended = watch.now()
        wall.append(ended.wall - begun.wall)
        cpu.append(ended.cpu - begun.cpu)
        shares.append([watch.parts[part].cpu_seconds / cpu[-1] for part in ("network", "decoder")])
        calls, frames = watch.parts["network"].calls, plan.statistics[-1].imagined_steps
    network, decoder = np.median(shares, axis=0).tolist()
    return {
        "horizon": horizon,
        "seconds_per_plan": statistics.median(wall),
        "cpu_seconds": statistics.median(cpu),
        "network_passes": calls,
        "frames_imagined": frames,
        "network_share": network,
        "decoder_share": decoder,
        "rest_share": 1 - network - decoder,
    }


def _memory(config: PlanCostConfig, model: WorldModel) -> dict[str, Any]:
    state, _ = _start(config, model, 1)
    count, generator = config.memory_candidates, torch.Generator().manual_seed(config.seed)
    past = storages(state)
    repeated = state.repeat(count)
    begun = storages(repeated)
    horizon = -(-config.env_steps // (model.config.action_block * model.config.frame_skip))
    action = state.action.repeat_interleave(count, 0)
    after, latents = repeated, []
    with torch.no_grad():
        for _ in range(horizon):
            after, latent = model.step(after, action, [generator] * count)
            latents.append(latent)
    ended = storages(after) | {latent.untyped_storage().data_ptr(): latent.nbytes for latent in latents}
    past_bytes = sum(past.values())
    copied = sum(size for place, size in begun.items() if place not in past)
    return {
        "memory_candidates": count,
        "past_bytes": past_bytes,
        "repeated_bytes": copied,
        "stepped_bytes": sum(size for place, size in ended.items() if place not in past),
        "latent_bytes": sum(latent.nbytes for latent in latents),
        "copies_bytes": count * past_bytes,
        "copied_share": max(0, copied - count * _own_bytes(state)) / past_bytes,
    }


def _own_bytes(state: WorldState) -> int:
    """What every row needs to itself: its newest frame and action, and what a reward head remembers."""
    own = (state.latent, state.action, state.action_mask, *(() if state.memory is None else (state.memory,)))
    return sum(tensor.nbytes for tensor in own)


def storages(value: Any) -> dict[int, int]:
    """Bytes of memory behind all tensors of a state, each once, by where they lie."""
    return {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in _tensors(value)
        if tensor.untyped_storage().nbytes()
    }


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))


def _start(config: PlanCostConfig, model: WorldModel, count: int) -> tuple[WorldState, np.ndarray]:
    """States after `count` of the model's starts, and the last frames of as many others."""
    folder = locate(config.checkpoint)
    clips = load_episodes(folder, model.config.actions) if not isinstance(folder, str) else None
    if clips is None:
        raise ValueError(f"checkpoint: {config.checkpoint} has no starts to plan from")
    frames, actions, context = clips["frames"], clips["actions"], model.config.context_frames
    rows = np.arange(count) % len(frames)
    starts = [Start(frames[row, :context], actions[row, : context - 1]) for row in rows]
    generators = [torch.Generator().manual_seed(config.seed + row) for row in range(count)]
    with torch.no_grad():
        state = begin(model, starts, generators, np.arange(count), count, None, None)
    return state, frames[(rows + 1) % len(frames), -1]


if __name__ == "__main__":
    run("plan_cost", PlanCostConfig, main)
