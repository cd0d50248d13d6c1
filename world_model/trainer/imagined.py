"""Recorded episodes as the world model would have them: each frame predicted from the recorded ones before it.

A head that has only seen encoded frames meets others in a dream. Predictions one step ahead look like the dream's
frames, and what came of each action is still known.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from world_model.model import WorldModel
from world_model.progress import progress_bar
from world_model.trainer.latents import EncodedEpisodes


def imagined(world: WorldModel, episodes: EncodedEpisodes, cache: Path, steps: int = 1, batch: int = 32) -> Tensor:
    """Latents float16 `[sum(T+1) c h w]` like those of `episodes`, from the cache folder or made now and put there.

    Args:
        world: on the device and in the type it is to be run in; without a conditioner.
        steps: frames imagined in a row before recorded ones are looked at again.
        batch: episodes at a time; changes the speed, not the result.

    Raises:
        ValueError: if a file in the cache cannot be read.
    """
    path = cache / f"imagined-{_fingerprint(world, episodes, steps)}.safetensors"
    if path.exists():
        try:
            return load_file(path)["latents"]
        except SafetensorError as error:
            raise ValueError(f"{path}: not readable ({error}); delete it, it will be written again") from error
    latents = imagine_episodes(world, episodes, steps, batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file({"latents": latents}, temporary)
    os.replace(temporary, path)
    return latents


@torch.no_grad()
def imagine_episodes(world: WorldModel, episodes: EncodedEpisodes, steps: int = 1, batch: int = 32) -> Tensor:
    """See :func:`imagined`; the first frame of each episode stays the recorded one."""
    result = episodes.latents.clone()
    lengths = episodes.lengths
    first_frame = torch.cumsum(lengths + 1, 0) - (lengths + 1)
    groups = torch.argsort(lengths, descending=True, stable=True).split(batch)
    for numbers in progress_bar(groups, "imagining the recorded episodes", "batch", len(groups)):
        generators = [torch.Generator().manual_seed(number) for number in numbers.tolist()]
        here = first_frame[numbers]
        state = None
        for step in range(int(lengths[numbers[0]])):
            active = int((lengths[numbers] > step).sum())  # the longest come first
            frames, actions = here[:active] + step, episodes.actions[here[:active] - numbers[:active] + step]
            recorded = episodes.latents[frames].float().to(world.device)
            if state is None:
                state = world.init_state(recorded[:, None], actions[:, None, :][:, :0].to(world.device), generators)
            elif active < state.batch_size:
                state = state.select(list(range(active)))
            if step % steps == 0:
                state = replace(state, latent=recorded)
            state, latent = world.step(state, actions.to(world.device), generators[:active])
            result[frames + 1] = latent.half().cpu()
    return result


def _fingerprint(world: WorldModel, episodes: EncodedEpisodes, steps: int) -> str:
    digest = hashlib.sha256(repr((asdict(world.config.sampling), world.config.network.window, steps)).encode())
    for name, tensor in world.network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    for tensor in (episodes.latents, episodes.actions, episodes.lengths):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
