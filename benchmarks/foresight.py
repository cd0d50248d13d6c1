"""How long before an episode ends does its dream see the end coming?

    python -m benchmarks.foresight [checkpoint=FOLDER dataset=FOLDER ahead=[1,2,4,8] num_sampling_steps=2 ...]

Recorded episodes that were terminated are dreamt again from a few steps before their last one, under the recorded
actions: how likely does the dream's reward head hold an end in the last steps? The same for places far from the end
shows what the answer is worth. A dream that keeps what is on its way to the player answers as the head does on recorded
frames; one that loses it sees ends only when they are there, and an agent in it cannot learn to avoid them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.evaluate import interval
from benchmarks import report
from benchmarks.command_line import run
from benchmarks.loading import load_model, open_fitting
from benchmarks.report import Table, number
from v2w_env.frames import to_model
from world_model.config import SamplingConfig
from world_model.data import Episode
from world_model.model import WorldModel
from world_model.progress import progress_bar

LAST = 2  # an end foreseen for the step before the recorded one counts too


@dataclass(frozen=True)
class ForesightConfig:
    """Settings.

    Attributes:
        checkpoint: a folder, or the name of a model shipped with the package; with a reward head.
        dataset: folder of recorded episodes, some of which are terminated.
        split: of the recording.
        ahead: steps that are dreamt before the end; a row of the report for each.
        draws: dreams of every episode and number of steps.
        safe: places count as far from the end when so many recorded steps follow them.
        num_sampling_steps, temperature: null: the model's own.
        termination_odds: null: the model's own; 1: the head as it was trained.
    """

    checkpoint: str = "doom_take_cover"
    dataset: str = "runs/data/doom_take_cover"
    split: Literal["train", "validation", "test"] = "test"
    ahead: tuple[int, ...] = (1, 2, 4, 8)
    draws: int = 4
    safe: int = 16
    num_sampling_steps: int | None = None
    temperature: float | None = None
    termination_odds: float | None = 1.0
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] | None = None
    results: str = report.RESULTS_FOLDER
    quick: bool = False


@dataclass(frozen=True)
class Places:
    """Moments of recorded episodes, each with the frames before it and what was done after it.

    Attributes:
        frames: uint8 `[n t h w 3]`, the last of them the moment's own.
        later: uint8 `[n k h w 3]` that followed.
        actions: `[n t-1+k a]`, between all of these.
    """

    frames: NDArray[np.uint8]
    later: NDArray[np.uint8]
    actions: Tensor


def main(config: ForesightConfig) -> dict[str, Any]:
    """Dream towards the ends and away from them, and write the report.

    Returns:
        The measures: `ahead_N` and `safe_N`, the mean probability of an end in the last two of N dreamt steps, before
        ends and elsewhere, and `recorded_ahead` and `recorded_safe`, the same of the last two recorded steps.

    Raises:
        ValueError: an unusable setting, a model without a head, or a dataset that does not fit it or never ends.
        FileNotFoundError: no such checkpoint or dataset.
    """
    given, config = config, _settled(config)
    model = load_model(config.checkpoint, config.device, config.dtype)
    if model.reward_head is None:
        raise ValueError(f"checkpoint: {config.checkpoint} has no reward head; `v2w train train=reward` trains one")
    if config.termination_odds is not None:
        head = model.reward_head
        head.config = replace(head.config, termination_odds=config.termination_odds)
    recorded = open_fitting(config.dataset, model, config.checkpoint)
    sampling = model.with_sampling(num_sampling_steps=config.num_sampling_steps, temperature=config.temperature)
    episodes = list(recorded.iterate(recorded.ids(config.split)))
    context, longest = model.config.network.window, max(config.ahead)
    measures: dict[str, Any] = {}
    margins = {"ahead": 0, "safe": config.safe}
    for name, margin in margins.items():
        found = places(model, episodes, context, longest, longest, margin)
        measures |= {f"recorded_{name}": float(on_recorded(model, found).mean()), f"places_{name}": len(found.frames)}
    for steps in progress_bar(sorted(config.ahead), "dreaming ahead", "length", len(config.ahead)):
        for name, margin in margins.items():
            found = places(model, episodes, context, longest, steps, margin)
            values = foreseen(model, found, steps, config.draws, sampling, config.seed)
            measures[f"{name}_{steps}"] = float(values.mean())
            measures[f"{name}_{steps}_ci"] = list(interval(values))
    notes = (
        f"{measures['places_ahead']} terminated episodes of the {config.split} split that have {context} frames before "
        f"their last {longest} steps, {config.draws} dreams of each, {sampling.num_sampling_steps} sampling steps, "
        f"temperature {sampling.temperature:g}, odds of an end times {model.reward_head.config.termination_odds:g}. "
        f"Elsewhere: {config.safe} more steps follow in the recording ({measures['places_safe']} episodes)."
    )
    report.write("foresight", given, measures, [_table(config, measures)], folder=config.results, notes=notes)
    return measures


def _table(config: ForesightConfig, measures: dict[str, Any]) -> Table:
    rows = [["recorded frames", number(measures["recorded_ahead"]), "", number(measures["recorded_safe"])]]
    for steps in sorted(config.ahead):
        low, high = measures[f"ahead_{steps}_ci"]
        between = f"{number(low)} to {number(high)}"
        rows.append([str(steps), number(measures[f"ahead_{steps}"]), between, number(measures[f"safe_{steps}"])])
    header = ["dreamt steps", "before an end", "95 % interval", "elsewhere"]
    return Table(f"Probability of an end in the last {LAST} of these steps", header, rows)


def places(model: WorldModel, episodes: list[Episode], context: int, longest: int, steps: int, margin: int) -> Places:
    """The moment `steps` before the end of each terminated episode, or as long before `margin` steps before it.

    The same episodes for all numbers of steps up to `longest` and margins of theirs: those that are long enough.

    Raises:
        ValueError: if there is none.
    """
    needed = context + longest + margin
    kept = [episode for episode in episodes if episode.terminations[-1] and len(episode) + 1 >= needed]
    if not kept:
        raise ValueError(f"dataset: expected terminated episodes of {needed} frames or more, found none")
    frames, later, actions = [], [], []
    for episode in kept:
        moment = len(episode) - margin - steps
        first = moment + 1 - context
        frames.append(episode.frames[first : moment + 1])
        later.append(episode.frames[moment + 1 : moment + 1 + steps])
        actions.append(model.config.actions.to_tensor(episode.actions[first : moment + steps]))
    return Places(np.stack(frames), np.stack(later), torch.stack(actions))


@torch.inference_mode()
def foreseen(
    model: WorldModel, found: Places, steps: int, draws: int, sampling: SamplingConfig, seed: int
) -> NDArray[np.float64]:
    """Probability `[n]` of an end in the last steps of dreams from these places, the mean over `draws`."""
    latents = model.encode(to_model(found.frames, model.device))
    actions, before = found.actions.to(model.device), latents.shape[1] - 1
    total = np.zeros(len(latents))
    for draw in range(draws):
        generators = [torch.Generator().manual_seed(seed + 1000 * draw + row) for row in range(len(latents))]
        state = model.init_state(latents, actions[:, :before], generators, sampling)
        alive = torch.ones(len(latents))
        for step in range(steps):
            state, _ = model.step(state, actions[:, before + step], generators, sampling)
            if step >= steps - LAST:
                alive = alive * (1 - _ending(model, state.memory))
        total += (1 - alive).numpy()
    return total / draws


@torch.inference_mode()
def on_recorded(model: WorldModel, found: Places) -> NDArray[np.float64]:
    """The same `[n]` on recorded frames: what the head itself can tell."""
    assert model.reward_head is not None
    frames = np.concatenate([found.frames, found.later], axis=1)
    latents = model.encode(to_model(frames, model.device))
    memories = model.reward_head.sequence(latents, found.actions.to(model.device))
    last = min(LAST, found.later.shape[1])
    alive = torch.stack([1 - _ending(model, memories[:, -1 - back]) for back in range(last)])
    return (1 - alive.prod(0)).double().numpy()


def _ending(model: WorldModel, memory: Tensor | None) -> Tensor:
    assert model.reward_head is not None and memory is not None
    return model.reward_head.predict(memory)[1].float().cpu()


def _settled(config: ForesightConfig) -> ForesightConfig:
    for name in ("draws", "safe"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    if not config.ahead or min(config.ahead) < 1:
        raise ValueError(f"ahead: expected numbers of steps of at least 1, got {list(config.ahead)}")
    if config.quick:
        return replace(config, ahead=config.ahead[:2], draws=1, results=report.QUICK_FOLDER)
    return config


if __name__ == "__main__":
    run("foresight", ForesightConfig, main)
