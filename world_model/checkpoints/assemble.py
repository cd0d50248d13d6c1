"""Put a world model together tensor by tensor, with no more memory than its weights take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from world_model.bundle import is_exact
from world_model.checkpoints.read import MappedTensors, portions
from world_model.model import WorldModel, WorldModelConfig


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built in here have their parameters on the ``meta`` device, which take no memory, and real buffers.

    Building on ``meta`` altogether would lose the buffers that no checkpoint stores, such as position numbers.
    """

    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        return None if parameter is None else nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        with torch.random.fork_rng(devices=[]):  # what is drawn for initial weights is thrown away
            yield
    finally:
        handle.remove()


def skeleton(config: WorldModelConfig) -> WorldModel:
    """A world model without weights, to compare shapes with or to :func:`fill`."""
    with without_weights():
        return WorldModel(config)


def fill(model: WorldModel, tensors: Iterable[tuple[str, Tensor]]) -> WorldModel:
    """Give a skeleton its weights: each tensor becomes the model's own, nothing is copied.

    Returns:
        the model in evaluation mode with the gradients of its weights off.
    """
    model.load_state_dict(dict(tensors), strict=True, assign=True)
    model.to(model.device)  # buffers that no checkpoint stores are where the skeleton was made
    return model.eval().requires_grad_(False)


def own(tensor: Tensor, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """A copy for the model to keep: floating point as ``dtype``, kernels of images ``channels_last``."""
    target = dtype if tensor.is_floating_point() else tensor.dtype
    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    return torch.empty(tensor.shape, dtype=target, device=device, memory_format=layout).copy_(tensor)


def type_of(name: str, dtype: torch.dtype) -> torch.dtype:
    """``dtype``, but for the few tensors that are always float32."""
    return torch.float32 if is_exact(name) else dtype


def copies(
    source: MappedTensors, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a file under their own names, each :func:`own`; the file's memory is given back on the way."""
    for names in portions(source):
        for name in names:
            yield name, own(source[name], type_of(name, dtype), device)
        source.release()


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def compare(expected: Mapping[str, tuple[int, ...]], got: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a model and a checkpoint have the same tensors.

    Raises:
        ValueError: with the first names that are missing, unknown or of another shape.
    """
    missing, unknown = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
    wrong = [
        f"{name} expected {expected[name]}, got {got[name]}"
        for name in sorted(expected.keys() & got.keys())
        if expected[name] != got[name]
    ]
    if missing or unknown or wrong:
        raise ValueError(
            f"the tensors do not make a model: {len(missing)} missing {missing[:3]}, {len(unknown)} unknown "
            f"{unknown[:3]}, {len(wrong)} of another shape {wrong[:3]}; the file is incomplete, or was made for "
            "other settings"
        )
