"""Starting a network from the weights of another that may know other actions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from world_model.network.unet import CausalUNet, UNetConfig

# Settings that no tensor depends on, or only those that read actions.
FREE = {"dropout": 0.0, "window": 2, "action_frequencies": 0, "temporal_norm": "frame"}


def transplant(network: CausalUNet, start: CausalUNet) -> list[str]:
    """Give `network` the weights of `start`.

    Where both know the same actions everything is taken over. Otherwise the layers that read actions begin anew, and
    of the first layer and the maps of places, which read actions beside other things, what belongs to those others is
    taken over and the weights of actions begin at zero.

    Returns:
        names of the tensors that were not taken over whole.

    Raises:
        ValueError: if the networks differ in more than actions, window, dropout and the frames of temporal statistics.
    """
    if _shape(network.config) != _shape(start.config):
        raise ValueError(
            f"expected a network that differs in nothing but actions, {', '.join(FREE)}; got\n{start.config}\nfor\n"
            f"{network.config}"
        )
    given = start.state_dict()
    anew = []
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            source = given.get(name)
            if source is not None and source.shape == tensor.shape:
                tensor.copy_(source)
                continue
            anew.append(name)
            if source is not None and name.endswith(("stem.weight", "modulate.weight")):
                _columns(tensor, source, _action_columns(network), _action_columns(start))
    return anew


def _columns(tensor: Tensor, source: Tensor, own: int, others: int) -> None:
    """Input channels but for the last ones, which are actions."""
    tensor.zero_()
    tensor[:, : tensor.shape[1] - own] = source[:, : source.shape[1] - others]


def _action_columns(network: CausalUNet) -> int:
    return 0 if network.action_embed is None or not network.num_planes else network.action_embed.num_features


def _shape(config: UNetConfig) -> UNetConfig:
    return replace(config, **FREE)  # type: ignore[arg-type]
