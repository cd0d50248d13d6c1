"""Parts of a world model that are small and stay in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound="ExactModule")


class ExactModule(nn.Module):
    """A module that moves to other devices but keeps its types when the model around it changes them."""

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)
