"""Training an action prior: it finds the way to the goal, resumes, leaves the world model as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import PUSHT_ACTIONS, make_tiny_model
from tests.trainer.conftest import SIZE, run_config
from tests.trainer.test_autoencoder_training import curve
from tests.trainer.test_probe_training import config as probe_config
from world_model.action_prior import ActionPriorConfig
from world_model.model import WorldModel
from world_model.state_probe import StateProbe, StateProbeConfig
from world_model.trainer import OptimizerConfig, PriorTrainConfig, train_action_prior, train_probe
from world_model.trainer.action_prior import PriorWindows

PROBE = StateProbeConfig(("place", "direction"), (2, 1), angles=(2,), channels=8, features=16)


def make_world(folder: Path, block: int = 1, probe: StateProbeConfig | None = PROBE) -> Path:
    actions = PUSHT_ACTIONS.block(block)
    model = make_tiny_model(actions, (SIZE, SIZE), channel_mult=(1,), attention_downsampling=(1,))
    model = WorldModel(replace(model.config, action_block=block, state_probe=probe))
    if model.state_probe is not None:
        model.state_probe.mean[:2], model.state_probe.deviation[:2] = 256.0, 150.0
    return model.save_pretrained(folder, None, "# Tiny\n\nRandom weights.\n")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


def config(dataset: Path, world: Path, folder: Path, **changes: Any) -> PriorTrainConfig:
    run = {name: changes.pop(name) for name in ("max_steps", "validate_every", "batch_size") if name in changes}
    values: dict[str, Any] = dict(
        world_model=str(world),
        dataset=str(dataset),
        run=run_config(folder, **run),
        prior=ActionPriorConfig(horizon=2, features=64, layers=1),
        optimizer=OptimizerConfig(learning_rate=5e-3, warmup_steps=2, schedule="cosine"),
        state_noise=0.0,
    )
    return PriorTrainConfig(**{**values, **changes})


def test_it_goes_to_the_goal(dataset: Path, world: Path, tmp_path: Path) -> None:
    """The toy's square jumps to where the action says, so the action of the goal's step is the goal's place."""
    bundle = train_action_prior(config(dataset, world, tmp_path / "run", max_steps=400, batch_size=64))
    model = WorldModel.from_pretrained(bundle)
    prior = model.action_prior
    assert prior is not None and prior.config.horizon == 2
    goals = torch.tensor([[100.0, 400.0, 0.0], [400.0, 300.0, 0.0]])
    goals[:, 2] = torch.atan2(goals[:, 0] - 255, goals[:, 1] - 255)
    there = torch.tensor([[256.0, 256.0, 0.785]]).expand(2, -1)
    errands = prior.errands(there, goals, torch.full((2, 2), 256.0), torch.ones(2, dtype=torch.bool), 32)
    found = prior.sample(errands, torch.randn(64, 2, 2, generator=torch.Generator().manual_seed(0)))
    reached = found[torch.arange(64), errands.steps - 1]
    free = found[torch.arange(64), 2 - errands.steps]  # before the goal, or after it, anything was recorded
    off = (reached - errands.goals[:, :2]).abs().mean()
    assert off < 50 and off < 0.5 * (free - errands.goals[:, :2]).abs().mean()
    card = (bundle / "card.md").read_text()
    assert card.startswith("# Tiny") and card.count("## Action prior") == 1 and "| the nearest of 32 samples |" in card
    before, after = load_file(world / "model.safetensors"), load_file(bundle / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_a_resumed_run_is_the_uninterrupted_run(dataset: Path, world: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"optimizer": OptimizerConfig(learning_rate=5e-3, warmup_steps=2, schedule="constant")}
    whole = train_action_prior(config(dataset, world, tmp_path / "whole", max_steps=4, state_noise=0.1, **changes))
    train_action_prior(config(dataset, world, tmp_path / "part", max_steps=2, state_noise=0.1, **changes))
    part = train_action_prior(config(dataset, world, tmp_path / "part", max_steps=4, state_noise=0.1, **changes))
    assert curve(tmp_path / "part", "train/loss")[3] == pytest.approx(curve(tmp_path / "whole", "train/loss")[3], 1e-4)
    for name, tensor in load_file(whole / "action_prior.safetensors").items():
        torch.testing.assert_close(load_file(part / "action_prior.safetensors")[name], tensor, rtol=1e-2, atol=1e-3)


def test_windows_of_blocks() -> None:
    """Episodes of 9 and 3 actions, numbered; windows of two blocks of three."""
    episodes = []
    for first, length in ((0, 9), (100, 3)):
        numbers = torch.arange(first, first + length + 1).float()[:, None]
        episodes.append((numbers, numbers[:-1] + 0.5))
    windows = PriorWindows(episodes, horizon=2, block=3)
    assert len(windows) == 3  # after actions 1, 2 and 3 of the first; the second is too short
    batch = windows.__getitems__([0, 2])
    assert batch["states"].flatten().tolist() == [1, 3] and batch["last"].flatten().tolist() == [0.5, 2.5]
    assert batch["later"][..., 0].tolist() == [[4, 7], [6, 9]]
    assert batch["actions"][..., 0].tolist() == [[3.5, 6.5], [5.5, 8.5]]


def test_blocks_are_learned_from_single_actions(dataset: Path, tmp_path: Path) -> None:
    world = make_world(tmp_path / "world", block=5)
    model = WorldModel.from_pretrained(train_action_prior(config(dataset, world, tmp_path / "run", max_steps=1)))
    assert model.action_prior is not None and model.action_prior.columns == 2 and model.config.actions.size == 10


def test_what_does_not_fit_is_refused(dataset: Path, world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no state probe; train one first"):
        train_action_prior(config(dataset, make_world(tmp_path / "bare", probe=None), tmp_path / "run"))
    with pytest.raises(ValueError, match="expected episodes of more than 40 actions"):
        long = ActionPriorConfig(horizon=40, features=8)
        train_action_prior(config(dataset, world, tmp_path / "run", prior=long))
    other = make_world(tmp_path / "other", probe=replace(PROBE, sizes=(1, 2)))
    with pytest.raises(ValueError, match=r"have \(2, 1\) numbers, the probe's \(1, 2\)"):
        train_action_prior(config(dataset, other, tmp_path / "run"))
    with pytest.raises(ValueError, match="state_noise: expected 0 or more"):
        config(dataset, world, tmp_path / "run", state_noise=-1.0)
    with pytest.raises(ValueError, match="has no speed beside its frames"):
        lacking = make_world(tmp_path / "lacking", probe=StateProbeConfig(("speed",), (2,)))
        train_action_prior(config(dataset, lacking, tmp_path / "run"))


def test_another_action_space_is_refused(dataset: Path, tmp_path: Path) -> None:
    model = make_tiny_model(replace(PUSHT_ACTIONS, high=(1.0, 1.0)), (SIZE, SIZE))
    model.config = replace(model.config, state_probe=PROBE)
    model.state_probe = StateProbe(PROBE, model.config.latent_shape)
    with pytest.raises(ValueError, match="dataset: expected single actions of"):
        train_action_prior(config(dataset, model.save_pretrained(tmp_path / "world"), tmp_path / "run"))


def test_a_probe_of_other_states_ends_the_prior(dataset: Path, world: Path, tmp_path: Path) -> None:
    source = train_action_prior(config(dataset, world, tmp_path / "prior", max_steps=1))
    both = {"kept": ("place", "direction"), "gone": ("place",)}
    for name, infos in both.items():
        settings = probe_config(
            dataset, source, tmp_path / name, infos=infos, angles=(2,)[: len(infos) - 1], max_steps=1
        )
        model = WorldModel.from_pretrained(train_probe(settings))
        assert (model.action_prior is None) == (name == "gone")
