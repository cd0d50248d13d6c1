"""The reward head: streaming equals the whole sequence, no later frame counts, and its memory travels with a state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ACTION_SPECS, make_tiny_model, randomize
from world_model.checkpoints.load import load
from world_model.model import WorldModel
from world_model.reward_head import RewardHead, RewardHeadConfig
from world_model.types import ActionSpec

CONFIG = RewardHeadConfig(channels=8, features=16, memory=12, action_features=8)


def make_head(actions: ActionSpec, latent_shape: tuple[int, int, int] = (4, 9, 12)) -> RewardHead:
    torch.manual_seed(0)
    head = RewardHead(CONFIG, actions, latent_shape)
    randomize(head)
    head.set_statistics(torch.tensor([2.0, 4.0]), torch.tensor([False, True]))
    torch.nn.init.normal_(head.judge.weight, generator=torch.Generator().manual_seed(1))
    return head.eval().requires_grad_(False)


def with_head(model: WorldModel) -> WorldModel:
    model.reward_head = make_head(model.config.actions, model.config.latent_shape)
    model.config = replace(model.config, reward_head=CONFIG)
    return model


def draw_actions(spec: ActionSpec, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    if spec.kind == "box":
        return 512 * torch.rand(*shape, spec.size, generator=generator)
    high = torch.tensor(spec.nvec or (2,) * spec.size)
    return (torch.rand(*shape, spec.size, generator=generator) * high).long()


@pytest.fixture(scope="module")
def model() -> WorldModel:
    return with_head(make_tiny_model())


@pytest.fixture(scope="module")
def context(model: WorldModel) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, 9, *model.config.latent_shape, generator=generator), draw_actions(model.config.actions, 3, 8)


@pytest.mark.parametrize("kind", ACTION_SPECS)
def test_frame_by_frame_is_the_sequence(kind: str) -> None:
    head, spec = make_head(ACTION_SPECS[kind]), ACTION_SPECS[kind]
    latents, actions = torch.randn(2, 7, 4, 9, 12), draw_actions(spec, 2, 6)
    memories = head.sequence(latents, actions)
    assert memories.shape == (2, 7, CONFIG.memory)
    memory = head.begin(latents[:, 0])
    torch.testing.assert_close(memory, memories[:, 0], atol=1e-5, rtol=1e-4)
    for step in range(6):
        memory = head.advance(memory, latents[:, step + 1], actions[:, step])
        torch.testing.assert_close(memory, memories[:, step + 1], atol=1e-5, rtol=1e-4)
    later = head.sequence(latents[:, 3:], actions[:, 2:], memories[:, 2])
    torch.testing.assert_close(later, memories[:, 3:], atol=1e-5, rtol=1e-4)


def test_later_frames_and_actions_change_nothing_before_them() -> None:
    head = make_head(ACTION_SPECS["discrete"])
    latents, actions = torch.randn(1, 6, 4, 9, 12), draw_actions(ACTION_SPECS["discrete"], 1, 5)
    before = head.sequence(latents, actions)
    latents[:, 4] += 1
    actions[:, 3] = (actions[:, 3] + 1) % 5
    after = head.sequence(latents, actions)
    assert torch.equal(before[:, :4], after[:, :4])
    assert all((before[:, t] - after[:, t]).abs().max() > 1e-4 for t in (4, 5))  # and it remembers


def test_predictions_start_at_what_was_recorded() -> None:
    head = RewardHead(CONFIG, ACTION_SPECS["box"], (4, 4, 4)).requires_grad_(False)
    rewards, ends = torch.tensor([4.0] * 99 + [1.0]), torch.arange(100) == 99
    head.set_statistics(rewards, ends)
    reward, probability = head.predict(torch.randn(5, CONFIG.memory))
    torch.testing.assert_close(reward, torch.full((5,), 3.97), atol=1e-4, rtol=0)
    torch.testing.assert_close(probability, torch.full((5,), 1.5 / 101), atol=1e-5, rtol=0)
    head.set_statistics(torch.full((10,), 7.0), torch.zeros(10).bool())  # always the same, and never an end
    torch.nn.init.ones_(head.judge.weight)
    reward, probability = head.predict(torch.randn(5, CONFIG.memory))
    assert torch.equal(reward, torch.full((5,), 7.0)) and torch.isfinite(probability).all()


def test_the_odds_of_an_end_can_be_raised() -> None:
    head = RewardHead(CONFIG, ACTION_SPECS["box"], (4, 4, 4)).requires_grad_(False)
    torch.nn.init.normal_(head.judge.weight, std=0.1)  # no probability so near 1 that float32 knows no odds of it
    memory = torch.randn(50, CONFIG.memory)
    reward, probability = head.predict(memory)
    head.config = replace(CONFIG, termination_odds=3.0)
    same, raised = head.predict(memory)
    assert torch.equal(reward, same)
    torch.testing.assert_close(raised / (1 - raised), 3 * probability / (1 - probability), rtol=1e-3, atol=0)


def test_states_carry_the_memory(model: WorldModel, context: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert model.reward_head is not None
    latents, actions = context
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    state = model.init_state(latents, actions, generators)
    assert state.memory is not None  # of all nine frames, though the network's window is six
    torch.testing.assert_close(state.memory, model.reward_head.sequence(latents, actions)[:, -1], atol=1e-5, rtol=1e-4)
    action = draw_actions(model.config.actions, 3)
    after, latent = model.step(state, action, generators)
    expected = model.reward_head.advance(state.memory, latent, action)
    assert after.memory is not None
    torch.testing.assert_close(after.memory, expected, atol=1e-5, rtol=1e-4)

    def memory(state: object) -> torch.Tensor:
        return state.memory  # type: ignore[attr-defined,no-any-return]

    assert torch.equal(memory(state.repeat(2)), state.memory.repeat_interleave(2, 0))
    assert torch.equal(memory(state.select([2, 0])), state.memory[[2, 0]])
    mixed = memory(after.scatter([1], state.select([0])))
    assert torch.equal(mixed, torch.stack([after.memory[0], state.memory[0], after.memory[2]]))
    assert torch.equal(memory(after.to("cpu")), after.memory)


def test_without_a_head_there_is_no_memory(
    tiny_model: WorldModel, model: WorldModel, context: tuple[torch.Tensor, torch.Tensor]
) -> None:
    generator = torch.Generator().manual_seed(0)
    state = tiny_model.init_state(*context, generator)
    state, _ = tiny_model.step(state, draw_actions(tiny_model.config.actions, 3), generator)
    assert state.memory is None and state.repeat(2).memory is None
    with pytest.raises(ValueError, match="made without"):
        model.step(state, draw_actions(model.config.actions, 3), generator)


def test_the_head_does_not_change_the_frames(
    tiny_model: WorldModel, model: WorldModel, context: tuple[torch.Tensor, torch.Tensor]
) -> None:
    rollouts = []
    for world in (tiny_model, model):
        generator = torch.Generator().manual_seed(0)
        state = world.init_state(*context, generator)
        rollouts.append(world.rollout(state, draw_actions(world.config.actions, 3, 4), generator)[1])
    assert torch.equal(*rollouts)


def test_bundles_keep_the_head_exact(
    model: WorldModel, context: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    assert model.reward_head is not None
    folder = model.save_pretrained(tmp_path)
    back = load(folder, dtype=torch.bfloat16).to(torch.bfloat16)
    assert back.config == model.config and back.reward_head is not None
    assert next(back.network.parameters()).dtype == torch.bfloat16
    assert load_file(folder / "model.safetensors")["reward_head.reward_mean"].dtype == torch.float32
    again = WorldModel.from_pretrained(back.save_pretrained(tmp_path / "again"))  # what was loaded can be saved
    for name, tensor in model.reward_head.state_dict().items():
        assert torch.equal(back.reward_head.state_dict()[name], tensor)
        assert again.reward_head is not None and torch.equal(again.reward_head.state_dict()[name], tensor)
    memory = back.reward_head.sequence(*context)[:, -1]
    torch.testing.assert_close(memory, model.reward_head.sequence(*context)[:, -1])
    assert back.reward_head.predict(memory)[1].dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "value"), [("memory", 0), ("channels", -1), ("dropout", 1.0), ("termination_odds", 0.0)]
)
def test_sizes_are_checked(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"reward_head.{name}"):
        RewardHeadConfig(**{name: value})  # type: ignore[arg-type]
