"""Training with weights, gradients and optimizer state spread over the devices (FSDP), for what one cannot hold.

Checkpoints stay single files with all weights, so that a run may go on with another strategy.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from world_model.conditioning.image_projector import ResamplerLayer
from world_model.network.unet import Block
from world_model.trainer.denoising import WorldModelModule

UNITS = (Block, ResamplerLayer)  # one of these at a time is whole on a device


class ShardedWorldModelModule(WorldModelModule):
    """A `WorldModelModule` for runs with `strategy="fsdp"`."""

    def configure_model(self) -> None:
        """Called by Lightning once the processes know each other."""
        assert self.device_mesh is not None
        for part in (self.network, self.projector):
            if part is not None:
                shard(part, self.device_mesh["data_parallel"])


def shard(module: nn.Module, mesh: Any) -> None:
    """Leave on each device of `mesh` its part of the weights; before a unit runs, its parts are put together.

    Raises:
        ImportError: for a torch older than 2.6.
    """
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ImportError("strategy=fsdp needs torch 2.6 or newer; upgrade it or use strategy=ddp") from error
    for parameter in module.parameters():  # images' kernels are kept channels last, which cannot be divided
        parameter.data = parameter.data.contiguous()
    for unit in [unit for unit in module.modules() if isinstance(unit, UNITS)]:
        fully_shard(unit, mesh=mesh)
    fully_shard(module, mesh=mesh)
