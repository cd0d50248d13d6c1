"""Dreams beside a simulator: what truly comes next follows from the dream, whoever was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.collect.toy_envs import next_level
from tests.conftest import randomize
from v2w import cli
from v2w_env.collect import corrections
from v2w_env.collect.corrections import CorrectionConfig, correct
from v2w_env.frames import to_model, to_pixels
from world_model.model import WorldModel
from world_model.trainer.corrections import FILE, load_corrections
from world_model.trainer.latents import EncodedEpisodes

TOYS = "toy_envs"


def lamp(bundle: Path, folder: Path, **changes: Any) -> CorrectionConfig:
    values = dict(
        world_model=str(bundle), folder=str(folder), env_id=f"{TOYS}:Lamp-v0", policy=f"{TOYS}:level_policy",
        settle=f"{TOYS}:settle_lamp", num_episodes=5, max_steps=9, batch=2, progress=False,
    )  # fmt: skip
    return CorrectionConfig(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def recorded(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return correct(lamp(tiny_bundle, tmp_path_factory.mktemp("corrections") / "whole"))


def test_what_truly_comes_next_follows_from_where_the_dream_is(recorded: Path, tiny_bundle: Path) -> None:
    world, episodes = WorldModel.from_pretrained(tiny_bundle), load_corrections(recorded, tiny_bundle)
    assert episodes.histories is not None and episodes.lengths.tolist() == [9] * 5
    true, dreamt = episodes.latents.view(5, 10, 4, 4, 4).float(), episodes.histories.view(5, 10, 4, 4, 4).float()
    assert torch.equal(true[:, :4], dreamt[:, :4])  # the context
    assert (true[:, 4:] - dreamt[:, 4:]).abs().mean() > 0.1  # a random network dreams anything
    actions = world.config.actions.to_native(episodes.actions).reshape(5, 9, 2)
    shown = to_pixels(world.decode(dreamt)).mean((2, 3, 4)) / 255
    for row in range(5):
        for step in range(4, 9):
            level = next_level(shown[row, step], actions[row, step])
            frame = np.full((1, 1, 16, 16, 3), round(255 * level), np.uint8)
            torch.testing.assert_close(true[row, step + 1], world.encode(to_model(frame))[0, 0], atol=0.03, rtol=0.02)
            assert actions[row, step, 1] == pytest.approx(512 * shown[row, step], abs=2)  # what the policy is told


def test_dreams_go_on_from_what_the_simulator_shows_as_often_as_they_should(tiny_bundle: Path, tmp_path: Path) -> None:
    config = lamp(tiny_bundle, tmp_path / "half", settled_shares=(0.5,), num_episodes=12, batch=12)
    right = whole_frames(correct(config), tiny_bundle)
    assert 0.3 < right.float().mean() < 0.7 and int((right.any(1) & ~right.all(1)).sum()) > 9
    smaller = replace(config, folder=tmp_path / "smaller", batch=5)
    assert torch.equal(whole_frames(correct(smaller), tiny_bundle), right)
    drawn = whole_frames(correct(replace(config, folder=tmp_path / "drawn", settled_shares=(0.0, 1.0))), tiny_bundle)
    assert bool((drawn.all(1) | ~drawn.any(1)).all()) and 2 < int(drawn.all(1).sum()) < 10


def whole_frames(folder: Path, bundle: Path) -> Tensor:
    """Which dreamt frames [12 6] after the context are what the lamp can look like: all of one brightness."""
    episodes, world = load_corrections(folder, bundle), WorldModel.from_pretrained(bundle)
    assert episodes.histories is not None
    dreamt = episodes.histories.view(12, 10, 4, 4, 4)[:, 4:].float()
    lamps = world.encode(to_model(np.repeat(np.arange(256, dtype=np.uint8), 16 * 16 * 3).reshape(1, 256, 16, 16, 3)))[0]
    away = (dreamt[:, :, None] - lamps).square().mean((3, 4, 5)).amin(2)
    return away < 1e-5


def test_an_interrupted_run_goes_on(
    recorded: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, dream, dreamt = lamp(tiny_bundle, tmp_path / "part"), corrections._Company.dream, []

    def until_the_second(company: Any) -> Any:
        if len(dreamt) == 1:
            raise KeyboardInterrupt
        dreamt.append(company)
        return dream(company)

    with monkeypatch.context() as patch:
        patch.setattr(corrections._Company, "dream", until_the_second)
        with pytest.raises(KeyboardInterrupt):
            correct(config)
    assert not (tmp_path / "part" / FILE).exists()
    whole, part = (load_corrections(folder, tiny_bundle) for folder in (recorded, correct(config)))
    for name in EncodedEpisodes.__annotations__:
        if getattr(whole, name) is not None:
            assert torch.equal(getattr(whole, name), getattr(part, name))
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == ["corrections.json", FILE]
    with pytest.raises(ValueError, match=r"holds corrections with another configuration \(seed: 0 -> 1\)"):
        correct(replace(config, seed=1))
    torch.manual_seed(1)
    world = WorldModel.from_pretrained(tiny_bundle)
    randomize(world.network, seed=1)
    other = world.save_pretrained(tmp_path / "bundle")
    with pytest.raises(ValueError, match=r"another configuration \(world_model: .*; weights: "):
        correct(replace(config, world_model=str(other)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(ValueError, match=r"is not empty and holds no corrections\.json"):
        correct(replace(config, folder=tmp_path / "other"))


def test_episodes_end_where_the_simulator_does_and_short_ones_are_left_out(tiny_bundle: Path, tmp_path: Path) -> None:
    config = lamp(tiny_bundle, tmp_path / "a", env_kwargs={"lengths": [2, 6, 8]}, num_episodes=12, batch=12)
    episodes = load_corrections(correct(config), tiny_bundle)
    assert set(episodes.lengths.tolist()) == {6, 8} and len(episodes.lengths) < 12
    assert len(episodes.latents) == int((episodes.lengths + 1).sum())
    assert len(episodes.actions) == int(episodes.lengths.sum())
    with pytest.raises(ValueError, match="expected episodes of more than 4 frames, got none"):
        correct(replace(config, folder=tmp_path / "b", env_kwargs={"length": 2}))


def test_wrong_settings_are_named(tiny_bundle: Path, tmp_path: Path) -> None:
    for wrong, message in (
        ({"settle": "pushed"}, r"settle: expected one of \['pusht'\] or 'module:function', got 'pushed'"),
        ({"settle": f"{TOYS}:settled"}, r"settle: cannot import"),
        ({"settle": f"{TOYS}:SPACES"}, r"settle: expected .* to be a function \(env, frame\)"),
        ({"policy": "pushed"}, "policy: expected one of"),
        ({"env_id": "CartPole-v1"}, r"env_id: expected .* the world model's actions, Box\(.*got Discrete\(2\)"),
        ({"batch": 0}, "batch: expected an integer >= 1, got 0"),
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
        ({"settled_shares": (0.5, 1.5)}, r"settled_shares: expected one or more of 0\.\.1, got \[0\.5, 1\.5\]"),
        ({"settled_shares": ()}, r"settled_shares: expected one or more of 0\.\.1, got \[\]"),
    ):
        with pytest.raises(ValueError, match=message):
            correct(lamp(tiny_bundle, tmp_path / "corrections", **wrong))
    with pytest.raises(ValueError, match=r"settle: expected it to return \(observation, info\), got dict"):
        correct(lamp(tiny_bundle, tmp_path / "started", settle=f"{TOYS}:forgetful_settle"))
    with pytest.raises(ValueError, match="no world model at"):
        correct(lamp(tmp_path / "nothing", tmp_path / "corrections"))
    assert not (tmp_path / "corrections").exists()


def test_the_command_line_does_it_all(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "correct", f"world_model={tiny_bundle}", "dataset=random", f"env_id={TOYS}:Lamp-v0",
        f"settle={TOYS}:settle_lamp", f"policy={TOYS}:level_policy", f"folder={tmp_path / 'made'}",
        "num_episodes=2", "max_steps=6",
    ]  # fmt: skip
    assert cli.main(command) == 0
    assert capsys.readouterr().out == f"corrections: {tmp_path / 'made'}\n"
    assert load_corrections(tmp_path / "made", tiny_bundle).lengths.tolist() == [6, 6]
    assert cli.main([*command, "frame_skip=2"]) == 2
    assert "expected the recipe of a simulator that is recorded without frame_skip" in capsys.readouterr().err
