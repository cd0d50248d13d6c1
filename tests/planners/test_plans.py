"""What every planner promises of its plans, whatever it searches with."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
import torch

from planners import (
    CEM,
    ICEM,
    MPPI,
    CategoricalCEM,
    GradientPlanner,
    Outcome,
    Plan,
    Planner,
    RandomShooting,
    Reward,
    WarmStart,
)
from tests.planners.conftest import TARGET, generator, generators, make_state, near_target
from tests.planners.every import CONFIGS, CONTINUOUS, EVERY, make, model_for
from v2w_env import EnvConfig, Vid2WorldVectorEnv
from v2w_env.resets import ImageSource
from world_model.network.cache import FrameLog


def same(one: Plan, other: Plan, tolerance: float = 0.0) -> None:
    for name in ("actions", "cost", "step_costs", "latents"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("planner", EVERY)
def test_a_plan_says_what_it_will_do(planner: type[Planner[Any]]) -> None:
    made, model = make(planner), model_for(planner)
    state, seen = make_state(model, 2), []
    plan = made.plan(state, generator(), progress=seen.append)
    spec = model.config.actions
    assert plan.actions.shape == (2, 3, spec.size) and plan.actions.dtype == state.action.dtype
    assert plan.latents.shape == (2, 3, *model.config.latent_shape)
    assert plan.ending == "finished" and plan.seconds > 0
    # The plan's own frames and costs: those of its last step, which is all that this objective counts.
    torch.testing.assert_close(plan.cost, plan.step_costs[:, -1], atol=1e-5, rtol=1e-5)
    assert plan.statistics == tuple(seen) and len(seen) == made.config.num_iterations
    assert [stats.iteration for stats in seen] == list(range(len(seen)))
    best = torch.stack([stats.best for stats in seen])
    assert bool((best[1:] <= best[:-1]).all()), "the best so far never gets worse"
    for one, other in itertools.pairwise(seen):
        assert one.seconds <= other.seconds and one.imagined_steps < other.imagined_steps
    assert all(stats.num_invalid == 0 and stats.spread.shape == (2,) for stats in seen)
    if planner is not MPPI:
        assert bool((plan.cost <= best[-1] + 1e-5).all()), "the cheapest of all that was tried"


@pytest.mark.parametrize("planner", EVERY)
def test_the_same_seed_gives_the_same_plan_and_another_seed_another(planner: type[Planner[Any]]) -> None:
    made = make(planner)
    state = make_state(made.model, 2)
    first, again = made.plan(state, generator(3)), made.plan(state, generator(3))
    same(first, again)
    assert not torch.equal(first.latents, made.plan(state, generator(4)).latents)


@pytest.mark.parametrize("planner", EVERY)
def test_planning_leaves_the_state_as_it_was(planner: type[Planner[Any]]) -> None:
    made = make(planner)
    state = make_state(made.model, 2)

    def contents() -> list[torch.Tensor]:
        entries = [e.frames if isinstance(e, FrameLog) else e for e in state.cache.entries]
        return [x.clone() for x in (*entries, state.latent, state.action, state.action_mask)]

    before, logs = contents(), [e.length for e in state.cache.entries if isinstance(e, FrameLog)]
    action = make_state(made.model, 2, seed=5).action
    with torch.no_grad():
        _, expected = made.model.step(state, action, generators([0, 1]))
        made.plan(state, generator())
        _, now = made.model.step(state, action, generators([0, 1]))
    assert torch.equal(expected, now)
    assert all(torch.equal(a, b) for a, b in zip(before, contents(), strict=True))
    assert logs == [e.length for e in state.cache.entries if isinstance(e, FrameLog)]


@pytest.mark.parametrize("planner", EVERY)
def test_environments_planned_for_together_do_not_disturb_each_other(planner: type[Planner[Any]]) -> None:
    made = make(planner)
    together = made.plan(make_state(made.model, 3), generators([7, 8, 9]))
    alone = made.plan(make_state(made.model, 3).select([1]), generators([8]))
    torch.testing.assert_close(alone.actions[0].float(), together.actions[1].float(), atol=0.5, rtol=0)
    torch.testing.assert_close(alone.cost[0], together.cost[1], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("planner", EVERY)
def test_the_parts_that_memory_asks_for_do_not_show(planner: type[Planner[Any]]) -> None:
    state = make_state(model_for(planner), 2)
    sizes: list[int] = []

    def watched(outcome: Outcome) -> torch.Tensor:
        sizes.append(outcome.actions.shape[1])
        return -outcome.latents.square().flatten(3).mean(-1)

    few: dict[str, Any] = {"horizon": 2} if planner is RandomShooting else {"horizon": 2, "num_iterations": 1}
    whole = make(planner, Reward(watched), **few).plan(state, generator())
    largest, sizes = max(sizes), []
    small = make(planner, Reward(watched), memory_gib=1e-9, **few).plan(state, generator())
    assert largest == CONFIGS[planner].num_candidates
    assert sizes.count(1) >= CONFIGS[planner].num_candidates
    torch.testing.assert_close(small.cost, whole.cost, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("planner", CONTINUOUS)
def test_actions_keep_within_their_bounds(planner: type[Planner[Any]]) -> None:
    pull = Reward(lambda outcome: outcome.actions.sum(-1))  # as high as it goes
    plan = make(planner, pull, action_low=(100.0, 0.0), action_high=(300.0, 512.0), horizon=5).plan(
        make_state(model_for(planner), 2), generator()
    )
    low, high = plan.actions.amin((0, 1)), plan.actions.amax((0, 1))
    assert bool((low >= torch.tensor([100.0, 0.0])).all()) and bool((high <= torch.tensor([300.0, 512.0])).all())
    assert float(plan.actions[..., 0].mean()) > 200, "and it went up"


@pytest.mark.parametrize("planner", CONTINUOUS)
@pytest.mark.parametrize("repeat", [1, 2])
def test_actions_change_no_faster_than_allowed(planner: type[Planner[Any]], repeat: int) -> None:
    made = make(planner, max_change=0.1, horizon=5, action_repeat=repeat)
    for state in (make_state(made.model, 2), make_state(made.model, 2, context=1)):
        plan = made.plan(state, generator())
        changes = plan.actions[:, 1:] - plan.actions[:, :-1]
        assert 0 < float(changes.abs().max()) <= 25.6 + 1e-3
        first = (plan.actions[:, 0] - state.action).abs().max()
        assert (float(first) <= 25.6 + 1e-3) == bool(state.action_mask.all()), "unless nobody knows the last action"


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI, GradientPlanner])
def test_the_search_finds_what_it_looks_for(planner: type[Planner[Any]]) -> None:
    many = {"num_iterations": 12, "num_candidates": 48 if planner is not GradientPlanner else 2}
    made = make(planner, Reward(near_target), **many)
    state = make_state(made.model, 2)
    plan = made.plan(state, generator())
    blind = make(RandomShooting, Reward(near_target), num_candidates=48, num_iterations=1).plan(state, generator())
    assert float((plan.actions - TARGET).abs().mean()) < 40
    assert bool((plan.cost < blind.cost / 2).all())


@pytest.mark.parametrize("planner", EVERY)
def test_costs_that_are_no_numbers_win_nothing(planner: type[Planner[Any]]) -> None:
    model = model_for(planner)
    middle = 256.0 if planner is not CategoricalCEM else 0.5

    def broken(outcome: Outcome) -> torch.Tensor:
        bad = outcome.actions[:, :, 0, 0] > middle
        reward = outcome.latents.square().flatten(3).mean(-1)
        return torch.where(bad[..., None], torch.nan if outcome.actions.shape[1] % 2 else torch.inf, reward)

    config: dict[str, Any] = {"num_iterations": 4}
    if planner is GradientPlanner:
        config = {"num_candidates": 4, "initial_std": 0.8}
    plan = make(planner, Reward(broken), **config).plan(make_state(model, 2), generator())
    assert bool(plan.cost.isfinite().all())
    assert bool((plan.actions[:, 0, 0] <= middle).all())
    assert plan.statistics[0].num_invalid > 0
    assert all(bool(stats.mean.isfinite().all()) for stats in plan.statistics[:1])


@pytest.mark.parametrize("planner", EVERY)
def test_where_nothing_has_a_cost_the_plan_says_so(planner: type[Planner[Any]]) -> None:
    nothing = Reward(lambda outcome: outcome.latents.flatten(3).mean(-1) * torch.nan)
    plan = make(planner, nothing).plan(make_state(model_for(planner), 2), generator())
    assert plan.cost.tolist() == [float("inf")] * 2
    assert bool(plan.actions.float().isfinite().all())
    assert plan.statistics[0].best.tolist() == [float("inf")] * 2 and bool(plan.statistics[0].mean.isnan().all())


@pytest.mark.parametrize("planner", EVERY)
def test_an_objective_that_raises_leaves_everything_usable(planner: type[Planner[Any]]) -> None:
    made = make(planner)
    state, calls = make_state(made.model, 2), []

    def fails(outcome: Outcome) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no")
        return -outcome.latents.square().flatten(3).mean(-1)

    expected = made.plan(state, generator())
    with pytest.raises(RuntimeError, match="no"):
        made.with_objective(Reward(fails)).plan(state, generator())
    assert torch.is_grad_enabled()
    same(made.plan(state, generator()), expected)


@pytest.mark.parametrize("planner", EVERY)
def test_a_warm_start_is_tried_as_it_is(planner: type[Planner[Any]]) -> None:
    made = make(planner, num_iterations=1)
    state = make_state(made.model, 2)
    best = make(planner, num_iterations=6).plan(state, generator())
    again = made.plan(state, generator(), warm_start=best)
    if planner is not MPPI:  # which averages
        assert bool((again.cost <= best.cost + 1e-4).all()), "the same seed means the same noise"
    for given in (best.after(1), best.actions[:, 1:], WarmStart(best.actions[:, 1:])):
        made.plan(state, generator(), warm_start=given)


def test_what_is_left_of_a_plan() -> None:
    made = make(ICEM, horizon=4)
    plan = made.plan(make_state(made.model, 2), generator())
    left = plan.after(3)
    assert plan.elites is not None and left.elites is not None
    assert torch.equal(left.actions, plan.actions[:, 3:]) and torch.equal(left.elites, plan.elites[:, :, 3:])
    fitted = left.fitted(3)
    assert torch.equal(fitted.actions, plan.actions[:, [3, 3, 3]])
    assert fitted.elites is not None and fitted.elites.shape == (2, plan.elites.shape[1], 3, 2)
    assert plan.after(99).actions.shape == (2, 1, 2), "the last action stays"
    assert torch.equal(plan.select([1]).latents, plan.latents[1:])
    with pytest.raises(ValueError, match="steps: expected 0 or more, got -1"):
        plan.after(-1)


@pytest.mark.parametrize("planner", EVERY)
def test_actions_are_held(planner: type[Planner[Any]]) -> None:
    plan = make(planner, action_repeat=2, horizon=5).plan(make_state(model_for(planner), 2), generator())
    assert plan.actions.shape[:2] == (2, 5)
    assert torch.equal(plan.actions[:, 0], plan.actions[:, 1]) and torch.equal(plan.actions[:, 2], plan.actions[:, 3])
    assert not torch.equal(plan.actions[:, 1:3:1][:, 0], plan.actions[:, 4]) or planner is CategoricalCEM


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI, GradientPlanner])
def test_a_search_may_begin_at_the_action_taken_last(planner: type[Planner[Any]]) -> None:
    still = {"initial_std": 1e-6, "min_std": 1e-6}
    std = {MPPI: {"std": 1e-6}, GradientPlanner: {"initial_std": 1e-6, "learning_rate": 1e-6}}.get(planner, still)
    state = make_state(model_for(planner), 2)
    held = make(planner, start="hold", **std).plan(state, generator())
    torch.testing.assert_close(held.actions, state.action[:, None].expand(-1, 3, -1), atol=0.1, rtol=0)
    middle = make(planner, **std).plan(state, generator())
    torch.testing.assert_close(middle.actions, torch.full((2, 3, 2), 256.0), atol=0.1, rtol=0)
    unknown = make_state(model_for(planner), 2, context=1)
    first = make(planner, start="hold", **std).plan(unknown, generator())
    torch.testing.assert_close(first.actions, torch.full((2, 3, 2), 256.0), atol=0.1, rtol=0)


def test_the_action_taken_last_counts_where_it_is_known() -> None:
    seen: list[Outcome] = []

    def watched(outcome: Outcome) -> torch.Tensor:
        seen.append(outcome)
        return -outcome.latents.square().flatten(3).mean(-1)

    model = model_for(CEM)
    mixed = make_state(model, 2).scatter([1], make_state(model, 1, seed=1, context=1))
    settings: dict[str, Any] = {"max_change": 0.05, "start": "hold"}
    plan = make(CEM, Reward(watched), **settings).plan(mixed, generators([3, 4]))
    assert float((plan.actions[0, 0] - mixed.action[0]).abs().max()) <= 12.8 + 1e-3
    assert torch.equal(seen[0].before[0], mixed.action[:1].expand(12, -1))
    assert torch.equal(seen[0].before[1], seen[0].actions[1, :, 0])
    known = make(CEM, Reward(watched), **settings).plan(make_state(model, 1), generators([3]))
    torch.testing.assert_close(known.actions[0], plan.actions[0], atol=0.5, rtol=0)


def test_the_time_limit_gives_the_best_so_far() -> None:
    def slow(outcome: Outcome) -> torch.Tensor:
        time.sleep(0.05)
        return -outcome.latents.square().flatten(3).mean(-1)

    made = make(CEM, Reward(slow), num_iterations=1000, time_limit=0.4)
    plan = made.plan(make_state(made.model, 2), generator())
    assert plan.ending == "time limit" and 1 <= len(plan.statistics) < 50
    assert plan.seconds < 3 and bool(plan.cost.isfinite().all())
    hasty = make(CEM, Reward(slow), num_iterations=1000, time_limit=1e-6, memory_gib=1e-9)
    plan = hasty.plan(make_state(made.model, 2), generator())
    assert len(plan.statistics) == 1 and bool(plan.cost.isfinite().all())
    assert plan.statistics[0].num_invalid == 2 * 11, "one candidate of each environment was judged"


def test_states_of_vector_environments_are_planned_for_in_one_batch() -> None:
    model = model_for(CEM)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    env = Vid2WorldVectorEnv(EnvConfig(model, reset_source=ImageSource(images, model.config.actions)), 16)
    env.reset(seed=0)
    state = env.get_state()
    plan = make(CEM).plan(state, generator())
    assert plan.actions.shape == (16, 3, 2)
    same(plan, make(CEM).plan(state.world, generator()))
    env.step(model.config.actions.to_native(plan.actions[:, 0]))


def test_noise_depends_on_the_seed_alone() -> None:
    state = make_state(model_for(CEM), 2)
    plan = make(CEM).plan(state, generator(1))
    alone = make(CEM, num_candidates=1, num_elites=1, num_iterations=1)
    again = alone.plan(state, generator(1), warm_start=plan)
    torch.testing.assert_close(again.actions, plan.actions, atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(again.latents, plan.latents, atol=1e-4, rtol=1e-4)
