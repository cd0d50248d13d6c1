"""The Muon optimizer: orthogonal updates, and a run that resumes."""

import pytest
import torch
from torch import nn

from world_model.trainer.muon import Muon, orthogonalise
from world_model.trainer.settings import OptimizerConfig


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6), (1, 5)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.3 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert (orthogonalise(matrix) * (left @ right)).sum() > 0.9 * values.sum()  # the directions are kept


def test_it_fits_a_convolution_with_a_bias() -> None:
    torch.manual_seed(0)
    teacher, student = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
    optimizer = Muon(student.parameters(), lr=1e-2)
    x = torch.randn(16, 3, 8, 8)
    with torch.no_grad():
        y = teacher(x)
    losses = []
    for _ in range(200):
        loss = (student(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]


def test_state_continues_after_saving() -> None:
    def steps(layer: nn.Module, optimizer: Muon, count: int) -> None:
        for i in range(count):
            optimizer.zero_grad()
            layer(torch.full((2, 4), 1.0 + i)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    whole, part = nn.Linear(4, 4), nn.Linear(4, 4)
    part.load_state_dict(whole.state_dict())
    first, second = Muon(whole.parameters()), Muon(part.parameters())
    steps(whole, first, 3)
    steps(part, second, 3)
    resumed = Muon(part.parameters())
    resumed.load_state_dict(second.state_dict())
    steps(whole, first, 2)
    steps(part, resumed, 2)
    for a, b in zip(whole.parameters(), part.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_parameters_are_updated_together_as_each_would_be_alone() -> None:
    torch.manual_seed(0)
    shapes = [(4, 6), (4, 6), (4, 2, 3), (6, 4), (5,), (5,), (3,)]
    together = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    alone = [nn.Parameter(parameter.detach().clone()) for parameter in together]
    optimizers = [Muon(together, weight_decay=0.1), *(Muon([parameter], weight_decay=0.1) for parameter in alone)]
    for _ in range(3):
        for a, b in zip(together, alone, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="adamw or muon, got 'sgd'"):
        OptimizerConfig(name="sgd")  # type: ignore[arg-type]
