"""Small random models that every test can afford, and the golden numbers of the reference implementation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from world_model.conditioning.autoencoder import AutoencoderConfig
from world_model.model import WorldModel, WorldModelConfig
from world_model.network.unet import UNetConfig
from world_model.types import ActionSpec

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

PUSHT_ACTIONS = ActionSpec("box", (2,), (0.0, 0.0), (512.0, 512.0))
ACTION_SPECS = {
    "box": PUSHT_ACTIONS,
    "discrete": ActionSpec("discrete", (), nvec=(5,), start=(0,), dtype="int64"),
    "multi_discrete": ActionSpec("multi_discrete", (3,), nvec=(2, 3, 4), start=(0, 0, 0), dtype="int64"),
    "multi_binary": ActionSpec("multi_binary", (6,), dtype="int8"),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    """What a test draws without a generator is the same in every run, whichever tests ran before it."""
    torch.manual_seed(0)


def tiny_network(**changes: object) -> UNetConfig:
    """A network with every kind of temporal layer in it, small enough for a unit test."""
    values: dict[str, object] = {
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 16,
        "channel_mult": (1, 2),
        "num_res_blocks": 1,
        "attention_downsampling": (2,),
        "head_channels": 8,
        "context_dim": None,
        "temporal_conv_depth": 2,
        "feed_forward_mult": 2,
        "norm_groups": 4,
        "dropout": 0.0,
        "window": 6,
        "temporal_norm": "frame",
        "init_attention": True,
        "fps_condition": False,
        "output_conv": "symmetric",
        "action_frequencies": 2,
        "film": True,
        "action_planes": True,
        "stem_frames": 3,
        "copy_gate": True,
    }
    return UNetConfig(**{**values, **changes})  # type: ignore[arg-type]


def randomize(module: torch.nn.Module, seed: int = 0) -> None:
    """Give every parameter a value, also those that start at zero, so that every path is felt."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
            noise = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
            parameter.copy_(noise if parameter.ndim > 1 else parameter + noise)


def make_tiny_model(
    actions: ActionSpec = PUSHT_ACTIONS, frame_size: tuple[int, int] = (16, 16), **network: object
) -> WorldModel:
    """A world model of random weights in float32: latents are a quarter of ``frame_size``."""
    config = WorldModelConfig(
        name="tiny",
        actions=actions,
        source_env="gym_pusht/PushT-v0",
        frame_size=frame_size,
        context_frames=4,
        dtype="float32",
        network=tiny_network(**network),
        autoencoder=AutoencoderConfig(block_out_channels=(8, 8), norm_num_groups=4),
    )
    torch.manual_seed(0)
    model = WorldModel(config)
    randomize(model.network)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_model() -> WorldModel:
    return make_tiny_model()


@pytest.fixture(scope="session", name="make_tiny_model")
def make_tiny_model_fixture() -> Callable[..., WorldModel]:
    return make_tiny_model


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_model: WorldModel) -> Path:
    """The tiny model on disk with two reset clips."""
    rng = np.random.default_rng(0)
    episodes: dict[str, np.ndarray] = {
        "frames": rng.integers(0, 256, (2, 4, 16, 16, 3), dtype=np.uint8),
        "actions": rng.uniform(0, 512, (2, 3, 2)).astype(np.float32),
    }
    return tiny_model.save_pretrained(tmp_path_factory.mktemp("bundle"), episodes, "# Tiny\n\nRandom weights.\n")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of golden numbers; absent outside the project's own machines, where these tests skip."""
    return _shared("V2W_REFERENCE_DIR", "reference", "golden numbers")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings and published films; absent outside the project's own machines, likewise."""
    return _shared("V2W_DATA_DIR", "data", "real recordings")


def _shared(variable: str, name: str, what: str) -> Path:
    folder = Path(os.environ.get(variable) or Path(__file__).parents[2] / "shared" / name)
    if not folder.is_dir():
        message = f"no {what} at {folder}; set {variable}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
