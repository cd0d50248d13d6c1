"""Training a state probe for a world model, on a recording that holds the simulator's numbers beside its frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from world_model import bundle
from world_model.data import DatasetConfig, RecordedDataset, open_dataset
from world_model.data.episode import Episode
from world_model.model import WorldModel
from world_model.progress import progress_bar
from world_model.state_probe import StateProbe, StateProbeConfig
from world_model.trainer.additions import read_world, save_world
from world_model.trainer.fit import fit
from world_model.trainer.frames import as_it_is
from world_model.trainer.imagined import imagined
from world_model.trainer.latents import encoded
from world_model.trainer.settings import OptimizerConfig, RunConfig
from world_model.trainer.stepped_batches import SteppedBatches, spread_batches
from world_model.trainer.stepping import SteppedModule

SECTION = "## State probe"
DOUBT_WEIGHT = 0.05  # of the likelihood beside the error
NEAR = 0.1  # deviations from the truth within which errors count squared, beyond which plainly


@dataclass(frozen=True, kw_only=True)
class ProbeTrainConfig:
    """A training run of a state probe.

    Attributes:
        world_model: folder of the world model that gets the probe.
        dataset: folder of a recorded dataset with infos, or how to read one.
        infos: entries of `info`, recorded beside the frames, that are to be read off them.
        angles: which numbers of these, one after the other, are angles in radians.
        channels, features: size, see `StateProbeConfig`.
        imagined_share: share of frames that are the world model's own predictions (see `imagined`).
        imagined_steps: frames it predicts in a row before it looks at recorded ones again.
        latent_noise: largest deviation of noise on the latents, whose own is about 1.
        latent_cache: folder for the encoded and the imagined dataset; None for `latents` in the run's folder.
    """

    world_model: str
    dataset: str | DatasetConfig
    infos: tuple[str, ...]
    run: RunConfig
    angles: tuple[int, ...] = ()
    channels: int = 32
    features: int = 128
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=2e-3, warmup_steps=50, weight_decay=0.02)
    )
    imagined_share: float = 0.5
    imagined_steps: int = 5
    latent_noise: float = 0.3
    latent_cache: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.imagined_share <= 1:
            raise ValueError(f"imagined_share: expected a share from 0 to 1, got {self.imagined_share}")
        if self.imagined_steps < 1:
            raise ValueError(f"imagined_steps: expected 1 or more, got {self.imagined_steps}")
        if self.latent_noise < 0:
            raise ValueError(f"latent_noise: expected 0 or more, got {self.latent_noise}")
        if self.run.devices != 1:
            raise ValueError(f"run.devices: a state probe trains on one device, got {self.run.devices}; use 1")


def train_probe(config: ProbeTrainConfig) -> Path:
    """Train a probe and save a bundle: the world model as it was, with the probe and a section about it in the card.

    Returns:
        the bundle's folder, `bundle` in the run's folder.

    Raises:
        ValueError: if the dataset is empty, lacks the infos or does not fit the world model, the world model cannot be
            read, or there is a checkpoint in the folder that cannot be read.
    """
    torch.manual_seed(config.run.seed)
    recorded = open_dataset(config.dataset)
    source = bundle.locate(config.world_model)
    world = read_world(source, recorded, config.imagined_share)
    data = ProbeDataModule(config, world, recorded, source)
    data.setup("fit")
    assert data.train is not None and data.validation is not None
    settings = StateProbeConfig(config.infos, data.sizes, config.angles, config.channels, config.features)
    probe = StateProbe(settings, world.config.latent_shape)
    probe.set_statistics(data.train.states)
    module = ProbeModule(probe, config.run, config.optimizer, config.imagined_share, config.latent_noise)
    trainer = fit(module, data, config.run)
    world.state_probe = probe.eval().requires_grad_(False).to(world.device)
    before = world.config.state_probe
    if before is not None and not before.reads_the_same(settings):
        world.action_prior, world.config = None, replace(world.config, action_prior=None)  # it looks at other states
    world.config = replace(world.config, state_probe=settings)
    return save_world(world, source, Path(config.run.folder), section(config, probe, data.validation, trainer))


class ProbeBatch(TypedDict):
    """latents, and the same frames as the world model imagines them, float32 `[b c h w]`; states `[b d]`."""

    latents: Tensor
    imagined: Tensor
    states: Tensor


class ProbeFrames(Dataset[ProbeBatch]):
    """Single frames `[n c h w]`, recorded and imagined, with the simulator's states `[n d]`."""

    def __init__(self, latents: Tensor, imagined: Tensor, states: Tensor) -> None:
        self.latents, self.imagined, self.states = latents, imagined, states

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> ProbeBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> ProbeBatch:
        rows = torch.as_tensor(indices)
        return ProbeBatch(
            latents=self.latents[rows].float(), imagined=self.imagined[rows].float(), states=self.states[rows]
        )


class ProbeDataModule(L.LightningDataModule):
    """Batches of `ProbeBatch` of the training and the validation split; the test split is never read.

    Attributes:
        sizes: how many numbers each of the infos has.
    """

    def __init__(self, config: ProbeTrainConfig, world: WorldModel, recorded: RecordedDataset, folder: Path) -> None:
        super().__init__()
        self.config, self.world, self.recorded, self.folder = config, world, recorded, folder
        self.train: ProbeFrames | None = None
        self.validation: ProbeFrames | None = None
        self.sizes: tuple[int, ...] = ()

    def setup(self, stage: str) -> None:
        if self.train is None:
            self.train, self.validation = self._frames("train"), self._frames("validation")

    def train_dataloader(self) -> DataLoader[ProbeBatch]:
        assert self.train is not None and self.trainer is not None
        batches = SteppedBatches.of(self.trainer, len(self.train), self.config.run)
        return DataLoader(self.train, batch_sampler=batches, collate_fn=as_it_is)

    def val_dataloader(self) -> DataLoader[ProbeBatch]:
        assert self.validation is not None
        batches = spread_batches(len(self.validation), self.config.run)
        return DataLoader(self.validation, batch_sampler=batches, collate_fn=as_it_is)

    def _frames(self, part: str) -> ProbeFrames:
        cache = Path(self.config.latent_cache or Path(self.config.run.folder) / "latents")
        wanted = self.config.run.accelerator in ("auto", "gpu", "cuda")
        device = "cuda" if wanted and torch.cuda.is_available() else "cpu"
        episodes = encoded(self.recorded, part, self.folder, cache, device)
        states, self.sizes = read_states(self.recorded, part, self.config.infos)
        dreamed = episodes.latents
        if self.config.imagined_share:
            dtype = next(self.world.network.parameters()).dtype
            plain = WorldModel.from_pretrained(self.folder, device, dtype)
            plain.reward_head = None
            dreamed = imagined(plain, episodes, cache, self.config.imagined_steps)
        return ProbeFrames(episodes.latents, dreamed, states)


def read_states(recorded: RecordedDataset, part: str, infos: Sequence[str]) -> tuple[Tensor, tuple[int, ...]]:
    """The states `[n d]` float32 of all frames of a part of the split, in the order of `encoded`, and how many numbers
    each of the infos has.

    Raises:
        ValueError: if the recording lacks one of the infos, or one is not numeric.
    """
    ids, rows = recorded.ids(part), []
    sizes: tuple[int, ...] = ()
    for episode in progress_bar(recorded.iterate(ids), f"reading states of the {part} split", "episode", len(ids)):
        states, sizes = states_of(episode, infos, recorded.path)
        rows.append(states)
    return torch.cat(rows), sizes


def states_of(episode: Episode, infos: Sequence[str], source: Path) -> tuple[Tensor, tuple[int, ...]]:
    """The states `[t+1 d]` float32 of the frames of an episode, and how many numbers each of the infos has.

    Raises:
        ValueError: as :func:`read_states`, naming `source`.
    """
    there = episode.infos or {}
    missing = [name for name in infos if name not in there]
    if missing:
        raise ValueError(
            f"infos: {source} has no {', '.join(missing)} beside its frames; there is: {', '.join(there) or 'nothing'}"
        )
    columns = [np.asarray(there[name]) for name in infos]
    for name, column in zip(infos, columns, strict=True):
        if column.dtype.kind not in "fiub" or not np.isfinite(column).all():
            raise ValueError(f"infos: {name} of episode {episode.id} are not finite numbers ({column.dtype})")
    flat = [column.reshape(len(column), -1).astype(np.float32) for column in columns]
    return torch.from_numpy(np.concatenate(flat, axis=1)), tuple(column.shape[1] for column in flat)


class ProbeModule(SteppedModule):
    """Trains a probe on single frames. See `ProbeTrainConfig` for `imagined_share` and `latent_noise`."""

    def __init__(
        self, probe: StateProbe, run: RunConfig, optimizer: OptimizerConfig, imagined_share: float, latent_noise: float
    ) -> None:
        super().__init__(run, optimizer)
        self.probe = probe.train().requires_grad_(True)
        self.imagined_share, self.latent_noise = imagined_share, latent_noise

    def training_step(self, batch: ProbeBatch, batch_idx: int) -> Tensor:
        generator, latents = self.step_generator(), batch["latents"]
        chance = torch.rand(2, len(latents), 1, 1, 1, generator=generator)
        mixed = torch.where((chance[0] < self.imagined_share).to(latents.device), batch["imagined"], latents)
        noise = torch.randn(latents.shape, generator=generator) * chance[1] * self.latent_noise
        loss = self._loss(mixed + noise.to(latents), batch["states"])
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: ProbeBatch, batch_idx: int) -> None:
        for name in ("latents", "imagined"):
            loss = self._loss(batch[name], batch["states"])
            self.log(f"validation/{name}", loss, prog_bar=True, batch_size=len(batch["states"]))

    def _loss(self, latents: Tensor, states: Tensor) -> Tensor:
        return probe_loss(self.probe, latents, states)


def probe_loss(probe: StateProbe, latents: Tensor, states: Tensor) -> Tensor:
    """The error of the states, and the negative log likelihood of that error under the deviation that the probe gives.

    The latter teaches the deviation alone: errors count alike whether the probe expected them or not.
    """
    outputs, doubts = probe.outputs(latents)
    with torch.no_grad():
        off = probe.difference(probe.states(outputs), states) / probe.deviation
    likelihood = doubts + off.square() * (-2 * doubts).exp() / 2
    return functional.smooth_l1_loss(outputs, probe.targets(states), beta=NEAR) + DOUBT_WEIGHT * likelihood.mean()


@torch.inference_mode()
def errors(probe: StateProbe, frames: ProbeFrames, of: str, batch: int = 512) -> tuple[Tensor, Tensor]:
    """How far off each number is, and how far the probe expected it to be, `[n d]` each, in the numbers' units.

    Args:
        of: "latents" or "imagined".
    """
    off, expected = [], []
    for rows in torch.arange(len(frames)).split(batch):
        part = frames.__getitems__(rows.tolist())
        states, deviations = probe(part["latents"] if of == "latents" else part["imagined"])
        off.append(probe.difference(states, part["states"]).abs())
        expected.append(deviations)
    return torch.cat(off), torch.cat(expected)


def section(config: ProbeTrainConfig, probe: StateProbe, validation: ProbeFrames, trainer: L.Trainer) -> str:
    """Markdown for the card: errors on all frames of the validation split, and how it was trained."""
    kinds = {"recorded": "latents"} | ({"imagined": "imagined"} if config.imagined_share else {})
    columns = []
    for of in kinds.values():
        off, expected = errors(probe, validation, of)
        within = (off <= 2 * expected).float().mean(0)
        columns += [off.mean(0), off.quantile(0.95, dim=0), within]
    measures = ("mean", "95th percentile", "share within 2 of the expected deviations")
    header = [f"{kind} frames, {measure}" for kind in kinds for measure in measures]
    rows = [
        f"| {name} | {' | '.join(f'{float(column[place]):.3g}' for column in columns)} |"
        for place, name in enumerate(probe.config.names)
    ]
    facts: dict[str, Any] = asdict(config)
    return f"""{SECTION}

What the simulator's state is in a frame, read off its latent by a small network: for goals (`planners.GoalState`) and
measures, not for the world model itself. Trained in {trainer.global_step} steps on recorded states; errors below are of
the validation split's {len(validation)} frames, in the simulator's units (angles in radians).

| number | {" | ".join(header)} |
| --- |{" --- |" * len(header)}
{chr(10).join(rows)}

```json
{json.dumps(facts, indent=2)}
```
"""
