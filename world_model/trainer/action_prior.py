"""Training an action prior for a world model with a state probe, on a recording with the simulator's states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from world_model import bundle
from world_model.action_prior import ActionPrior, ActionPriorConfig, Errand
from world_model.data import DatasetConfig, RecordedDataset, open_dataset
from world_model.model import WorldModel
from world_model.progress import progress_bar
from world_model.state_probe import StateProbeConfig
from world_model.trainer.additions import save_world
from world_model.trainer.fit import fit
from world_model.trainer.frames import as_it_is
from world_model.trainer.probe import states_of
from world_model.trainer.settings import OptimizerConfig, RunConfig
from world_model.trainer.stepped_batches import SteppedBatches, spread_batches
from world_model.trainer.stepping import SteppedModule

SECTION = "## Action prior"
UNKNOWN = 0.05  # share of training windows that are not told the action before
SAMPLES = 32  # of which the nearest to the recorded actions is reported
JUDGED = 2000  # validation windows that samples are drawn for


@dataclass(frozen=True, kw_only=True)
class PriorTrainConfig:
    """A training run of an action prior.

    Attributes:
        world_model: folder of the world model that gets the prior; it has a state probe.
        dataset: folder of a recorded dataset with the infos that the probe reads, or how to read one; single actions,
            also where those of the world model are blocks.
        prior: the prior's size.
        state_noise: deviation of noise on states, in deviations of the recorded states (and radians): a probe is not
            exact.
    """

    world_model: str
    dataset: str | DatasetConfig
    run: RunConfig
    prior: ActionPriorConfig = field(default_factory=ActionPriorConfig)
    state_noise: float = 0.03
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=1e-3, warmup_steps=200, weight_decay=0.02)
    )

    def __post_init__(self) -> None:
        if self.state_noise < 0:
            raise ValueError(f"state_noise: expected 0 or more, got {self.state_noise}")
        if self.run.devices != 1:
            raise ValueError(f"run.devices: an action prior trains on one device, got {self.run.devices}; use 1")


def train_action_prior(config: PriorTrainConfig) -> Path:
    """Train a prior and save a bundle: the world model as it was, with the prior and a section about it in the card.

    Returns:
        the bundle's folder, `bundle` in the run's folder.

    Raises:
        ValueError: if the world model has no state probe or actions that are not bounded and continuous, the dataset
            lacks the probe's infos, has other actions or too short episodes, or there is a checkpoint in the folder
            that cannot be read.
    """
    torch.manual_seed(config.run.seed)
    recorded = open_dataset(config.dataset)
    source = bundle.locate(config.world_model)
    world = WorldModel.from_pretrained(source)
    if world.state_probe is None:
        raise ValueError(f"world_model: {source} has no state probe; train one first with `v2w train train=probe`")
    actions = world.config.actions.single(world.config.action_block)
    if recorded.action_spec != actions:
        raise ValueError(
            f"dataset: expected single actions of {source}, {actions}, got {recorded.action_spec} (action_block=1)"
        )
    data = PriorDataModule(config, recorded, world.state_probe.config, world.config.action_block)
    prior = ActionPrior(config.prior, world.state_probe.config, actions)
    data.setup("fit")
    assert data.train is not None and data.validation is not None
    sample = data.train.__getitems__(spread(len(data.train), 20_000))
    prior.set_statistics(world.state_probe, sample["actions"], sample["last"])
    trainer = fit(PriorModule(prior, config.run, config.optimizer, config.state_noise), data, config.run)
    world.action_prior = prior.eval().requires_grad_(False).to(world.device)
    world.config = replace(world.config, action_prior=config.prior)
    return save_world(world, source, Path(config.run.folder), section(config, prior, data.validation, trainer))


class PriorBatch(TypedDict):
    """states `[b d]`, those `k` times a block of actions later `[b k d]`, the last action before `[b a]`, and the last
    of each of the `k` blocks after, `[b k a]`."""

    states: Tensor
    later: Tensor
    last: Tensor
    actions: Tensor


class PriorWindows(Dataset[PriorBatch]):
    """Windows of recorded episodes, one per simulator step.

    Args:
        episodes: states `[t+1 d]` and actions `[t a]` of each.
        horizon, block: a window reaches `horizon` times `block` actions ahead.

    Raises:
        ValueError: if no episode is long enough.
    """

    def __init__(self, episodes: Sequence[tuple[Tensor, Tensor]], horizon: int, block: int) -> None:
        self.states = torch.cat([states for states, _ in episodes])
        # a row of zeros after each episode, so that an action has the number of the state it is taken in
        self.actions = torch.cat([torch.cat([actions, torch.zeros_like(actions[:1])]) for _, actions in episodes])
        reach, begin, starts = horizon * block, 0, []
        for states, _ in episodes:
            starts.append(begin + torch.arange(1, max(1, len(states) - reach)))
            begin += len(states)
        self.starts = torch.cat(starts)
        if not len(self.starts):
            raise ValueError(f"dataset: expected episodes of more than {reach} actions, got none; record longer ones")
        self.steps = block * torch.arange(1, horizon + 1)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> PriorBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> PriorBatch:
        rows = self.starts[torch.as_tensor(indices)]
        ahead = rows[:, None] + self.steps
        return PriorBatch(
            states=self.states[rows],
            later=self.states[ahead],
            last=self.actions[rows - 1],
            actions=self.actions[ahead - 1],
        )


class PriorDataModule(L.LightningDataModule):
    """Batches of `PriorBatch` of the training and the validation split; the test split is never read."""

    def __init__(
        self, config: PriorTrainConfig, recorded: RecordedDataset, states: StateProbeConfig, block: int
    ) -> None:
        super().__init__()
        self.config, self.recorded, self.states, self.block = config, recorded, states, block
        self.train: PriorWindows | None = None
        self.validation: PriorWindows | None = None

    def setup(self, stage: str) -> None:
        if self.train is None:
            self.train, self.validation = self._windows("train"), self._windows("validation")

    def train_dataloader(self) -> DataLoader[PriorBatch]:
        assert self.train is not None and self.trainer is not None
        batches = SteppedBatches.of(self.trainer, len(self.train), self.config.run)
        return DataLoader(self.train, batch_sampler=batches, collate_fn=as_it_is)

    def val_dataloader(self) -> DataLoader[PriorBatch]:
        assert self.validation is not None
        batches = spread_batches(len(self.validation), self.config.run)
        return DataLoader(self.validation, batch_sampler=batches, collate_fn=as_it_is)

    def _windows(self, part: str) -> PriorWindows:
        ids, episodes = self.recorded.ids(part), []
        for episode in progress_bar(self.recorded.iterate(ids), f"reading the {part} split", "episode", len(ids)):
            states, sizes = states_of(episode, self.states.infos, self.recorded.path)
            if sizes != self.states.sizes:
                raise ValueError(
                    f"dataset: {', '.join(self.states.infos)} of {self.recorded.path} have {sizes} numbers, the "
                    f"probe's {self.states.sizes}; expected the same"
                )
            episodes.append((states, self.recorded.action_spec.to_tensor(episode.actions)))
        return PriorWindows(episodes, self.config.prior.horizon, self.block)


class PriorModule(SteppedModule):
    """Trains a prior on windows whose goal is the state after 1 to `horizon` steps."""

    def __init__(self, prior: ActionPrior, run: RunConfig, optimizer: OptimizerConfig, state_noise: float) -> None:
        super().__init__(run, optimizer)
        self.prior = prior.train().requires_grad_(True)
        self.state_noise = state_noise

    def training_step(self, batch: PriorBatch, batch_idx: int) -> Tensor:
        loss = self._loss(batch, self.step_generator(), self.state_noise)
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: PriorBatch, batch_idx: int) -> None:
        generator = torch.Generator().manual_seed(batch_idx)
        self.log("validation/loss", self._loss(batch, generator, 0.0), prog_bar=True, batch_size=len(batch["states"]))

    def _loss(self, batch: PriorBatch, generator: torch.Generator, state_noise: float) -> Tensor:
        states, count = batch["states"], len(batch["states"])
        steps = torch.randint(1, self.prior.config.horizon + 1, (count,), generator=generator)
        known = torch.rand(count, generator=generator) >= UNKNOWN
        noise = torch.randn(2, *states.shape, generator=generator).to(states) * self.prior.deviation * state_noise
        goals = batch["later"][torch.arange(count), steps - 1]
        errand = Errand(
            states + noise[0], goals + noise[1], batch["last"], known.to(states.device), steps.to(states.device)
        )
        points = torch.randn(batch["actions"].shape, generator=generator).to(states)
        time = torch.rand(count, generator=generator).to(states)
        return self.prior.loss(errand, batch["actions"], points, time)


@torch.inference_mode()
def distances(prior: ActionPrior, windows: PriorWindows) -> dict[str, float]:
    """How far actions are from the recorded ones, root mean square over validation windows, in halves of the action
    range: those of holding the last action, of one sample, and of the nearest of `SAMPLES`."""
    batch, k = windows.__getitems__(spread(len(windows), JUDGED)), prior.config.horizon
    count, device = len(batch["states"]), prior.low.device
    half = (prior.high - prior.low) / 2
    states, last, actions = (part.to(device) for part in (batch["states"], batch["last"], batch["actions"]))
    goals = batch["later"][:, -1].to(device)
    sure = torch.ones(count, dtype=torch.bool, device=device)
    errand = Errand(states, goals, last, sure, torch.full((count,), k, device=device))
    generator, drawn = torch.Generator().manual_seed(0), []
    for _ in range(SAMPLES):
        noise = torch.randn(count, k, prior.columns, generator=generator).to(device)
        drawn.append(((prior.sample(errand, noise) - actions) / half).square().mean((1, 2)))
    squares = torch.stack(drawn)
    held = ((last[:, None] - actions) / half).square().mean()
    found = {"held": held, "one": squares[0].mean(), "nearest": squares.amin(0).mean()}
    return {name: float(square.sqrt()) for name, square in found.items()}


def spread(items: int, most: int) -> list[int]:
    """At most `most` of `items` indices, evenly spread."""
    return list(range(0, items, -(-items // most)))


def section(config: PriorTrainConfig, prior: ActionPrior, validation: PriorWindows, trainer: L.Trainer) -> str:
    """Markdown for the card: how near samples come to what was recorded, and how it was trained."""
    off = distances(prior, validation)
    facts: dict[str, Any] = asdict(config)
    return f"""{SECTION}

Suggests actions to planners (`num_suggested`): what the recorded hand would do to be in the goal's state in at most
{prior.config.horizon} steps of the world model. Trained in {trainer.global_step} steps on the states and actions of
recorded episodes; it never sees a frame. Distance to the recorded actions of the validation split's windows, root mean
square, in halves of the action range:

| actions | distance |
| --- | --- |
| the last one held | {off["held"]:.3f} |
| a sample | {off["one"]:.3f} |
| the nearest of {SAMPLES} samples | {off["nearest"]:.3f} |

```json
{json.dumps(facts, indent=2)}
```
"""
