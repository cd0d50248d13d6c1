"""The configuration loader: what merges over what, and what bad input is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs import commands, groups, load, options, to_yaml


def test_defaults_carry_the_chosen_files() -> None:
    config = load("collect")
    assert config["dataset"]["base"] == "pusht"
    assert config["dataset"]["env_kwargs"] == {"obs_type": "pixels", "observation_width": 64, "observation_height": 64}
    assert config["num_workers"] == 2


@pytest.mark.parametrize("key", ["num_episodes", "dataset.num_episodes"])
def test_a_key_is_understood_with_and_without_its_group(key: str) -> None:
    assert load("collect", [f"{key}=3"])["dataset"]["num_episodes"] == 3


def test_a_group_choice_replaces_the_file_wherever_it_stands() -> None:
    config = load("collect", ["num_episodes=3", "dataset=random"])
    assert config["dataset"]["env_id"] == "CartPole-v1"
    assert config["dataset"]["num_episodes"] == 3


def test_the_last_override_wins() -> None:
    assert load("collect", ["seed=1", "seed=2"])["dataset"]["seed"] == 2


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("max_steps=1e3", "max_steps", 1000),
        ("frame_size=[96, 128]", "frame_size", [96, 128]),
        ("frame_size=null", "frame_size", None),
        ("info_keys=[]", "info_keys", []),
        ("path=runs/a=b", "path", "runs/a=b"),
        ("path=7", "path", "7"),
        ("env_kwargs.anything=true", "env_kwargs", {"anything": True}),
        ("env_kwargs={a: {b: 1e-4}}", "env_kwargs", {"a": {"b": 1e-4}}),
    ],
)
def test_values_are_read_as_yaml(override: str, key: str, value: object) -> None:
    assert load("collect", ["dataset=random", override])["dataset"][key] == value


def test_a_file_of_ones_own_stands_over_the_shipped_one_it_names(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("base: random\nenv_id: Acrobot-v1\n")
    dataset = load("collect", [f"dataset={own}", "seed=4"])["dataset"]
    assert (dataset["base"], dataset["env_id"], dataset["policy"], dataset["seed"]) == (
        "random",
        "Acrobot-v1",
        "random",
        4,
    )


def test_a_whole_configuration_survives_the_way_through_yaml(tmp_path: Path) -> None:
    config = load("collect", ["dataset=random", "seed=9", "num_workers=1", "env_kwargs.a=1"])
    file = tmp_path / "all.yaml"
    file.write_text(to_yaml(config))
    assert load("collect", file=file) == config
    assert load("collect", ["seed=10"], file)["dataset"]["seed"] == 10


def test_a_file_may_only_name_a_group(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text("dataset: random\nnum_workers: 1\n")
    config = load("collect", file=file)
    assert (config["dataset"]["base"], config["num_workers"]) == ("random", 1)


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        ("colect", [], "unknown command 'colect'. Did you mean 'collect'?"),
        ("collect", ["dataset=pushit"], "unknown dataset 'pushit'. Did you mean 'pusht'?.*random.*file.yaml"),
        ("collect", ["datset=pusht"], "unknown key 'datset'. Did you mean 'dataset'?"),
        ("collect", ["num_epsodes=3"], "unknown key 'num_epsodes'. Did you mean 'dataset.num_episodes'?.*num_workers"),
        ("collect", ["dataset.num_epsodes=3"], "Did you mean 'dataset.num_episodes'?"),
        ("collect", ["seed.more=3"], "dataset.seed: expected int .*got {'more': 3}"),
        ("collect", ["num_episodes=abc"], r"dataset.num_episodes: expected int \(default 700\), got 'abc' \(str\)"),
        ("collect", ["num_episodes=1.5"], "dataset.num_episodes: expected int"),
        ("collect", ["num_episodes=true"], "dataset.num_episodes: expected int"),
        ("collect", ["progress=1"], "progress: expected bool"),
        ("collect", ["info_keys=state"], r"dataset.info_keys: expected list, as in \[1, 2\]"),
        ("collect", ["env_kwargs={a: [1"], "could not read the value '{a: "),
        ("collect", ["env_kwargs=3"], "dataset.env_kwargs: expected mapping"),
        ("collect", ["quick"], "expected key=value or group=name, got 'quick'"),
        ("rollout", ["fps=${nowhere}"], "could not read the value"),
    ],
)
def test_bad_input_is_named(command: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        load(command, overrides)


def test_a_key_in_several_groups_has_to_be_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("groups: {left: a, right: a}\n")
    for group in ("left", "right"):
        (tmp_path / group).mkdir()
        (tmp_path / group / "a.yaml").write_text("size: 1\n")
    monkeypatch.setattr("configs.loader.ROOT", tmp_path)
    with pytest.raises(ValueError, match="say which of left.size, right.size"):
        load("both", ["size=2"])
    assert load("both", ["right.size=2"]) == {"left": {"base": "a", "size": 1}, "right": {"base": "a", "size": 2}}


def test_of_several_places_the_one_nearest_to_the_top_is_meant() -> None:
    config = load("train", ["name=mine"])
    assert (config["model"]["name"], config["train"]["optimizer"]["name"]) == ("mine", "muon")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        load("collect", ["dataset=nowhere.yaml"])
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n")
    with pytest.raises(ValueError, match=r"broken\.yaml: not readable as YAML"):
        load("collect", file=broken)
    broken.write_text("- 1\n")
    with pytest.raises(ValueError, match="expected key: value lines, got a list"):
        load("collect", file=broken)
    broken.write_text("num_epsodes: 1\n")
    with pytest.raises(ValueError, match=r"broken\.yaml: unknown key 'num_epsodes'.*Did you mean 'num_episodes'"):
        load("collect", [f"dataset={broken}"])
    broken.write_text("base: nothing\n")
    with pytest.raises(ValueError, match="unknown dataset 'nothing'"):
        load("collect", [f"dataset={broken}"])


@pytest.mark.parametrize("command", commands())
def test_every_file_of_every_group_loads(command: str) -> None:
    for group in groups(command):
        assert options(group)
        for name in options(group):
            assert load(command, [f"{group}={name}"])[group]["base"] == name
