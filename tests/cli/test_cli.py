"""The command line: help, exit status, one clear line for a user's mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import commands, groups, load, options
from v2w import cli
from v2w_env.datasets import DATASETS
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.synthetic import TINY, write_synthetic
from world_model.model import WorldModel


def test_help_names_the_commands_without_loading_torch() -> None:
    code = "import sys, atexit; atexit.register(lambda: print('torch' in sys.modules)); from v2w import cli; cli.main()"
    result = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    for command in cli.ABOUT:
        assert command in result.stdout
    assert result.stdout.endswith("False\n")


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    alone = capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert alone.out == capsys.readouterr().out and "agent train" in alone.out and not alone.err


@pytest.mark.parametrize("command", list(cli.ABOUT))
def test_the_help_of_a_command_lists_examples_groups_and_settings(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([*command.split(), "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert f"v2w {command}" in text and "examples:" in text
    stem = command.replace(" ", "_")
    for group in groups(stem):
        assert f"{group}: {', '.join(options(group))}" in text
    for key, value in load(stem).items():
        if not isinstance(value, dict):
            assert f"  {key}: " in text


def test_every_command_has_its_configuration() -> None:
    assert sorted(command.replace(" ", "_") for command in cli.ABOUT) == commands()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == "vid2world-gym 0.1.0\n"


def test_show_config_prints_and_does_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["collect", "--show-config", f"path={tmp_path / 'data'}", "num_episodes=5"]) == 0
    assert "num_episodes: 5" in capsys.readouterr().out
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collect", "num_epsodes=3"], "v2w collect: unknown key 'num_epsodes'. Did you mean 'dataset.num_episodes'?"),
        (["collect", "frame_size=64", "env_id=CartPole-v1", "path=unused"], "frame_size: expected"),
        (["collect", "dataset=nowhere.yaml"], "nowhere.yaml"),
        (["rollout", "env.id=NoSuchEnv-v0"], "NoSuchEnv"),
        (["rollout", "out=film.avi"], "out: expected a name that ends in .mp4 or .gif, got 'film.avi'"),
        (["rollout", "actions=recorded"], "actions=recorded: expected dataset=FOLDER"),
        (["rollout", "env.id=CartPole-v1", "actions=nowhere.npy"], "no file 'nowhere.npy'"),
        (["rollout", "env.id=CartPole-v1", "actions=other"], "expected random, recorded or a .npy file, got 'other'"),
        (["info", "NoSuchEnv-v0"], "NoSuchEnv"),
        (["eval", "benchmark=fidelty"], "Did you mean 'fidelity'?"),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert error.startswith(f"v2w {arguments[0]}: ") and error.count("\n") == 1


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="num_epsodes"):
        cli.main(["collect", "num_epsodes=3", "--traceback"])
    monkeypatch.setenv("V2W_DEBUG", "1")
    with pytest.raises(ValueError, match="num_epsodes"):
        cli.main(["collect", "num_epsodes=3"])


def test_a_missing_simulator_names_the_extra() -> None:
    error = ModuleNotFoundError("No module named 'gym_pusht.envs'", name="gym_pusht.envs")
    assert cli._message(error) == "gym_pusht is not installed. It comes with: pip install 'vid2world-gym[sim]'"


def test_public_names_are_imported_when_used() -> None:
    import v2w

    assert {"WorldModel", "WorldState", "make", "make_vec"} <= set(dir(v2w))
    assert v2w.WorldState.__module__ == "world_model.types"
    with pytest.raises(AttributeError, match="WorldModel"):
        _ = v2w.WorldModle  # type: ignore[attr-defined]


def test_rollout_of_a_real_environment_with_given_actions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actions = tmp_path / "actions.npy"
    np.save(actions, np.ones(12, dtype=np.int64))
    film = tmp_path / "films" / "cart.gif"
    command = ["rollout", "env.id=CartPole-v1", f"actions={actions}", f"out={film}", "scale=1", "progress=false"]
    assert cli.main(command) == 0
    assert "CartPole-v1: 12 steps" in capsys.readouterr().out
    assert film.stat().st_size > 0


def test_collect_and_replay_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    recipe = ["dataset=random", f"path={data}", "num_episodes=10", "max_steps=8", "frame_size=[16, 16]"]
    assert cli.main(["collect", *recipe, "num_workers=1", "progress=false"]) == 0
    assert f"dataset: {data}" in capsys.readouterr().out
    replay = ["env.id=CartPole-v1", "actions=recorded", f"dataset={data}", "out=null", "progress=false"]
    assert cli.main(["rollout", *replay]) == 0
    assert "CartPole-v1: " in capsys.readouterr().out


def test_info_of_an_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "CartPole-v1"]) == 0
    out = capsys.readouterr().out
    assert "Discrete(2)" in out and "500" in out


def test_info_of_a_world_model(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(tiny_bundle)]) == 0
    out = capsys.readouterr().out
    for part in (
        "tiny",
        "gym_pusht/PushT-v0",
        "16 x 16",
        "box, 2 value(s), 0 to 512",
        "2 of 4 frames",
        "temperature 1\n",
        "# Tiny",
    ):
        assert part in out


def test_info_of_a_folder_without_a_world_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(tmp_path)]) == 2
    assert "config.yaml and model.safetensors missing" in capsys.readouterr().err


def test_rollout_of_an_imagined_environment(tiny_bundle: Path, tmp_path: Path) -> None:
    film = tmp_path / "dream.mp4"
    world = ["env=world", f"env.kwargs.checkpoint={tiny_bundle}", "env.kwargs.device=cpu"]
    assert cli.main(["rollout", *world, f"out={film}", "num_steps=3", "fps=5", "progress=false"]) == 0
    assert film.stat().st_size > 0


@pytest.mark.slow
def test_from_a_recording_to_a_world_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The three commands of the README, each as small as it can be."""
    data, autoencoder, world = (str(tmp_path / name) for name in ("data", "autoencoder", "world"))
    recipe = ["dataset=random", f"path={data}", "num_episodes=10", "max_steps=30", "frame_size=[16, 16]"]
    assert cli.main(["collect", *recipe, "num_workers=1", "progress=false"]) == 0
    run = [f"dataset={data}", "max_minutes=null", "max_steps=2", "batch_size=2", "validation_batches=1"]
    run += ["validate_every=2", "accelerator=cpu", "precision=32-true", "progress_bar=false"]
    small = ["block_out_channels=[8, 8]"]
    assert cli.main(["train", "train=autoencoder", f"folder={autoencoder}", *run, *small]) == 0
    small = ["model_channels=16", "norm_groups=8", "head_channels=8", "train.window=6", "samples.every=0"]
    command = ["train", f"autoencoder={autoencoder}", f"folder={world}", "name=cart", "short_episodes=skip"]
    assert cli.main([*command, *run, *small]) == 0
    capsys.readouterr()
    assert cli.main(["info", f"{world}/bundle"]) == 0
    assert "CartPole-v1" in capsys.readouterr().out
    dream = ["env=world", f"env.kwargs.checkpoint={world}/bundle", "actions=recorded", f"dataset={data}"]
    film = tmp_path / "both.mp4"
    assert cli.main(["rollout", *dream, "num_steps=3", f"out={film}", "progress=false", "context_frames=2"]) == 0
    assert film.stat().st_size > 0


def test_convert_a_published_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = write_synthetic(tmp_path / "robot.ckpt", published_shapes(TINY["rt1"]))
    folder = tmp_path / "world"
    assert cli.main(["convert", str(source), f"folder={folder}", "dataset=rt1", "dtype=float16", "name=robot"]) == 0
    assert f"world model: {folder}" in capsys.readouterr().out
    model = WorldModel.from_pretrained(folder)
    assert model.config.name == "robot" and model.config.actions == DATASETS["rt1"].actions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert"], "v2w convert SOURCE folder=OUT"),
        (["convert", "nowhere.ckpt", "folder=x"], "no checkpoint at nowhere.ckpt"),
        (["convert", "a.ckpt", "folder=x", "dtype=int8"], "dtype: expected one of bfloat16, float16, float32"),
        (["convert", "a.ckpt", "folder=x", "dataset=doom"], "dataset: expected one of rt1, csgo, recon"),
        (["download"], "with NAME one of RT1, CSGO"),
        (["download", "RT9"], "no published checkpoint is called 'RT9'"),
    ],
)
def test_convert_and_download_say_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_download_prints_where_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    assert cli.main(["download", "RT1"]) == 0
    assert str(tmp_path) in capsys.readouterr().out


def test_options_may_stand_between_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "benchmark=speed", "--show-config", "steps=3", "--quick", "rounds=2"]) == 0
    shown = capsys.readouterr().out
    assert "steps: 3" in shown and "rounds: 2" in shown and "quick: true" in shown
    with pytest.raises(SystemExit):
        cli.main(["eval", "benchmark=speed", "--quik", "steps=3"])
    assert "unrecognized arguments: --quik" in capsys.readouterr().err
