"""What a published world costs: making it, resetting it and stepping it, by part, and the memory all that takes.

    python -m benchmarks.step_cost '{"checkpoint": "model.safetensors", "world": "RT1"}'

Measured in a process of its own, since a process only knows the most memory it ever had.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.stopwatch import Part, Stopwatch
from world_model.model import WorldModel

World = Literal["RT1", "CSGO", "RECON"]
TEXT_TOWER, IMAGE_TOWER, PROJECTOR = "text_tower", "image_tower", "projector"
NETWORK, ENCODER, DECODER = "network", "encoder", "decoder"
CHECKED_EVERY = 40
"""Of so many tensors one is compared with the file."""


@dataclass(frozen=True)
class StepCostConfig:
    """What is measured.

    Attributes:
        checkpoint: a published checkpoint of any format.
        world: which environment it is for.
        temporal_norm, num_sampling_steps, device, dtype: as in `gym.make`.
        context_frames: frames that the world starts from.
        steps: of the environment.
        seed: of frames, actions and noise.
    """

    checkpoint: str
    world: World = "RT1"
    temporal_norm: Literal["clip", "prefix", "frame"] = "clip"
    num_sampling_steps: int = 2
    context_frames: int = 1
    steps: int = 1
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    seed: int = 0


@dataclass(frozen=True)
class Phase:
    """One part of a run.

    Attributes:
        seconds: wall time.
        cpu_seconds: of all threads; hardly more on a busy machine than on an idle one.
        parts: of the model, by name.
        peak_bytes: most memory that the process had had by its end; on an accelerator, that its tensors had had.
    """

    seconds: float
    cpu_seconds: float
    parts: dict[str, Part]
    peak_bytes: int


@dataclass(frozen=True)
class StepCost:
    """What `measure_step_cost` found.

    Attributes:
        load, reset, step: phases; `step` has all steps.
        before_bytes: memory of the process after its imports.
        kept_bytes: of weights and buffers of the model.
        parameters: numbers in weights and buffers, by part of the model.
        tensors_checked: tensors found in the model bit for bit as the file has them, rounded to `dtype`; 0 where
            the file is of another layout.
        frame: type and shape of an observation.
        frame_std: grey levels; 0 would be a frame of one colour.
        frame_change: mean absolute difference of the last and the first observation, grey levels.
        latent_std: of the newest latent frame; 1 is that of recorded ones. NaN if it is not finite.
        threads: of PyTorch.
    """

    load: Phase
    reset: Phase
    step: Phase
    before_bytes: int
    kept_bytes: int
    parameters: dict[str, int]
    tensors_checked: int
    frame: str
    frame_std: float
    frame_change: float
    latent_std: float
    threads: int


def measure_step_cost(config: StepCostConfig) -> StepCost:
    """Make, reset and step a world in a fresh process and say what it cost.

    Raises:
        ValueError: it could not be made or stepped; carries the reason.
    """
    command = [sys.executable, "-m", "benchmarks.step_cost", json.dumps(asdict(config))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise ValueError(
            f"the measured process was ended by signal {-done.returncode}, most likely for want of memory: a full-size "
            "checkpoint takes about 6 GB in bfloat16, 11 in float32"
        )
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return parse(json.loads(done.stdout.splitlines()[-1]))


def parse(values: dict[str, Any]) -> StepCost:
    """The inverse of `dataclasses.asdict`."""
    phases = {}
    for name in ("load", "reset", "step"):
        parts = {part: Part(**numbers) for part, numbers in values[name]["parts"].items()}
        phases[name] = Phase(**{**values[name], "parts": parts})
    return StepCost(**{**values, **phases})


def measure_here(config: StepCostConfig) -> StepCost:
    """`measure_step_cost` in this process, whose earlier memory counts too."""
    import gymnasium as gym
    import transformers

    import v2w_env  # noqa: F401  (registers the ids)
    from v2w_env.datasets import DATASETS

    _ = transformers.CLIPTextModel, transformers.CLIPVisionModel  # imported on first use otherwise
    clock = _Clock(config.device)
    before = clock.peak()
    env, load = clock.phase(
        lambda: gym.make(
            f"Vid2World-{config.world}-v0",
            checkpoint=config.checkpoint,
            temporal_norm=config.temporal_norm,
            num_sampling_steps=config.num_sampling_steps,
            device=config.device,
            dtype=config.dtype,
        )
    )
    world: Any = env.unwrapped
    model = world.world_model

    rng = np.random.default_rng(config.seed)
    env.action_space.seed(config.seed)
    size = DATASETS[config.world.lower()].recorded_size
    frames = rng.integers(0, 256, (config.context_frames, *size, 3), dtype=np.uint8)
    between = [env.action_space.sample() for _ in range(config.context_frames - 1)]
    options = {"frames": frames} | ({"actions": np.stack(between)} if between else {})
    (first, _), reset = clock.phase(lambda: env.reset(seed=config.seed, options=options))

    actions = [env.action_space.sample() for _ in range(config.steps)]
    observations, step = clock.phase(lambda: [env.step(action)[0] for action in actions])
    latent = world.get_state().world.latent

    frame = observations[-1]
    return StepCost(
        load=load,
        reset=reset,
        step=step,
        before_bytes=before,
        kept_bytes=sum(tensor.nbytes for tensor in model.state_dict().values()),
        parameters=_count(model),
        tensors_checked=_check_weights(model, config),
        frame=f"{frame.dtype} {list(frame.shape)}",
        frame_std=float(frame.std()),
        frame_change=float(np.abs(frame.astype(float) - first).mean()),
        latent_std=float(latent.std()) if bool(latent.isfinite().all()) else float("nan"),
        threads=torch.get_num_threads(),
    )


class _Clock:
    """Times phases, and knows the most memory that was taken so far."""

    def __init__(self, device: str) -> None:
        from diffusers.models.autoencoders.vae import Decoder, Encoder

        from world_model.conditioning.clip import ImageTower, TextTower
        from world_model.conditioning.image_projector import Resampler
        from world_model.network.unet import CausalUNet

        self.device = device
        self.kinds = {
            NETWORK: CausalUNet,
            ENCODER: Encoder,
            DECODER: Decoder,
            IMAGE_TOWER: ImageTower,
            PROJECTOR: Resampler,
            TEXT_TOWER: TextTower,
        }

    def phase(self, action: Callable[[], Any]) -> tuple[Any, Phase]:
        with Stopwatch(self.kinds, self.device) as watch:
            start = watch.now()
            result = action()
            end = watch.now()
        return result, Phase(end.wall - start.wall, end.cpu - start.cpu, watch.parts, self.peak())

    def peak(self) -> int:
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated()
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _check_weights(model: WorldModel, config: StepCostConfig) -> int:
    """Compare some tensors of the model with the file of a Vid2World model; returns how many.

    Raises:
        ValueError: one differs.
    """
    from world_model.checkpoints.assemble import own
    from world_model.checkpoints.detect import open_checkpoint
    from world_model.checkpoints.plan import map_tensors

    checkpoint = open_checkpoint(config.checkpoint)
    if checkpoint.kind != "vid2world":  # the others are converted on the way
        return 0
    ours, theirs = model.state_dict(), map_tensors(checkpoint.tensors)
    names = sorted(theirs)[::CHECKED_EVERY]
    for name in names:
        if not torch.equal(ours[name].cpu(), own(theirs[name], ours[name].dtype)):
            raise ValueError(f"{config.checkpoint}: {name} is not in the model as it is in the file")
    return len(names)


def _count(model: WorldModel) -> dict[str, int]:
    assert model.conditioner is not None
    parts = {
        NETWORK: model.network,
        "autoencoder": model.autoencoder.vae,
        IMAGE_TOWER: model.conditioner.image_tower,
        PROJECTOR: model.conditioner.projector,
    }
    counts = {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}
    return counts | {"all": sum(tensor.numel() for tensor in model.state_dict().values())}


def main(arguments: list[str]) -> None:
    try:
        cost = measure_here(StepCostConfig(**json.loads(arguments[0])))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error))
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main(sys.argv[1:])
