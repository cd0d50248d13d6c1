"""Does an agent whose every decision was dreamt play the real game? PPO in the dream, PPO in the game, no training.

    python -m benchmarks.dream_agents [env_id=Vid2World-DoomTakeCover-v0 steps=160000 seeds=3 episodes=100 ...]

For each seed one agent learns wholly in the imagined environment, and one, with the same settings, in the real one, for
as many steps as the recording has that the world model learned from. Where the dreamer's critic begins with that
recording, the player's does not, or it would have seen twice as many real frames (`informed=true` adds those whose
does). All play the same real episodes, none of which any of them learned from. Trainings and results are kept in
`work`, so that a killed run goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecMonitor

from agents import checkpoint
from agents.algorithms import AgentConfig, Features, PPOConfig, make_agent
from agents.arena import RealArena
from agents.critic import CriticConfig, fit_critic
from agents.dream import GuardConfig, load_dream, load_dreamer
from agents.evaluate import evaluate, interval
from agents.judge import EvaluationConfig
from agents.loading import load_agent
from agents.policies import Policy, RandomPolicy
from agents.real import encoder, make_real, make_real_env
from agents.sb3_policy import SB3Policy
from agents.train import TrainConfig, train
from agents.wrappers import prepared
from benchmarks import report
from benchmarks.command_line import run
from benchmarks.kept_lines import KeptLines
from benchmarks.loading import digest, encoder_digest
from benchmarks.report import Table, Target, number
from v2w_env.config import EnvConfig
from world_model.data import open_dataset
from world_model.model import WorldModel

PPO = PPOConfig(learning_rate=4e-4, n_steps=16, batch_size=128, n_epochs=6, gamma=0.96, gae_lambda=0.5)
GUARDS = GuardConfig(termination_floor=0.03)
CRITIC = CriticConfig("runs/data/doom_take_cover_ends", mirror=(0, 2, 1), latent_cache="runs/latents")
DREAM, REAL, INFORMED, RANDOM = "dream", "real", "real_informed", "random"
TRAINED = (  # settings that decide which agent comes out, of either kind
    "env_id", "env_kwargs", "ppo", "num_envs", "frame_stack", "action_repeat", "features", "features_dim",
    "final_learning_rate", "normalize_rewards",
)  # fmt: skip
DREAMT = (*TRAINED, "steps", "guards", "dream_horizon", "dream_envs", "critic")  # the same of those that dream


@dataclass(frozen=True)
class DreamAgentsConfig:
    """Settings of the comparison.

    Attributes:
        env_id: the imagined environment; with `env_kwargs`, as in `gymnasium.make`.
        dataset: what the world model learned from; dreams start in it, unless `env_kwargs` say where else, and it says
            how many real steps the other agent gets.
        steps: imagined steps of each agent that dreams.
        real_steps: real steps of each agent that does not; null: those of the dataset's training split.
        seeds: trainings of either kind.
        episodes: real ones that each agent is judged by; episode `i` is reset with `seed + i`.
        deterministic: take the likeliest action instead of sampling.
        horizon: steps per real episode at most; null: the simulator's own limit.
        dream_horizon: steps per imagined episode at most; null: the environment's own.
        dream_envs: environments that are dreamt side by side; null: `num_envs`. A GPU steps many in the time of few.
        ppo, num_envs, frame_stack, features, features_dim, final_learning_rate, normalize_rewards: the agent.
        action_repeat: environment steps that each of its actions is taken for.
        guards: against living off the model's mistakes.
        critic: what the value function learns from a recording before the first dream.
        informed: let as many agents again play the game whose value function learned from the recording too.
        device: where the agents learn, as in SB3: cpu, cuda or auto; dreams run on a GPU where there is one.
        evaluate_every: imagined steps between looks at the real game during training (for the curve); 0: none.
        keep_every: imagined steps between agents that are kept; null keeps none.
        work: where trainings and results are kept.
    """

    env_id: str = "Vid2World-DoomTakeCover-v0"
    env_kwargs: Mapping[str, Any] = field(default_factory=lambda: {"observation": "latent"})
    dataset: str = "runs/data/doom_take_cover_ends"
    steps: int = 160_000
    real_steps: int | None = None
    seeds: int = 3
    episodes: int = 100
    seed: int = 10_000
    deterministic: bool = True
    horizon: int | None = None
    dream_horizon: int | None = 64
    dream_envs: int | None = None
    ppo: PPOConfig = PPO
    num_envs: int = 32
    frame_stack: int = 4
    action_repeat: int = 4
    features: Features = "small"
    features_dim: int = 256
    final_learning_rate: float | None = 0.0
    normalize_rewards: bool = True
    guards: GuardConfig = GUARDS
    critic: CriticConfig = CRITIC
    informed: bool = False
    device: str = "cpu"
    evaluate_every: int = 0
    keep_every: int | None = 40_000
    target: float = 750.0
    work: str = "runs/dream_agents"
    results: str = report.RESULTS_FOLDER
    quick: bool = False

    @property
    def agent(self) -> AgentConfig:
        """The agent, whose learning rate falls over its training."""
        return AgentConfig(
            self.ppo, self.num_envs, self.frame_stack, self.features, self.features_dim, None,
            self.final_learning_rate, self.normalize_rewards, self.action_repeat,
        )  # fmt: skip

    def actions(self, steps: int) -> int:
        """How many actions take so many environment steps."""
        return -(-steps // self.action_repeat)


@dataclass(frozen=True)
class Score:
    """What one agent did: returns of its real episodes."""

    row: str
    seed: int
    returns: tuple[float, ...]


def main(config: DreamAgentsConfig) -> dict[str, Any]:
    """Train what is not trained yet, let all play, write the report. Returns the measures.

    Raises:
        ValueError: settings that do not fit, or an environment without rewards.
    """
    given, config = config, _settled(config)
    model = load_dreamer(config.env_id, config.env_kwargs)
    recorded = open_dataset(config.dataset)
    steps = config.real_steps
    if steps is None:
        steps = sum(recorded.reader.num_frames(index) - 1 for index in recorded.ids("train"))
    scores = []
    for row, seed, policy in _policies(config, model, steps):
        scores.append(_score(config, model, row, seed, policy))
    measures = summary(scores) | {"real_steps": steps, "dream_steps": config.steps}
    _write(given, config, measures, scores)
    return measures


def summary(scores: list[Score]) -> dict[str, Any]:
    """Of each kind of agent: mean over seeds of the mean return with an interval over all episodes, the worst and the
    best seed, and the deviation of single episodes."""
    measures: dict[str, Any] = {}
    for row in dict.fromkeys(score.row for score in scores):
        mine = [np.array(score.returns) for score in scores if score.row == row]
        means = [float(returns.mean()) for returns in mine]
        everything: NDArray[np.float64] = np.concatenate(mine)
        measures |= {
            f"{row}_score": float(np.mean(means)),
            f"{row}_score_ci": list(interval(everything)),
            f"{row}_worst_seed": min(means),
            f"{row}_best_seed": max(means),
            f"{row}_std": float(everything.std(ddof=1)) if len(everything) > 1 else 0.0,
        }
    if f"{DREAM}_score" in measures and f"{REAL}_score" in measures:
        measures["dream_minus_real"] = measures[f"{DREAM}_score"] - measures[f"{REAL}_score"]
    return measures


def _policies(
    config: DreamAgentsConfig, model: WorldModel, real_steps: int
) -> Iterator[tuple[str, int, Callable[[], Policy]]]:
    yield RANDOM, 0, lambda: RandomPolicy(model.config.actions, config.seed)
    for seed in range(config.seeds):
        yield DREAM, seed, partial(_dreamer, config, model, seed)
    for seed in range(config.seeds):
        yield REAL, seed, partial(_player, config, model, seed, real_steps)
    if config.informed:
        for seed in range(config.seeds):
            yield INFORMED, seed, partial(_player, config, model, seed, real_steps, informed=True)


def _dreamer(config: DreamAgentsConfig, model: WorldModel, seed: int) -> Policy:
    """An agent that learned in the dream alone."""
    folder = Path(config.work) / f"dream_{seed}"
    settings = TrainConfig(
        env_id=config.env_id,
        env_kwargs=dict(config.env_kwargs),
        folder=folder,
        agent=replace(config.agent, num_envs=config.dream_envs or config.num_envs),
        steps=config.actions(config.steps),
        horizon=config.dream_horizon,
        seed=seed,
        guards=config.guards,
        critic=config.critic,
        evaluation=EvaluationConfig(
            every=config.actions(config.evaluate_every), deterministic=config.deterministic, seed=config.seed
        ),
        keep_every=None if config.keep_every is None else config.actions(config.keep_every),
        device=config.device,
    )
    return _policy(config, model, Path(train(settings)["agent"]))


def _player(config: DreamAgentsConfig, model: WorldModel, seed: int, steps: int, informed: bool = False) -> Policy:
    """An agent with the same settings that learned in the real simulator, for `steps` steps; an informed one's critic
    learned from the recording before."""
    folder = Path(config.work) / f"{INFORMED if informed else REAL}_{seed}"
    facts = {key: value for key, value in asdict(config).items() if key in TRAINED}
    facts |= {"steps": steps, "weights": encoder_digest(model)}  # it sees nothing else of the dream
    if informed:
        facts |= {"critic": config.critic.identity()}
    _claim(folder / "settings.json", facts)
    if not (folder / "agent.zip").exists():
        world = load_dream(config.env_id, config.env_kwargs, config.dream_horizon).world
        observation = EnvConfig.from_settings(dict(config.env_kwargs)).observation
        venv = make_real(
            model, config.num_envs, horizon=config.horizon, action_range=world.config.action_range,
            observation=observation,
        )  # fmt: skip
        env = prepared(VecMonitor(venv), config.agent)
        with closing(env):
            env.seed(seed)
            agent = make_agent(config.agent, env, seed)
            if informed:
                fit_critic(agent, config.critic, model, config.action_repeat, seed)
            agent.learn(config.actions(steps))
            checkpoint.save_agent(agent, folder / "agent.zip")
    return _policy(config, model, folder / "agent.zip")


def _claim(path: Path, facts: Mapping[str, Any]) -> None:
    """Note what a folder's agent is trained with, or check that it is the same."""
    text = json.dumps(facts, sort_keys=True, indent=1) + "\n"
    if path.exists() and path.read_text() != text:
        raise ValueError(f"work: {path.parent} holds an agent of other settings; choose another folder, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _policy(config: DreamAgentsConfig, model: WorldModel, path: Path) -> Policy:
    return SB3Policy(load_agent(path), model.config, encoder(model), config.deterministic)


def _score(config: DreamAgentsConfig, model: WorldModel, row: str, seed: int, policy: Callable[[], Policy]) -> Score:
    own = {DREAM: DREAMT, REAL: (*TRAINED, "real_steps"), INFORMED: (*TRAINED, "real_steps", "critic")}
    names = ("episodes", "seed", "deterministic", "horizon", *own.get(row, ()))
    facts = {key: value for key, value in asdict(config).items() if key in names}
    if "critic" in facts:
        facts["critic"] = config.critic.identity()
    if row != RANDOM:
        facts["weights"] = digest(model) if row == DREAM else encoder_digest(model)
    kept = KeptLines(Path(config.work), f"{row}-{seed}", {"row": row, "of_seed": seed, **facts})
    if not kept.lines:
        arena = RealArena(partial(make_real_env, model.config, horizon=config.horizon), min(8, config.episodes))
        with closing(arena):
            found = evaluate(policy(), arena, config.episodes, config.seed)
        kept.add([{"returns": found.returns.tolist()}])
        kept.lines.append({"returns": found.returns.tolist()})
    return Score(row, seed, tuple(kept.lines[0]["returns"]))


def _settled(config: DreamAgentsConfig) -> DreamAgentsConfig:
    for name in ("steps", "seeds", "episodes"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    if config.informed and config.critic.dataset is None:
        raise ValueError("informed: expected critic.dataset, which is what those agents are informed by")
    config = replace(config, env_kwargs={"reset_source": config.dataset, **config.env_kwargs})
    if not config.quick:
        return config
    return replace(
        config, steps=min(2048, config.steps), real_steps=min(2048, config.real_steps or 2048), seeds=1,
        episodes=min(4, config.episodes), keep_every=None, critic=CriticConfig(), informed=False,
        work=f"{report.QUICK_FOLDER}/dream_agents",
        results=report.QUICK_FOLDER,
        ppo=replace(config.ppo, n_steps=16),
    )  # fmt: skip


def _write(given: DreamAgentsConfig, config: DreamAgentsConfig, measures: dict[str, Any], scores: list[Score]) -> None:
    targets = (
        Target(f"{DREAM}_score", "at_least", config.target, "real score, learned only in the dream"),
        Target(f"{DREAM}_worst_seed", "at_least", config.target, "the same, worst seed"),
        Target("dream_minus_real", "at_least", 0.0, "the same minus that of learning in the real game"),
    )
    rows = [[score.row, str(score.seed), *_described(np.array(score.returns))] for score in scores]
    header = ["learned in", "seed", "mean", "95 % interval", "deviation", "median", "most"]
    tables = [report.target_table(measures, targets), Table("Real episodes", header, rows)]
    notes = (
        f"{config.episodes} real episodes per agent, reset with seeds {config.seed} and up; PPO, {config.steps} steps "
        f"in the dream against {measures['real_steps']} in the real simulator. "
        f"Actions are {'the likeliest' if config.deterministic else 'sampled'}."
    )
    if config.critic.dataset is not None:
        notes += f" Before its first dream a dreamer's value function learned from {config.critic.dataset}" + (
            f"; so did that of `{INFORMED}`, which has seen those frames besides its own." if config.informed else "."
        )
    report.write("dream_agents", given, measures, tables, folder=config.results, notes=notes)


def _described(returns: NDArray[np.float64]) -> list[str]:
    low, high = interval(returns)
    deviation = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return [
        number(float(returns.mean())), f"{number(low)} to {number(high)}", number(float(deviation)),
        number(float(np.median(returns))), number(float(returns.max())),
    ]  # fmt: skip


if __name__ == "__main__":
    run("dream_agents", DreamAgentsConfig, main)
