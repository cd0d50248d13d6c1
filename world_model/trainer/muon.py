"""Muon: momentum whose matrices are orthogonalised before they are applied (Jordan et al. 2024)."""

from __future__ import annotations

from collections import defaultdict
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
    Parameters of equal shape are updated together: a small network has hundreds, and on a GPU every operation of its
    own would cost more than its arithmetic.

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
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            matrices = [parameter for parameter in moved if parameter.ndim > 1]
            vectors = [parameter for parameter in moved if parameter.ndim <= 1]
            for parameters, update in ((matrices, self._of_matrices), (vectors, self._of_vectors)):
                if parameters:
                    updates = update(parameters, [_gradient(parameter) for parameter in parameters], group)
                    torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                    torch._foreach_add_(parameters, updates, alpha=-group["lr"])
        return loss

    def _of_matrices(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        momenta = self._states(parameters, "momentum")
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for i, matrix in enumerate(ahead):
            alike[matrix.flatten(1).shape].append(i)
        updates = list(ahead)
        for shape, numbers in alike.items():
            together = orthogonalise(torch.stack([ahead[i].flatten(1) for i in numbers]))
            for i, update in zip(numbers, together.mul_(0.2 * max(shape) ** 0.5), strict=True):
                updates[i] = update.view(parameters[i].shape)
        return updates

    def _of_vectors(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        means, squares = self._states(parameters, "mean"), self._states(parameters, "square")
        beta1, beta2 = group["betas"]
        counts = []
        for parameter in parameters:
            state = self.state[parameter]
            state["step"] = state.get("step", 0) + 1
            counts.append(state["step"])
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        scales = torch._foreach_div(squares, [1 - beta2**count for count in counts])
        torch._foreach_sqrt_(scales)
        torch._foreach_add_(scales, group["eps"])
        updates = torch._foreach_div(means, [1 - beta1**count for count in counts])
        torch._foreach_div_(updates, scales)
        return list(updates)

    def _states(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices ``[... n m]`` with their singular values all brought near 1.

    The iteration runs on the small Gram matrix: all its factors are polynomials in it, so the long side is touched
    twice and not twice a round.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    wide = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + 1e-7)
    gram = wide @ wide.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(_ROUNDS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product, gram = factor @ product, factor @ gram @ factor
    out = product @ wide
    return out.mT if tall else out
