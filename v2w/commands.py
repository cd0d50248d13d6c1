"""What each command calls: its configuration, a plain dictionary, becomes the library's own dataclass."""

from __future__ import annotations

import importlib
from typing import Any, get_type_hints

from world_model.schema import build

Config = dict[str, Any]


def collect(config: Config) -> None:
    """``v2w collect``: record a simulator, or convert what others recorded."""
    recipe = _own(config.pop("dataset"))
    recipe["out"] = recipe.pop("path")
    if "source" in recipe:
        from world_model.data.rlds import convert_rt1

        if recipe["source"] is None:
            raise ValueError("source: expected source=FOLDER with the release, got none")
        print(f"dataset: {recipe['out']}, {convert_rt1(**recipe, **config)} episodes")
        return
    from v2w_env.collect import CollectConfig
    from v2w_env.collect import collect as record

    print(f"dataset: {record(build(CollectConfig, recipe | config))}")


def correct(config: Config) -> None:
    """``v2w correct``: dream beside the simulator, which says what truly comes next."""
    from v2w_env.collect.corrections import CorrectionConfig
    from v2w_env.collect.corrections import correct as record

    recipe = _own(config.pop("dataset"))
    simulator = {key: recipe[key] for key in ("env_id", "env_kwargs", "policy") if key in recipe}
    if "env_id" not in simulator or recipe["frame_skip"] != 1:
        raise ValueError("dataset: expected the recipe of a simulator that is recorded without frame_skip")
    print(f"corrections: {record(build(CorrectionConfig, simulator | config))}")


def train(config: Config) -> None:
    """``v2w train``: train what the group ``train`` names, in the shape that the group ``model`` describes."""
    from world_model import trainer

    kind, recipe, model = config["train"]["base"], _own(config["train"]), _own(config["model"])
    if recipe["dataset"]["path"] is None:
        raise ValueError("dataset: expected dataset=FOLDER, got none")
    if kind == "published":
        settings: Any = build(trainer.PublishedTrainConfig, recipe | model, "train.")
        print(f"world model: {trainer.train_published(settings)}")
        return
    if kind == "reward":
        settings = build(trainer.RewardTrainConfig, recipe, "train.")
        print(f"world model: {trainer.train_reward(settings)}")
        return
    if kind == "probe":
        settings = build(trainer.ProbeTrainConfig, recipe, "train.")
        print(f"world model: {trainer.train_probe(settings)}")
        return
    if kind == "action_prior":
        settings = build(trainer.PriorTrainConfig, recipe, "train.")
        print(f"world model: {trainer.train_action_prior(settings)}")
        return
    if "autoencoder" not in model:
        raise ValueError(f"model={config['model']['base']}: this is a published model; use train=published")
    autoencoder, conditioner = model.pop("autoencoder"), model.pop("conditioner")
    if kind == "autoencoder":
        settings = build(trainer.AutoencoderTrainConfig, recipe | {"model": autoencoder}, "train.")
        print(f"autoencoder: {trainer.train_autoencoder(settings)}")
    elif conditioner is not None:
        raise ValueError("model.conditioner: expected null, its image tower has to come trained; use train=published")
    else:  # the autoencoder is the trained one that `train.autoencoder` names
        settings = build(trainer.WorldTrainConfig, recipe | model, "train.")
        print(f"world model: {trainer.train_world_model(settings)}")


def rollout(config: Config) -> None:
    """``v2w rollout``: step an environment and film it."""
    from v2w.rollout import RolloutConfig, run

    env = _own(config.pop("env"))
    if config["dataset"]["path"] is None:
        config["dataset"] = None
    run(build(RolloutConfig, {"env_id": env["id"], "env_kwargs": env["kwargs"]} | config))


def plan(config: Config) -> None:
    """``v2w plan``: reach a goal in the real environment by planning in the imagined one."""
    from v2w.plan import PlanConfig, run

    env, planner = _own(config.pop("env")), _own(config.pop("planner"))
    settings = {"method": planner.pop("method"), "settings": planner}
    run(build(PlanConfig, {"env_id": env["id"], "env_kwargs": env["kwargs"]} | settings | config))


def agent_train(config: Config) -> None:
    """``v2w agent train``: learn in an imagined environment."""
    from v2w.agent import train as run

    run(config)


def agent_eval(config: Config) -> None:
    """``v2w agent eval``: play in the real simulator or in the dream."""
    from v2w.agent import EvalConfig, play

    env = _own(config.pop("env"))
    if config["agent"] is None:
        raise ValueError("agent: which? v2w agent eval FILE.zip")
    play(build(EvalConfig, {"env_id": env["id"], "env_kwargs": env["kwargs"]} | config))


def evaluate(config: Config) -> None:
    """``v2w eval``: run ``benchmarks.NAME.main`` with the dataclass its annotation names."""
    benchmark = config["benchmark"]
    main = importlib.import_module(f"benchmarks.{benchmark['base']}").main
    main(build(get_type_hints(main)["config"], _own(benchmark)))


def info(config: Config) -> None:
    """``v2w info``: describe a world model or an environment."""
    from v2w.info import run

    print(run(**config))


def convert(config: Config) -> None:
    """``v2w convert``: a checkpoint of any known format as a world model's folder."""
    from v2w.convert import ConvertConfig, run

    print(run(build(ConvertConfig, config)))


def download(config: Config) -> None:
    """``v2w download``: fetch a published checkpoint."""
    from world_model.checkpoints.download import NAMES
    from world_model.checkpoints.download import download as fetch

    if config["name"] is None:
        raise ValueError(f"name: which model? v2w download NAME, with NAME one of {', '.join(NAMES)}")
    print(fetch(config.pop("name"), **config))


def _own(group: Config) -> Config:
    """The keys of a group without ``base``, which is the loader's."""
    return {key: value for key, value in group.items() if key != "base"}
