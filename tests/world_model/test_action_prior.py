"""The action prior: what it is told, the units of what it gives, that it learns several ways to go, how it is kept."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import PUSHT_ACTIONS, make_tiny_model
from world_model.action_prior import ActionPrior, ActionPriorConfig, Errand
from world_model.checkpoints.convert import convert
from world_model.model import WorldModel
from world_model.state_probe import StateProbe, StateProbeConfig
from world_model.types import ActionSpec

STATES = StateProbeConfig(("agent", "angle"), (2, 1), angles=(2,), channels=8, features=16)
CONFIG = ActionPriorConfig(horizon=3, features=32, layers=1, sampling_steps=4)


@pytest.fixture
def prior() -> ActionPrior:
    torch.manual_seed(0)
    return ActionPrior(CONFIG, STATES, PUSHT_ACTIONS).requires_grad_(False)


def errand(count: int, steps: int = 3) -> Errand:
    g = torch.Generator().manual_seed(1)
    states = torch.rand(2, count, 3, generator=g)
    last = torch.rand(count, 2, generator=g) * 512
    return Errand(states[0], states[1], last, torch.ones(count, dtype=torch.bool), torch.full((count,), steps))


def test_actions_have_their_units_and_bounds(prior: ActionPrior) -> None:
    noise = torch.randn(50, 3, 2, generator=torch.Generator().manual_seed(0))
    actions = prior.sample(errand(50), noise)
    assert actions.shape == (50, 3, 2) and actions.min() == 0 and actions.max() == 512  # wild before it is trained
    assert actions.std() > 50
    assert not torch.equal(actions, prior.sample(errand(50, steps=1), noise))


def test_whole_turns_change_nothing_and_halves_do(prior: ActionPrior) -> None:
    noise, one = torch.zeros(4, 3, 2), errand(4)
    turned = replace(one, goals=one.goals + torch.tensor([0, 0, 2 * math.pi]))
    torch.testing.assert_close(prior.sample(one, noise), prior.sample(turned, noise), rtol=0, atol=0.05)
    half = replace(one, goals=one.goals + torch.tensor([0, 0, math.pi]))
    assert (prior.sample(one, noise) - prior.sample(half, noise)).abs().max() > 1


def test_the_last_action_counts_only_where_it_is_known(prior: ActionPrior) -> None:
    noise, one = torch.zeros(4, 3, 2), errand(4)
    other = replace(one, last=512 - one.last)
    assert not torch.equal(prior.sample(one, noise), prior.sample(other, noise))
    unknown = torch.zeros(4, dtype=torch.bool)
    one, other = replace(one, known=unknown), replace(other, known=unknown)
    assert torch.equal(prior.sample(one, noise), prior.sample(other, noise))


def test_errands_differ_in_how_soon_they_are_done(prior: ActionPrior) -> None:
    told = errand(2)
    many = prior.errands(told.states, told.goals, told.last, told.known, 5)
    assert many.steps.tolist() == [3, 2, 1, 3, 2] * 2
    assert torch.equal(many.states[:5], told.states[:1].expand(5, -1)) and torch.equal(many.last[9], told.last[1])
    assert prior.errands(told.states, told.goals, told.last, told.known, 3, horizon=2).steps.tolist() == [2, 1, 2] * 2
    assert prior.errands(told.states, told.goals, told.last, told.known, 2, horizon=9).steps.tolist() == [3, 2] * 2


def test_two_ways_stay_two_ways() -> None:
    """Half of the recorded hands go left and half right: no sample goes through the middle."""
    torch.manual_seed(0)
    prior = ActionPrior(replace(CONFIG, horizon=1, features=64, sampling_steps=10), STATES, PUSHT_ACTIONS)
    optimizer = torch.optim.Adam(prior.parameters(), 3e-3)
    one = replace(errand(256, steps=1), last=torch.full((256, 2), 256.0))
    prior.spread.fill_(0.5)
    for _ in range(300):
        side = torch.where(torch.rand(256, 1, 1) < 0.5, 56.0, 456.0).expand(-1, 1, 2)
        loss = prior.loss(one, side, torch.randn(256, 1, 2), torch.rand(256))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = prior.sample(one, torch.randn(256, 1, 2))
    away = (found - 256).abs()
    assert (away > 120).float().mean() > 0.9 and (away - 200).abs().median() < 40
    assert 0.35 < (found[:, 0, 0] > 256).float().mean() < 0.65
    assert ((found[:, 0, 0] > 256) == (found[:, 0, 1] > 256)).float().mean() > 0.9


def test_statistics_are_those_of_the_recording(prior: ActionPrior) -> None:
    probe = StateProbe(STATES, (4, 4, 4))
    probe.set_statistics(torch.rand(100, 3) * torch.tensor([10.0, 1000.0, 1.0]))
    last = torch.full((6, 2), 256.0)
    prior.set_statistics(probe, last[:, None] + torch.tensor([[64.0, 0.0], [128.0, 0.0], [256.0, 25.6]]), last)
    assert torch.equal(prior.mean, probe.mean) and torch.equal(prior.deviation, probe.deviation)
    torch.testing.assert_close(prior.spread, torch.tensor([[0.25, 1e-3], [0.5, 1e-3], [1.0, 0.1]]))


def with_prior(block: int = 1) -> WorldModel:
    model = make_tiny_model(PUSHT_ACTIONS.block(block))
    config = replace(model.config, action_block=block, state_probe=STATES, action_prior=CONFIG)
    torch.manual_seed(0)
    return WorldModel(config).requires_grad_(False).eval()


@pytest.mark.parametrize("block", [1, 5])
def test_bundles_keep_it_in_a_file_of_its_own(tmp_path: Path, block: int) -> None:
    model = with_prior(block)
    assert model.action_prior is not None and model.action_prior.columns == 2
    folder = model.save_pretrained(tmp_path / "one")
    stored = load_file(folder / "action_prior.safetensors")
    assert stored and all(name.startswith("action_prior.") for name in stored)
    assert not any(name.startswith("action_prior.") for name in load_file(folder / "model.safetensors"))
    back = WorldModel.from_pretrained(folder, dtype=torch.bfloat16)
    assert back.action_prior is not None and back.config == model.config
    noise = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    ours, theirs = (one.action_prior.sample(errand(4), noise) for one in (model, back))  # type: ignore[union-attr]
    assert theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3.0)  # of 512; half precision on disk
    again = WorldModel.from_pretrained(back.save_pretrained(tmp_path / "two"))
    assert torch.equal(again.action_prior.sample(errand(4), noise), theirs)  # type: ignore[union-attr]
    converted = convert(folder, tmp_path / "three", dtype=torch.float16).folder
    same = WorldModel.from_pretrained(converted)
    assert torch.equal(same.action_prior.sample(errand(4), noise), theirs)  # type: ignore[union-attr]


def test_a_model_without_one_leaves_none_behind(tmp_path: Path) -> None:
    with_prior().save_pretrained(tmp_path)
    assert WorldModel.from_pretrained(make_tiny_model().save_pretrained(tmp_path)).action_prior is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = with_prior().save_pretrained(tmp_path)
    (folder / "action_prior.safetensors").unlink()
    with pytest.raises(ValueError, match=r"does not fit its config.yaml: .*action_prior"):
        WorldModel.from_pretrained(folder)


@pytest.mark.parametrize("name", ["horizon", "features", "layers", "sampling_steps"])
def test_sizes_are_checked(name: str) -> None:
    changes: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=rf"action_prior.{name}: expected 1 or more, got 0"):
        replace(CONFIG, **changes)


def test_it_needs_a_probe_and_bounded_continuous_actions() -> None:
    with pytest.raises(ValueError, match="expected a state probe beside it"):
        replace(make_tiny_model().config, action_prior=CONFIG)
    for actions in (
        ActionSpec("discrete", (), nvec=(4,)),
        ActionSpec("box", (1,), low=(-math.inf,), high=(math.inf,)),
    ):
        with pytest.raises(ValueError, match="bounded continuous actions"):
            ActionPrior(CONFIG, STATES, actions)


def test_one_action_of_a_block() -> None:
    assert PUSHT_ACTIONS.block(5).single(5) == PUSHT_ACTIONS
    assert PUSHT_ACTIONS.single(1) is PUSHT_ACTIONS
