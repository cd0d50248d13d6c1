"""The YAML files that ship say the same as the dataclasses they become."""

from __future__ import annotations

import importlib
from dataclasses import asdict, fields
from typing import Any, get_type_hints

import pytest

from configs import load, options
from world_model.schema import build


@pytest.mark.parametrize("name", options("benchmark"))
def test_benchmark_files_hold_every_setting_and_its_default(name: str) -> None:
    schema = get_type_hints(importlib.import_module(f"benchmarks.{name}").main)["config"]
    values = load("eval", [f"benchmark={name}"])["benchmark"]
    assert values.pop("base") == name
    assert set(values) == _names(schema)
    assert build(schema, values) == schema()


@pytest.mark.parametrize("name", [name for name in options("dataset") if not name.endswith("_rlds")])
def test_dataset_files_become_collect_configurations(name: str) -> None:
    from v2w_env.collect import CollectConfig
    from v2w_env.collect.policies import resolve_policy

    config = load("collect", [f"dataset={name}"])
    recipe = config.pop("dataset")
    del recipe["base"]
    recipe["out"] = recipe.pop("path")
    resolve_policy(build(CollectConfig, recipe | config).policy)
    assert set(recipe | config) == _names(CollectConfig)


PUBLISHED = ("rt1", "csgo", "recon")


@pytest.mark.parametrize("name", [name for name in options("model") if name not in PUBLISHED])
def test_model_files_hold_every_setting_but_those_of_the_dataset(name: str) -> None:
    from world_model.model import WorldModelConfig
    from world_model.types import ActionSpec

    values = load("train", [f"model={name}"])["model"]
    del values["base"]
    model = build(WorldModelConfig, values | {"actions": asdict(ActionSpec("discrete", nvec=(2,)))})
    from_the_dataset = {"actions", "source_env", "frame_size", "fps", "frame_skip", "action_block"}
    assert _names(model) == set(values) | from_the_dataset | {
        "reward_head",
        "state_probe",
        "action_prior",
    }  # trained later
    for part in ("autoencoder", "network", "schedule", "sampling"):
        assert _names(getattr(model, part)) == set(values[part])
    assert model.network.in_channels == model.network.out_channels == model.autoencoder.latent_channels


@pytest.mark.parametrize(
    ("recipe", "model"),
    [("autoencoder", "pusht"), ("world_model", "pusht"), *(("published", name) for name in PUBLISHED)],
)
def test_training_recipes_hold_every_setting(recipe: str, model: str) -> None:
    from world_model.trainer import AutoencoderTrainConfig, PublishedTrainConfig, WorldTrainConfig

    config = load("train", [f"train={recipe}", f"model={model}", "dataset=somewhere"])
    values, shape = config["train"], config["model"]
    del values["base"], shape["base"]
    schema: Any = {"world_model": WorldTrainConfig, "published": PublishedTrainConfig}.get(recipe)
    if recipe != "published":
        autoencoder, _ = shape.pop("autoencoder"), shape.pop("conditioner")
    if recipe == "autoencoder":
        schema, values = AutoencoderTrainConfig, values | {"model": autoencoder}
    else:
        values |= shape
    settings: Any = build(schema, values)
    assert _names(settings) == set(values)
    for part, of_part in values.items():
        if isinstance(of_part, dict) and recipe != "autoencoder":
            assert _names(getattr(settings, part)) == set(of_part)


def test_the_reward_recipe_holds_every_setting() -> None:
    from world_model.trainer import RewardTrainConfig

    values = load("train", ["train=reward", "dataset=somewhere"])["train"]
    assert values.pop("base") == "reward"
    settings = build(RewardTrainConfig, values)
    assert _names(settings) == set(values)
    for part in ("dataset", "head", "run", "optimizer"):
        assert _names(getattr(settings, part)) == set(values[part])
    plain = RewardTrainConfig(world_model="", dataset="", run=settings.run)
    assert (settings.head, settings.optimizer) == (plain.head, plain.optimizer)
    assert settings.imagined_share == plain.imagined_share and settings.sequence == plain.sequence


def test_the_published_recipe_is_the_papers() -> None:
    from world_model.trainer import PublishedTrainConfig, RunConfig

    for name in PUBLISHED:
        config = load("train", ["train=published", f"model={name}", "dataset=somewhere"])
        values = {**config["train"], **config["model"]}
        settings: Any = build(PublishedTrainConfig, {k: v for k, v in values.items() if k != "base"})
        assert config["model"]["base"] == name
        run, optimizer = settings.run, settings.optimizer
        assert (optimizer.name, optimizer.learning_rate, optimizer.gradient_clip) == ("adamw", 1e-5, 0.5)
        assert (optimizer.beta1, optimizer.beta2, optimizer.weight_decay) == (0.9, 0.999, 0.01)
        assert {optimizer.scale(step, step / 1e5) for step in (0, 10, 99_999)} == {1.0}
        assert (run.accumulate, run.max_steps, run.batch_size, run.devices) == (2, 100_000, 2, 4)
        assert (run.precision, settings.ema_decay, settings.gradient_checkpointing) == ("bf16-mixed", 0.0, True)
        assert settings.window == (20 if name == "recon" else 16)
        plain = PublishedTrainConfig(name="", dataset="", run=RunConfig("x", max_steps=1))
        for part in ("loss", "optimizer", "augmentation", "sampling", "image_dropout", "transfer"):
            own = getattr(settings, part)
            assert own == getattr(plain, part), part


def test_a_recipe_brings_its_model_unless_another_is_asked_for() -> None:
    assert load("train")["model"]["base"] == "pusht"
    assert load("train", ["train=published"])["model"]["base"] == "rt1"
    assert load("train", ["model=csgo", "train=published"])["model"]["base"] == "csgo"


def test_a_dataset_is_named_by_its_folder_or_key_by_key() -> None:
    dataset = load("train", ["dataset=some/where", "format=rt1", "frame_size=[64, 128]"])["train"]["dataset"]
    assert (dataset["path"], dataset["format"], dataset["frame_size"]) == ("some/where", "rt1", [64, 128])
    assert load("rollout", ["dataset.camera=top", "dataset=here"])["dataset"]["camera"] == "top"


def _names(settings: Any) -> set[str]:
    return {field.name for field in fields(settings)}
