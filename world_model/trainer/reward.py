"""Training a reward and termination head for a world model, on the recording that the world model learned from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from world_model import bundle
from world_model.calibration import reliability
from world_model.data import DatasetConfig, RecordedDataset, open_dataset
from world_model.model import WorldModel
from world_model.reward_head import RewardHead, RewardHeadConfig
from world_model.trainer.additions import read_world, save_world
from world_model.trainer.fit import fit
from world_model.trainer.frames import as_it_is
from world_model.trainer.imagined import imagined
from world_model.trainer.judging import RewardHeadModule, judge, measures
from world_model.trainer.latents import encoded
from world_model.trainer.outcomes import OutcomeBatch, OutcomeClips
from world_model.trainer.settings import OptimizerConfig, RunConfig
from world_model.trainer.stepped_batches import SteppedBatches, spread_batches

SECTION = "## Reward head"


@dataclass(frozen=True, kw_only=True)
class RewardTrainConfig:
    """A training run of a reward head.

    Attributes:
        world_model: folder of the world model that gets the head.
        dataset: folder of a recorded dataset with rewards and terminations, or how to read one.
        sequence: frames of a piece of an episode, at most; the head learns to remember for as long as that.
        imagined_share: share of pieces whose frames are the world model's own predictions (see `imagined`).
        imagined_steps: frames it predicts in a row before it looks at recorded ones again.
        latent_noise: standard deviation of noise on all latents, whose own is about 1.
        reward_weight: of the rewards' squared error, in units of their variance, beside the cross entropy of endings.
        latent_cache: folder for the encoded and the imagined dataset; None for `latents` in the run's folder.
    """

    world_model: str
    dataset: str | DatasetConfig
    run: RunConfig
    head: RewardHeadConfig = field(default_factory=RewardHeadConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=1e-3, warmup_steps=50, weight_decay=0.05)
    )
    sequence: int = 64
    imagined_share: float = 0.5
    imagined_steps: int = 1
    latent_noise: float = 0.1
    reward_weight: float = 0.1
    latent_cache: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.imagined_share <= 1:
            raise ValueError(f"imagined_share: expected a share from 0 to 1, got {self.imagined_share}")
        for name, least in (("sequence", 2), ("imagined_steps", 1), ("latent_noise", 0), ("reward_weight", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        if self.run.devices != 1:
            raise ValueError(f"run.devices: a reward head trains on one device, got {self.run.devices}; use 1")


def train_reward(config: RewardTrainConfig) -> Path:
    """Train a head and save a bundle: the world model as it was, with the head and a section about it in the card.

    Returns:
        the bundle's folder, `bundle` in the run's folder.

    Raises:
        ValueError: if the dataset is empty or does not fit the world model, none of its episodes ends, the world model
            cannot be read, or there is a checkpoint in the folder that cannot be read.
    """
    torch.manual_seed(config.run.seed)
    recorded = open_dataset(config.dataset)
    source = bundle.locate(config.world_model)
    world = world_with_head(config, recorded, source)
    assert world.reward_head is not None
    data = OutcomeDataModule(config, world, recorded, source)
    module = RewardHeadModule(
        world.reward_head, config.run, config.optimizer, world.config.context_frames,
        config.imagined_share, config.latent_noise, config.reward_weight,
    )  # fmt: skip
    trainer = fit(module, data, config.run)
    assert data.validation is not None
    if not module.best:
        trainer.validate(module, datamodule=data, verbose=False)
    world.reward_head.load_state_dict(module.best)
    world.reward_head.eval().requires_grad_(False)
    return save_world(
        world, source, Path(config.run.folder), section(config, world.reward_head, data.validation, trainer)
    )


def world_with_head(config: RewardTrainConfig, recorded: RecordedDataset, folder: Path) -> WorldModel:
    """The trained world model with a new head.

    Raises:
        ValueError: if it does not fit the recording or the settings.
    """
    world = read_world(folder, recorded, config.imagined_share)
    world.reward_head = RewardHead(config.head, world.config.actions, world.config.latent_shape)
    world.config = replace(world.config, reward_head=config.head)
    return world


class OutcomeDataModule(L.LightningDataModule):
    """Batches of `OutcomeBatch` of the training and the validation split; the test split is never read."""

    def __init__(self, config: RewardTrainConfig, world: WorldModel, recorded: RecordedDataset, folder: Path) -> None:
        super().__init__()
        self.config = config
        self.world = world
        self.recorded = recorded
        self.folder = folder
        self.train: OutcomeClips | None = None
        self.validation: OutcomeClips | None = None

    def setup(self, stage: str) -> None:
        if self.train is None:
            self.train, self.validation = self._clips("train"), self._clips("validation")
            assert self.world.reward_head is not None
            episodes = self.train.episodes
            assert episodes.rewards is not None and episodes.terminations is not None
            if not episodes.terminations.any():
                raise ValueError(
                    f"{self.recorded.path}: none of the {len(episodes.lengths)} training episodes is terminated, so "
                    "there is no ending to learn; record longer ones"
                )
            self.world.reward_head.set_statistics(episodes.rewards, episodes.terminations)

    def train_dataloader(self) -> DataLoader[OutcomeBatch]:
        assert self.train is not None and self.trainer is not None
        batches = SteppedBatches.of(self.trainer, len(self.train), self.config.run)
        return DataLoader(self.train, batch_sampler=batches, collate_fn=as_it_is)

    def val_dataloader(self) -> DataLoader[OutcomeBatch]:
        assert self.validation is not None
        batches = spread_batches(len(self.validation), self.config.run)
        return DataLoader(self.validation, batch_sampler=batches, collate_fn=as_it_is)

    def _clips(self, part: str) -> OutcomeClips:
        cache = Path(self.config.latent_cache or Path(self.config.run.folder) / "latents")
        wanted = self.config.run.accelerator in ("auto", "gpu", "cuda")
        device = "cuda" if wanted and torch.cuda.is_available() else "cpu"
        episodes = encoded(self.recorded, part, self.folder, cache, device, outcomes=True)
        dreamed = None
        if self.config.imagined_share:
            headless = WorldModel.from_pretrained(self.folder, device, next(self.world.network.parameters()).dtype)
            headless.reward_head = None
            dreamed = imagined(headless, episodes, cache, self.config.imagined_steps)
        return OutcomeClips(episodes, self.config.sequence, dreamed)


def section(config: RewardTrainConfig, head: RewardHead, validation: OutcomeClips, trainer: L.Trainer) -> str:
    """Markdown for the card: measured on all episodes of the validation split, and how it was trained."""
    columns = {"recorded frames": measures(head, validation, "latents")}
    if config.imagined_share:
        columns["imagined frames"] = measures(head, validation, "imagined")
    names = list(columns["recorded frames"])
    rows = [f"| {name} | {' | '.join(f'{column[name]:.4g}' for column in columns.values())} |" for name in names]
    _, probabilities, _, ended = judge(head, validation, "latents")
    bins = [
        f"| {entry.low:g} to {entry.high:g} | {entry.count} | {entry.predicted:.4f} | {entry.observed:.4f} |"
        for entry in reliability(probabilities, ended)
    ]
    facts: dict[str, Any] = asdict(config)
    return f"""{SECTION}

Reward and termination after each step, by a recurrent head on the latents. Trained in {trainer.global_step} steps;
the weights are those that did best on the validation split, on which the numbers below are measured
({len(validation.episodes.lengths)} episodes, {int(ended.sum())} of them terminated). The reward's mean is
{head.reward_mean:.4g}, its deviation {head.reward_scale:.4g}.

| measure | {" | ".join(columns)} |
| --- |{" --- |" * len(columns)}
{chr(10).join(rows)}

`termination_ratio` is the number of endings that the probabilities add up to over the number there were.

| predicted probability of an ending | steps | mean prediction | observed |
| --- | --- | --- | --- |
{chr(10).join(bins)}

```json
{json.dumps(facts, indent=2)}
```
"""
