"""Training a reward head: it learns what is to be remembered, resumes, leaves the world model as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import make_tiny_model
from tests.trainer.conftest import run_config, write_dataset
from tests.trainer.outcomes import SIZE, write_outcomes
from tests.trainer.test_autoencoder_training import curve
from world_model.calibration import outcome_measures
from world_model.data import read_minari
from world_model.model import WorldModel
from world_model.reward_head import RewardHeadConfig
from world_model.trainer import OptimizerConfig, RewardTrainConfig, train_reward
from world_model.trainer.imagined import imagine_episodes
from world_model.trainer.judging import judge
from world_model.trainer.latents import EncodedEpisodes, encoded
from world_model.trainer.outcomes import OutcomeClips
from world_model.types import ActionSpec

ACTIONS = ActionSpec("discrete", (), nvec=(3,), start=(0,), dtype="int64")
HEAD = RewardHeadConfig(channels=8, features=32, memory=32, action_features=8, dropout=0.0)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_outcomes(tmp_path_factory.mktemp("data") / "toy", 80)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = make_tiny_model(ACTIONS, (SIZE, SIZE), channel_mult=(1,), attention_downsampling=(1,))
    clips = {"frames": torch.zeros(2, 4, SIZE, SIZE, 3).byte().numpy(), "actions": torch.zeros(2, 3).long().numpy()}
    return model.save_pretrained(tmp_path_factory.mktemp("world"), clips, "# Tiny\n\nRandom weights.\n")


def config(dataset: Path, world: Path, folder: Path, **changes: Any) -> RewardTrainConfig:
    run = {name: changes.pop(name) for name in ("max_steps", "validate_every", "devices") if name in changes}
    values: dict[str, Any] = dict(
        world_model=str(world),
        dataset=str(dataset),
        run=run_config(folder, **run),
        head=HEAD,
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2, weight_decay=0.0, schedule="constant"),
        sequence=16,
        imagined_share=0.0,
    )
    return RewardTrainConfig(**{**values, **changes})


def test_it_learns_what_only_memory_knows(outcomes: Path, world: Path, tmp_path: Path) -> None:
    settings = config(outcomes, world, tmp_path / "run", max_steps=90, validate_every=30, sequence=30)
    bundle = train_reward(replace(settings, run=replace(settings.run, batch_size=16)))
    model = WorldModel.from_pretrained(bundle)
    assert model.reward_head is not None
    test = encoded(read_minari(outcomes), "test", bundle, tmp_path / "cache", outcomes=True)
    rewards, probabilities, true_rewards, ended = judge(model.reward_head, OutcomeClips(test, 16), "latents")
    found = outcome_measures(rewards, probabilities, true_rewards, ended)
    assert found["termination_auc"] > 0.95 and found["reward_mae"] < 0.2
    lit = true_rewards == 2  # a first flash looks like the second, but is not the end
    assert ended[lit].any() and not ended[lit].all()
    assert probabilities[ended].mean() > 0.7 and probabilities[lit & ~ended].mean() < 0.3
    card = (bundle / "card.md").read_text()
    assert card.startswith("# Tiny") and "termination_auc" in card and card.count("## Reward head") == 1
    assert curve(tmp_path / "run", "validation/loss")


def test_the_world_model_stays_and_a_second_head_replaces_the_first(
    outcomes: Path, world: Path, tmp_path: Path
) -> None:
    first = train_reward(config(outcomes, world, tmp_path / "first", max_steps=2, validate_every=2))
    second = train_reward(config(outcomes, first, tmp_path / "second", max_steps=3, validate_every=3))
    before, after = load_file(world / "model.safetensors"), load_file(second / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name for name in after if name not in before} and all(
        name.startswith("reward_head.") and tensor.dtype in (torch.float32, torch.int64)
        for name, tensor in after.items()
        if name not in before
    )
    assert (second / "episodes.npz").read_bytes() and (second / "card.md").read_text().count("## Reward head") == 1


def test_a_resumed_run_is_the_uninterrupted_run(world: Path, tmp_path: Path) -> None:
    dataset = write_outcomes(tmp_path / "data", 8, steps=12)
    changes = {"imagined_share": 0.5, "latent_cache": str(tmp_path / "cache"), "validate_every": 2}
    whole = train_reward(config(dataset, world, tmp_path / "whole", max_steps=4, **changes))
    train_reward(config(dataset, world, tmp_path / "part", max_steps=2, **changes))
    part = train_reward(config(dataset, world, tmp_path / "part", max_steps=4, **changes))
    for name in ("train/termination", "validation/loss"):
        assert curve(tmp_path / "part", name)[3] == pytest.approx(curve(tmp_path / "whole", name)[3], rel=1e-4)
    assert "imagined frames" in (whole / "card.md").read_text() and (part / "model.safetensors").is_file()


def test_pieces_cover_every_step_equally_and_line_up() -> None:
    lengths = torch.tensor([1, 5, 3])
    frames = torch.cat([100.0 * number + torch.arange(n + 1) for number, n in enumerate(lengths.tolist())])
    steps = torch.cat([100.0 * number + torch.arange(n) for number, n in enumerate(lengths.tolist())])
    ends = torch.tensor([True, False, False, False, False, True, False, False, True])
    episodes = EncodedEpisodes(frames[:, None, None, None].half(), steps[:, None], lengths, steps + 0.5, ends)
    clips = OutcomeClips(episodes, 4)
    seen = {float(step): 0 for step in steps}
    for index in range(len(clips)):
        piece = clips[index]
        known = piece["known"].bool()
        assert torch.equal(piece["latents"][0, :-1, 0, 0, 0][known[0]], piece["actions"][0, :, 0][known[0]])
        assert torch.equal(piece["rewards"][known], piece["actions"][..., 0][known] + 0.5)
        for step, end in zip(
            piece["actions"][..., 0][known].tolist(), piece["terminations"][known].tolist(), strict=True
        ):
            seen[step] += 1
            assert end == float(ends[steps.tolist().index(step)])
    assert set(seen.values()) == {3}
    whole = next(clips.whole(3))
    assert whole["known"].sum(1).tolist() == [1, 3, 5] and whole["latents"].shape[:2] == (3, 6)


def test_imagined_frames_are_the_models_next_step_from_recorded_ones() -> None:
    model = make_tiny_model(ACTIONS, (SIZE, SIZE), channel_mult=(1,), attention_downsampling=(1,))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([4, 9, 7])
    latents = torch.randn(int((lengths + 1).sum()), *model.config.latent_shape, generator=generator).half()
    actions = torch.randint(0, 3, (int(lengths.sum()), 1), generator=generator)
    episodes = EncodedEpisodes(latents, actions, lengths)
    dreamed = imagine_episodes(model, episodes, steps=1, batch=2)
    torch.testing.assert_close(dreamed, imagine_episodes(model, episodes, steps=1, batch=3), atol=2e-3, rtol=2e-3)
    assert torch.equal(dreamed[[0, 5, 15]], latents[[0, 5, 15]]) and not torch.equal(dreamed[16], latents[16])
    own = torch.Generator().manual_seed(2)  # the number of the episode
    state = model.init_state(latents[15:16][None].float(), actions[:0][None], [own])
    _, first = model.step(state, actions[13:14], [own])
    torch.testing.assert_close(dreamed[16], first[0].half(), atol=2e-3, rtol=2e-3)
    changed = episodes.latents.clone()
    changed[17] += 1
    later = imagine_episodes(model, replace(episodes, latents=changed), steps=1, batch=2)
    assert torch.equal(later[16:18], torch.cat([dreamed[16:17], dreamed[17:18]])) and not torch.equal(
        later[18], dreamed[18]
    )
    free = imagine_episodes(model, replace(episodes, latents=changed), steps=100, batch=2)
    assert torch.equal(free[18], imagine_episodes(model, episodes, steps=100, batch=2)[18])


def test_an_old_cache_gets_outcomes_when_they_are_needed(outcomes: Path, world: Path, tmp_path: Path) -> None:
    recorded = read_minari(outcomes)
    encoded(recorded, "test", world, tmp_path)
    path = next(tmp_path.glob("test-*"))
    old = {name: tensor for name, tensor in load_file(path).items() if name not in ("rewards", "terminations")}
    save_file(old, path)
    assert encoded(recorded, "test", world, tmp_path).rewards is None
    again = encoded(recorded, "test", world, tmp_path, outcomes=True)
    assert again.terminations is not None and int(again.terminations.sum()) > 0
    assert torch.equal(again.latents, old["latents"])


def test_errors_say_what_to_do(outcomes: Path, world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="imagined_share.*1.5"):
        config(outcomes, world, tmp_path, imagined_share=1.5)
    with pytest.raises(ValueError, match="run.devices.*2"):
        config(outcomes, world, tmp_path, devices=2)
    with pytest.raises(ValueError, match="what .* was trained on"):
        train_reward(config(write_dataset(tmp_path / "other", [20] * 4), world, tmp_path / "a"))
    endless = write_outcomes(tmp_path / "endless", 4, steps=2)
    with pytest.raises(ValueError, match="none of the 2 training episodes is terminated"):
        train_reward(config(endless, world, tmp_path / "b"))
    with pytest.raises(ValueError, match="v2w train"):
        train_reward(config(outcomes, tmp_path, tmp_path / "c"))
