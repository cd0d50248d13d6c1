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


@pytest.mark.parametrize("name", options("dataset"))
def test_dataset_files_become_collect_configurations(name: str) -> None:
    from v2w_env.collect import CollectConfig
    from v2w_env.collect.policies import resolve_policy

    config = load("collect", [f"dataset={name}"])
    recipe = config.pop("dataset")
    del recipe["base"]
    recipe["out"] = recipe.pop("path")
    resolve_policy(build(CollectConfig, recipe | config).policy)
    assert set(recipe | config) == _names(CollectConfig)


@pytest.mark.parametrize("name", options("model"))
def test_model_files_hold_every_setting_but_those_of_the_dataset(name: str) -> None:
    from world_model.model import WorldModelConfig
    from world_model.types import ActionSpec

    values = load("train", [f"model={name}"])["model"]
    del values["base"]
    model = build(WorldModelConfig, values | {"actions": asdict(ActionSpec("discrete", nvec=(2,)))})
    from_the_dataset = {"actions", "source_env", "frame_size", "fps", "frame_skip"}
    assert _names(model) == set(values) | from_the_dataset
    for part in ("autoencoder", "network", "schedule", "sampling"):
        assert _names(getattr(model, part)) == set(values[part])
    assert model.network.in_channels == model.network.out_channels == model.autoencoder.latent_channels


@pytest.mark.parametrize("name", options("train"))
def test_training_recipes_hold_every_setting(name: str) -> None:
    from world_model.trainer import AutoencoderTrainConfig, WorldTrainConfig

    config = load("train", [f"train={name}"])
    recipe, model = config["train"], config["model"]
    del recipe["base"], model["base"]
    autoencoder = model.pop("autoencoder")
    if name == "autoencoder":
        schema, values = AutoencoderTrainConfig, recipe | {"model": autoencoder}
    else:
        schema, values = WorldTrainConfig, recipe | model
    settings: Any = build(schema, values)
    assert _names(settings) == set(values)
    for part, of_part in recipe.items():
        if isinstance(of_part, dict):
            assert _names(getattr(settings, part)) == set(of_part)


def _names(settings: Any) -> set[str]:
    return {field.name for field in fields(settings)}
