"""Do episodes end in the dream when they would have ended? The reward head on test episodes, and survival in the dream.

    python -m benchmarks.reward_head checkpoint=FOLDER dataset=FOLDER [episodes=100 holds=[1,8] ...]

Two questions. On recorded test episodes: does the head rank the steps by danger (AUC), do its probabilities mean what
they say, how far off are its rewards; on recorded frames, and on the world model's predictions one step ahead. And as
an environment: how long does a random policy live in the dream, and how long in the real simulator?
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from benchmarks import report
from benchmarks.command_line import run
from benchmarks.loading import load_model, open_fitting
from benchmarks.reward_head_report import write_reward_head
from benchmarks.reward_head_survival import Starts, Survival, dream_survival, real_survival, survival_measures
from world_model.calibration import Bin, auc, outcome_measures, reliability
from world_model.data import Episode
from world_model.model import WorldModel
from world_model.trainer.imagined import imagine_episodes
from world_model.trainer.judging import judge
from world_model.trainer.latents import EncodedEpisodes, encode_frames
from world_model.trainer.outcomes import OutcomeClips


@dataclass(frozen=True)
class RewardHeadBenchmarkConfig:
    """Settings of the reward head's evaluation.

    Attributes:
        checkpoint: a folder, or the name of a model shipped with the package.
        dataset: folder of a recorded dataset with rewards and terminations.
        split: of the recording.
        holds: random policies: each action is held for 1 up to so many steps; none leaves survival out.
        episodes: of each random policy, in the dream and in the real simulator.
        max_steps: of an episode.
        simulator: Gymnasium id of the real environment; null: the one the world model was recorded from.
        num_envs: imagined environments in one batch; changes the speed and the draws.
    """

    checkpoint: str = "doom_take_cover"
    dataset: str = "runs/data/doom_take_cover"
    split: Literal["train", "validation", "test"] = "test"
    holds: tuple[int, ...] = (1, 8)
    episodes: int = 100
    max_steps: int = 525
    simulator: str | None = None
    num_envs: int = 32
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] | None = None
    results: str = report.RESULTS_FOLDER
    quick: bool = False


def main(config: RewardHeadBenchmarkConfig) -> dict[str, Any]:
    """Run the evaluation and write its report.

    Returns:
        The measures: `termination_auc`, `termination_ece`, `termination_ratio`, `reward_mae`, the same with
        `imagined_` in front, and of each random policy `survival_ratio_hold_N` (dream over real) and its parts.

    Raises:
        ValueError: an unusable setting, a world model without a head, or a dataset that does not fit it.
        FileNotFoundError: no such checkpoint or dataset.
    """
    given, config = config, _settled(config)
    model = load_model(config.checkpoint, config.device, config.dtype)
    if model.reward_head is None:
        raise ValueError(
            f"checkpoint: {config.checkpoint} has no reward head; train one with `v2w train train=reward "
            f"world_model={config.checkpoint} dataset={config.dataset}`"
        )
    episodes = _episodes(config, model)
    measures, bins = recorded_measures(model, episodes, config.seed)
    starts = Starts.of(episodes, model.config.context_frames)
    lives: dict[int, tuple[Survival, Survival]] = {}
    for hold in config.holds:
        arguments = (hold, config.episodes, config.max_steps, config.seed)
        lives[hold] = (
            dream_survival(model, starts, *arguments, num_envs=min(config.num_envs, config.episodes)),
            real_survival(model.config, config.simulator, *arguments),
        )
        measures |= survival_measures(*lives[hold], hold, config.seed)
    write_reward_head(given, measures, bins, lives, config.results)
    return measures


def recorded_measures(
    model: WorldModel, episodes: list[Episode], seed: int
) -> tuple[dict[str, Any], dict[str, list[Bin]]]:
    """The head's measures on whole recorded episodes, and its reliability on recorded and on imagined frames."""
    assert model.reward_head is not None
    latents = [encode_frames(model.autoencoder, torch.from_numpy(e.frames).to(model.device)).cpu() for e in episodes]
    encoded = EncodedEpisodes(
        torch.cat(latents).half(),
        torch.cat([model.config.actions.to_tensor(episode.actions) for episode in episodes]),
        torch.tensor([len(episode) for episode in episodes]),
        torch.cat([torch.from_numpy(episode.rewards) for episode in episodes]),
        torch.cat([torch.from_numpy(episode.terminations) for episode in episodes]),
    )
    dreamed = imagine_episodes(model, encoded) if model.conditioner is None else None
    clips = OutcomeClips(encoded, 2, dreamed)
    measures: dict[str, Any] = {"episodes": len(episodes), "steps": int(encoded.lengths.sum())}
    measures["endings"] = int(np.sum([episode.terminations.any() for episode in episodes]))
    bins: dict[str, list[Bin]] = {}
    for of in ("latents",) if dreamed is None else ("latents", "imagined"):
        found = judge(model.reward_head, clips, of)
        prefix = "" if of == "latents" else "imagined_"
        measures |= {f"{prefix}{key}": value for key, value in outcome_measures(*found).items()}
        lengths = torch.sort(encoded.lengths, stable=True).values.numpy()  # the order in which they are judged
        measures[f"{prefix}termination_auc_ci"] = _auc_interval(found[1], found[3], lengths, seed)
        bins["recorded frames" if of == "latents" else "imagined frames"] = reliability(found[1], found[3])
    return measures, bins


def _auc_interval(
    probabilities: np.ndarray, ended: np.ndarray, lengths: np.ndarray, seed: int, resamples: int = 500
) -> list[float]:
    """2.5 and 97.5 percentiles of the AUC over resampled episodes."""
    pieces = np.split(np.arange(len(ended)), np.cumsum(lengths)[:-1])
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        rows = np.concatenate([pieces[i] for i in rng.integers(0, len(pieces), len(pieces))])
        values.append(auc(probabilities[rows], ended[rows]))
    return [float(value) for value in np.nanpercentile(values, [2.5, 97.5])] if np.isfinite(values).any() else []


def _episodes(config: RewardHeadBenchmarkConfig, model: WorldModel) -> list[Episode]:
    recorded = open_fitting(config.dataset, model, config.checkpoint)
    ids = recorded.ids(config.split)
    return list(recorded.iterate(ids[:6] if config.quick else ids))


def _settled(config: RewardHeadBenchmarkConfig) -> RewardHeadBenchmarkConfig:
    for name in ("episodes", "max_steps", "num_envs"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    if any(hold < 1 for hold in config.holds):
        raise ValueError(f"holds: expected numbers of steps of at least 1, got {list(config.holds)}")
    if config.quick:
        few = min(config.episodes, 6)
        return replace(
            config,
            results=report.QUICK_FOLDER,
            episodes=few,
            holds=config.holds[:1],
            max_steps=min(60, config.max_steps),
        )
    return config


if __name__ == "__main__":
    run("reward_head", RewardHeadBenchmarkConfig, main)
