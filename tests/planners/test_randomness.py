"""Noise for candidates: distributions, colour, and independence of rows."""

from __future__ import annotations

import pytest
import torch

from planners.gaussian import Gaussian
from planners.population import Scored
from planners.randomness import chance, colored_noise, draw_seeds, normal
from tests.planners.conftest import generator, generators


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_colored_noise_has_unit_variance(exponent: float, steps: int) -> None:
    noise = colored_noise((2, 4000, steps, 2), exponent, generator())
    assert noise.shape == (2, 4000, steps, 2)
    torch.testing.assert_close(noise.std((0, 1, 3)), torch.ones(steps), atol=0.05, rtol=0)
    assert abs(float(noise.mean())) < 0.05


def test_the_larger_the_exponent_the_more_alike_are_neighbours() -> None:
    likeness = []
    for exponent in (0.0, 1.0, 2.0, 3.0):
        noise = colored_noise((1, 4000, 20, 1), exponent, generator())
        likeness.append(float((noise[:, :, 1:] * noise[:, :, :-1]).mean()))
    assert abs(likeness[0]) < 0.02 and likeness == sorted(likeness) and likeness[2] > 0.8


def test_power_falls_as_the_exponent_says() -> None:
    noise = colored_noise((1, 4000, 64, 1), 2.0, generator())
    power = torch.fft.rfft(noise, dim=2).abs().square().mean((0, 1, 3))[1:-1]
    slope = (power[1:].log() - power[:-1].log()) / (torch.arange(2, 32).log() - torch.arange(1, 31).log())
    assert float(slope.mean()) == pytest.approx(-2.0, abs=0.2)


@pytest.mark.parametrize("draw", [normal, chance, lambda shape, g: colored_noise(shape, 1.0, g)])
def test_rows_with_generators_of_their_own_do_not_depend_on_the_batch(draw) -> None:  # type: ignore[no-untyped-def]
    together = draw((3, 5, 4, 2), generators([1, 2, 3]))
    assert torch.equal(draw((1, 5, 4, 2), generators([2]))[0], together[1])
    assert draw((3, 5, 4, 2), generator()).shape == (3, 5, 4, 2)


def test_chance_is_even() -> None:
    numbers = chance((1, 20000), generator())
    assert float(numbers.min()) >= 0 and float(numbers.max()) < 1
    counts = torch.histc(numbers.float(), 10, 0, 1)
    assert float((counts / 2000 - 1).abs().max()) < 0.1


def test_seeds_differ_and_follow_from_the_generators() -> None:
    assert len(set(draw_seeds(5, generator()))) == 5
    assert draw_seeds(5, generator()) == draw_seeds(5, generator())
    assert draw_seeds(2, generators([1, 2]))[1:] == draw_seeds(1, generators([2]))


class Shapes:
    """As much of a search as a distribution needs."""

    generator = generator()

    def shape(self, candidates: int) -> tuple[int, int, int, int]:
        return (1, candidates, 1, 2)


def test_a_truncated_normal_keeps_its_shape_inside_the_bounds() -> None:
    distribution = Gaussian(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.3, 0.5]]]]))
    points = distribution.truncated(Shapes(), 20000)[0, :, 0]  # type: ignore[arg-type]
    assert float(points.abs().max()) <= 1
    assert float(points[:, 0].std()) == pytest.approx(0.3, abs=0.01)
    # Half of a normal distribution: mean at 0.8 deviations below its middle.
    assert float(points[:, 1].mean()) == pytest.approx(1 - 0.5 * 0.798, abs=0.01)
    assert float((points[:, 1] == 1).float().mean()) < 0.01, "nothing piles up at the bound"
    tight = Gaussian(torch.tensor([[[[1.0, -1.0]]]]), torch.full((1, 1, 1, 2), 1e-6))
    assert bool(tight.truncated(Shapes(), 10).isfinite().all())  # type: ignore[arg-type]


def test_fitting_ignores_elites_without_a_cost() -> None:
    old = Gaussian(torch.zeros(3, 1, 1, 1), torch.full((3, 1, 1, 1), 0.5))
    points = torch.tensor([0.2, 0.4, 0.9]).view(1, 3, 1, 1).expand(3, -1, -1, -1)
    inf = torch.inf
    costs = torch.tensor([[1.0, 2.0, inf], [1.0, inf, inf], [inf, inf, inf]])
    new = old.fitted(Scored(points, costs), momentum=0.0, min_std=0.01)
    torch.testing.assert_close(new.mean.flatten(), torch.tensor([0.3, 0.2, 0.0]))
    torch.testing.assert_close(new.std.flatten(), torch.tensor([0.1, 0.5, 0.5]))
    slow = old.fitted(Scored(points, costs), momentum=0.5, min_std=0.4)
    torch.testing.assert_close(slow.mean.flatten(), torch.tensor([0.15, 0.1, 0.0]))
    torch.testing.assert_close(slow.std.flatten(), torch.tensor([0.4, 0.5, 0.5]))
