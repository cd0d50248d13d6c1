"""Objectives: what they measure, which steps count, what is decoded, and how they add up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from planners import ActionChange, ActionSize, Constraint, EnvReward, GoalImage, Outcome, Reward, WeightedSum
from planners.goal_image import SMALL, blurred, weight
from tests.conftest import ACTION_SPECS
from tests.planners.conftest import SIZE, small_model
from v2w_env.frames import to_model
from v2w_env.rewards import FunctionReward, GoalImageReward
from world_model.model import WorldModel


class Decoding:
    """Counts the frames that a model decodes."""

    def __init__(self, model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames, decode = 0, model.decode

        def counting(latents: torch.Tensor) -> torch.Tensor:
            self.frames += latents.shape[0] * latents.shape[1]
            return decode(latents)

        monkeypatch.setattr(model, "decode", counting)


def outcome(model: WorldModel, b: int = 2, n: int = 3, h: int = 4, seed: int = 0) -> Outcome:
    g = torch.Generator().manual_seed(seed)
    latents = torch.randn(b, n, h, *model.config.latent_shape, generator=g)
    actions = torch.rand(b, n, h, 2, generator=g) * 512
    return Outcome(latents, actions, actions[:, :, 0], model)


def test_steps_count_as_asked(model: WorldModel) -> None:
    seen = outcome(model, 1, 1, 3)
    costs = torch.tensor([[[1.0, 10.0, 100.0]]])
    assert float(Reward(lambda _: -costs, over="all")(seen)) == pytest.approx(37.0)
    assert float(Reward(lambda _: -costs[..., 2:], over="last")(seen)) == pytest.approx(100.0)
    half = Reward(lambda _: -costs, over="discounted", discount=0.5)
    assert float(half(seen)) == pytest.approx((1 + 5 + 25) / 1.75)
    for over in ("all", "last", "discounted"):
        assert sum(Reward(lambda _: costs, over=over).weights(7)) == pytest.approx(1)  # type: ignore[arg-type]


def test_a_latent_goal_is_reached_by_the_goal_and_decodes_nothing(
    model: WorldModel, goal: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Decoding(model, monkeypatch)
    objective = GoalImage(model, goal)
    seen = outcome(model)
    with torch.no_grad():
        seen.latents[1, 2, -1] = model.encode(to_model(goal[None, None]))[0, 0]
    costs = objective(seen)
    assert costs.shape == (2, 3)
    assert float(costs[1, 2]) == pytest.approx(0, abs=1e-8)
    assert int(costs.flatten().argmin()) == 5 and float(costs.sort().values.flatten()[1]) > 0.1
    assert counted.frames == 0


def test_pixels_are_decoded_where_they_count_and_once(
    model: WorldModel, goal: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Decoding(model, monkeypatch)
    seen = outcome(model)
    last = GoalImage(model, goal, "pixels")
    with torch.no_grad():
        costs = last(seen)
        assert counted.frames == 2 * 3, "the last frame of each candidate"
        both = GoalImage(model, goal, "pixels", over="all") + GoalImage(
            model, goal, lambda f: f.mean((2, 3)), over="all"
        )
        both(seen)
        assert counted.frames == 2 * 3 + 2 * 3 * 4, "frames are shared by objectives"
        shown = model.decode(seen.latents[0, :1, -1:])[0, 0]
    wanted = (torch.from_numpy(goal.copy()).permute(2, 0, 1) / 255 - (shown + 1) / 2).square().mean()
    assert float(costs[0, 0]) == pytest.approx(float(wanted), rel=1e-4)


def test_real_frames_are_not_decoded(model: WorldModel, goal: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Decoding(model, monkeypatch)
    frames = to_model(goal)[None, None, None]
    seen = Outcome(torch.zeros(1, 1, 1, 4, 2, 2), torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2), model, frames)
    assert float(GoalImage(model, goal, "pixels")(seen)) == pytest.approx(0, abs=1e-8)
    assert counted.frames == 0


def test_blur_says_which_way_is_nearer(model: WorldModel) -> None:
    def shown(*places: int | None) -> torch.Tensor:
        frames = np.full((len(places), *SIZE, 3), 255, np.uint8)
        for frame, place in zip(frames, places, strict=True):
            if place is not None:
                frame[4, place] = 0
        return to_model(frames)[None, :, None]

    goal = np.full((*SIZE, 3), 255, np.uint8)
    goal[4, 1] = 0
    frames = shown(1, 2, 3, 5, 7, None)
    seen = Outcome(torch.zeros(1, 6, 1, 4, 2, 2), torch.zeros(1, 6, 1, 2), torch.zeros(1, 6, 2), model, frames)
    sharp = GoalImage(model, goal, "pixels")(seen)[0]
    assert float(sharp[0]) == pytest.approx(0, abs=1e-9)
    assert float(sharp[1]) == pytest.approx(float(sharp[4])) and float(sharp[5]) == pytest.approx(float(sharp[1]) / 2)
    soft = GoalImage(model, goal, "pixels", blur=(0.4,))(seen)[0]
    assert bool((soft[1:5] > soft[:4]).all()) and float(soft[2]) < float(soft[5])
    both = GoalImage(model, goal, "pixels", blur=(0.0, 0.4))(seen)[0]
    torch.testing.assert_close(both, sharp + soft)


@pytest.mark.parametrize("width", [0.1, 0.2])
def test_small_things_count_alike_blurred_and_sharp(model: WorldModel, width: float) -> None:
    difference = torch.zeros(1, 1, 1, 3, 64, 64)
    difference[..., 30:33, 30:33] = 1.0  # about as large as the agent of PushT
    sharp = difference.square().mean()
    soft = weight(width) * blurred(difference, width).square().mean()
    assert float(soft / sharp) == pytest.approx(9 / 64**2 / SMALL, rel=0.1)
    assert float(blurred(difference, width).sum()) == pytest.approx(27, rel=0.05), (
        "blurring moves, and takes nothing away"
    )


@pytest.mark.parametrize("space", ["latent", "pixels", lambda frames: frames.mean((2, 3))])
def test_each_environment_may_have_its_goal(model: WorldModel, space: Any) -> None:
    goals = np.random.default_rng(1).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
    together, seen = GoalImage(model, goals, space), outcome(model, b=3)
    with torch.no_grad():
        costs = together(seen)
        for row in range(3):
            latents, actions, before = (x[row : row + 1] for x in (seen.latents, seen.actions, seen.before))
            alone = Outcome(latents, actions, before, model)
            for objective in (together.select([row]), GoalImage(model, goals[row], space)):
                torch.testing.assert_close(objective(alone)[0], costs[row], atol=1e-5, rtol=1e-5)
        assert GoalImage(model, goals[0], space).select([0, 2])(seen).shape == (3, 3), "one goal for all stays"
        with pytest.raises(ValueError, match=r"goal: expected one, or one per environment \(2\), got 3"):
            together(outcome(model, b=2))


def test_objectives_add_up_each_over_its_steps(model: WorldModel, goal: np.ndarray) -> None:
    seen = outcome(model)
    image, change, size = GoalImage(model, goal), ActionChange(), ActionSize()
    total = image + 0.5 * change + (2 * size) * 0.25
    assert isinstance(total, WeightedSum) and [weight for weight, _ in total.terms] == [1.0, 0.5, 0.5]
    with torch.no_grad():
        torch.testing.assert_close(total(seen), image(seen) + 0.5 * change(seen) + 0.5 * size(seen))
        expected = image.per_step(seen) + 0.5 * change.per_step(seen) + 0.5 * size.per_step(seen)
        torch.testing.assert_close(total.per_step(seen), expected)


def test_action_costs(model: WorldModel) -> None:
    actions = torch.tensor([[[[256.0, 256.0], [512.0, 256.0], [512.0, 0.0]]]])
    seen = Outcome(torch.zeros(1, 1, 3, 4, 2, 2), actions, torch.tensor([[[0.0, 256.0]]]), model)
    assert ActionSize().per_step(seen).tolist() == [[[0.0, 0.5, 1.0]]]
    assert ActionChange().per_step(seen).tolist() == [[[0.5, 0.5, 0.5]]]
    assert ActionChange().per_step(seen.at([2])).tolist() == [[[0.5]]], "compared with the step before"
    discrete = small_model(ACTION_SPECS["multi_discrete"])
    chosen = torch.tensor([[[[0, 1, 2], [0, 2, 2], [0, 2, 2]]]])
    seen = Outcome(torch.zeros(1, 1, 3, 4, 2, 2), chosen, chosen[:, :, 0], discrete)
    torch.testing.assert_close(ActionChange().per_step(seen), torch.tensor([[[0.0, 1 / 3, 0.0]]]))
    with pytest.raises(ValueError, match="expected a bounded continuous action space"):
        ActionSize()(seen)


def test_constraints(model: WorldModel) -> None:
    seen = outcome(model, 1, 3, 2)
    excess = torch.tensor([[[-1.0, 0.0], [0.5, -1.0], [math.nan, 0.0]]])
    assert Constraint(lambda _: excess, penalty=4.0)(seen)[0, :2].tolist() == [0.0, 1.0]
    hard = Constraint(lambda _: excess)(seen)[0]
    assert hard[0] == 0 and hard[1] == math.inf and not hard[2].isfinite()
    with pytest.raises(ValueError, match="penalty: expected a positive number"):
        Constraint(lambda _: excess, penalty=0)


def test_an_environments_reward_counts_until_the_episode_ends(model: WorldModel) -> None:
    def reward(frames: np.ndarray, actions: np.ndarray, info: dict[str, np.ndarray]) -> tuple[Any, Any]:
        assert frames.shape == (6, *SIZE, 3) and frames.dtype == np.uint8
        return actions[:, 0], info["elapsed_steps"] >= 2

    seen = outcome(model)
    with torch.no_grad():
        costs = EnvReward(FunctionReward(reward), after_the_end=7.0).per_step(seen)
    torch.testing.assert_close(costs[..., :2], -seen.actions[..., :2, 0])
    assert bool((costs[..., 2:] == 7).all())
    with pytest.raises(ValueError, match="expected one without goals, got GoalImageReward"):
        EnvReward(GoalImageReward())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m, g: GoalImage(m, g.astype(np.float32)), "goal: expected dtype uint8"),
        (lambda m, g: GoalImage(m, g[:4]), r"goal: expected shape \[h w 3\] or \[b h w 3\] with h=8"),
        (lambda m, g: GoalImage(m, g, "frames"), "space: expected 'latent', 'pixels' or a callable, got 'frames'"),
        (lambda m, g: GoalImage(m, g, lambda f: f[:0]), r"expected the callable to give features \[1 ...\]"),
        (lambda m, g: GoalImage(m, g, blur=()), "blur: expected numbers from 0 to 1, at least one, got"),
        (lambda m, g: GoalImage(m, g, blur=(2.0,)), "blur: expected numbers from 0 to 1"),
        (lambda m, g: GoalImage(m, g, lambda f: f, blur=(0.1,)), "blur: only latents and pixels can be blurred"),
        (lambda m, g: GoalImage(m, g, over="first"), "over: expected one of last, all, discounted, best, got 'first'"),
        (lambda m, g: GoalImage(m, g, over="discounted", discount=0), "discount: expected a number above 0"),
        (lambda m, g: WeightedSum([]), "WeightedSum: expected at least one"),
        (lambda m, g: Reward(3), "function: expected a callable outcome -> rewards, got int"),
    ],
)
def test_mistakes_are_named(model: WorldModel, goal: np.ndarray, make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(model, goal)


def test_costs_of_another_shape_are_refused(model: WorldModel) -> None:
    seen = outcome(model)
    for wrong, got in ((torch.zeros(2, 3), r"\(2, 3\)"), (3.0, "float")):
        for objective in (Reward(lambda _, w=wrong: w), ActionSize() + Reward(lambda _, w=wrong: w)):  # type: ignore[misc]
            with pytest.raises(ValueError, match=rf"Reward: expected a tensor .* shape \(2, 3, 4\), got {got}"):
                objective(seen)
