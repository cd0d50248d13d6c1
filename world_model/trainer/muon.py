"""Muon: momentum whose matrices are orthogonalised before they are applied (Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Quintic Newton-Schulz iteration: it drives every singular value into about [0.7, 1.2] within five rounds.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for kernels and matrices; AdamW for vectors.

    `torch.optim.Muon` takes matrices only and leaves the rest to a second optimizer; here a convolution is the matrix
    ``[out, in * kernel]``, and one optimizer (so one learning rate, one checkpoint entry) holds all parameters. Updates
    are scaled to the root mean square of AdamW's (Liu et al. 2025, section 2.2), so the same learning rates fit.

    Args:
        parameters: trained parameters; those with two or more dimensions are orthogonalised.
        lr: learning rate of both kinds.
        betas, eps: AdamW's.
        momentum: of the orthogonalised kind.
        weight_decay: decoupled, of both kinds.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "momentum": momentum, "weight_decay": weight_decay, "eps": eps}
        super().__init__(list(parameters), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._matrix if parameter.ndim > 1 else self._vector
                parameter.sub_(update(parameter, parameter.grad, group), alpha=group["lr"])
        return loss

    def _matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonalise(torch.lerp(gradient, momentum, group["momentum"]).flatten(1))
        return update.mul_(0.2 * max(update.shape) ** 0.5).view(parameter.shape)

    def _vector(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        (beta1, beta2), state["step"] = group["betas"], state["step"] + 1
        mean = state["mean"].lerp_(gradient, 1 - beta1) / (1 - beta1 ** state["step"])
        square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2) / (
            1 - beta2 ** state["step"]
        )
        return mean / (square.sqrt() + group["eps"])


def orthogonalise(matrix: Tensor) -> Tensor:
    """The matrix ``[n m]`` with its singular values all brought near 1.

    The iteration runs on the small Gram matrix: all its factors are polynomials in it, so the long side is touched
    twice and not twice a round.
    """
    a, b, c = _COEFFICIENTS
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    gram = wide @ wide.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(_ROUNDS):
        factor = a * identity + torch.addmm(gram, gram, gram, beta=b, alpha=c)
        product, gram = factor @ product, factor @ gram @ factor
    out = product @ wide
    return out.T if matrix.shape[0] > matrix.shape[1] else out
