"""Does the dream judge policies as the real simulator does? (The paper's Algorithm 3, its verifier a program.)

    python -m benchmarks.policy_evaluation [task=pusht checkpoint=FOLDER dataset=FOLDER policies=[...] ...]

All policies begin at the same recorded starts, in the dream in batches and in the simulator by replaying the recording.
The same program looks at the frames (PushT: share of the goal area covered) or the rewards (Take Cover: tics survived)
of both. Each attempt is kept in `runs/policy_evaluation`, so that a killed run goes on where it was. Policies are names
of scripted ones, or whatever `agents.load_policy` takes: an SB3 FILE.zip, module:name, ACTIONS.npy, random. In Python,
`evaluate_policies` takes models, callables and lists of actions themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agents.policies import Policy, load_policy
from agents.real import encoder
from benchmarks import report
from benchmarks.command_line import run
from benchmarks.loading import digest, load_model
from benchmarks.policy_log import PolicyLog
from benchmarks.policy_report import summary, write_policies
from benchmarks.policy_scripted import scripted
from benchmarks.policy_starts import RecordedStart, draw_starts, replay_env
from benchmarks.policy_tasks import TASKS, PolicyTask, Split
from benchmarks.policy_worlds import DreamWorld, RealWorld, Verifier, World, play
from v2w_env.config import check_choice
from world_model.data import open_dataset
from world_model.model import WorldModel
from world_model.progress import progress_bar

PARTS: Mapping[Split, tuple[str, ...]] = {"held_out": ("test", "validation")}


@dataclass(frozen=True)
class PolicyEvaluationConfig:
    """Settings of the evaluation of policies.

    Attributes:
        task: "pusht" or "take_cover".
        checkpoint: a folder, or the name of a shipped model; None: the task's.
        dataset: folder of a recording by `v2w collect`, which the starts are drawn from; None: the task's.
        split: of the recording; "held_out": test, then validation; None: the task's.
        policies: names; empty: the task's scripted ones and the zero-skill one.
        extra: policies besides those, such as agents' checkpoints.
        zero_skill: the policy whose imagined success is false; None: the task's.
        num_starts: starts, in as many recorded episodes as there are; None: the task's.
        horizon: actions from the start, single ones also where the world model takes blocks; None: the task's.
        threshold: from which a coverage or a return counts as success; None: the task's.
        simulator: real environment; None: the one that the world model was recorded from.
        batch: attempts imagined at a time; changes the speed, not the result.
        seed: of starts, policies and dream.
        work: where attempts are kept.
    """

    task: Literal["pusht", "take_cover"] = "pusht"
    checkpoint: str | None = None
    dataset: str | None = None
    split: Split | None = None
    policies: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    zero_skill: str | None = None
    num_starts: int | None = None
    horizon: int | None = None
    threshold: float | None = None
    simulator: str | None = None
    batch: int = 64
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] | None = None
    work: str = "runs/policy_evaluation"
    results: str = report.RESULTS_FOLDER
    quick: bool = False


@dataclass(frozen=True)
class Protocol:
    """What an evaluation depends on besides model, policies and starts; see `PolicyEvaluationConfig`.

    Attributes:
        horizon: in steps of the world model, each a block of actions where it takes blocks.
    """

    verifier: Verifier
    horizon: int
    seed: int = 0
    batch: int = 64
    simulator: str | None = None


@dataclass(frozen=True)
class MakePolicy:
    """A policy that is made anew in each world, by a function without arguments."""

    make: Callable[[], Policy]


def main(config: PolicyEvaluationConfig) -> dict[str, Any]:
    """Evaluate the policies in both worlds and write the report.

    Returns:
        The measures: `pearson`, `spearman`, `mmrv`, `false_success`, ..., intervals under `KEY_ci`.

    Raises:
        ValueError: unknown policies, a dataset without seeds or starts, a simulator that does not replay it.
    """
    check_choice("task", config.task, tuple(TASKS))
    task, given = TASKS[config.task], config
    config = _settled(config, task)
    assert config.checkpoint and config.dataset and config.split and config.num_starts and config.horizon
    model = load_model(config.checkpoint, config.device, config.dtype)
    block, context = model.config.action_block, model.config.context_frames
    dataset = open_dataset(config.dataset)
    parts = PARTS.get(config.split, (config.split,))
    starts = draw_starts(dataset, parts, config.num_starts, context, task.where, config.seed, task.suits, block)
    sources = {_short(name): name for name in config.policies}
    if len(sources) < len(config.policies):
        raise ValueError(f"policies: expected different names, got {list(config.policies)}")
    makers = {name: _maker(source, model, task, config) for name, source in sources.items()}
    keys = {name: _key(source) for name, source in sources.items()}
    steps = -(-config.horizon // block)
    protocol = Protocol(task.verifier, steps, config.seed, config.batch, config.simulator)
    imagined, real = evaluate_policies(model, makers, starts, protocol, Path(config.work), keys)
    measures = summary(list(makers), imagined, real, task, config)
    write_policies(given, config, task, list(makers), imagined, real, measures)
    return measures


def evaluate_policies(
    model: WorldModel,
    policies: Mapping[str, Any],
    starts: Sequence[RecordedStart],
    protocol: Protocol,
    work: Path,
    keys: Mapping[str, str] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Imagined and real values, each float64 [policies starts]: the largest coverage, or the return.

    Args:
        model: the world model.
        policies: by name; a `MakePolicy`, or anything that `agents.load_policy` takes. A `Policy` that remembers
            random numbers from one episode to the next should be made anew in each world: pass a `MakePolicy`.
        starts: see `draw_starts`.
        protocol: horizon, verifier and so on.
        work: attempts are kept here; those found are not made again.
        keys: what attempts of each policy are remembered under, by default the names.

    Raises:
        ValueError: a policy, start or simulator that does not fit the model.
    """
    keys = keys or {name: name for name in policies}
    digests = [start.digest() for start in starts]
    found = []
    for name, make in _worlds(model, protocol).items():
        identity: dict[str, Any] = {"world": name, "horizon": protocol.horizon, "verifier": protocol.verifier}
        identity |= {"seed": protocol.seed, "simulator": protocol.simulator or model.config.source_env}
        if name == "dream":
            identity |= {"weights": digest(model), "dtype": str(next(model.parameters()).dtype)}
        log = PolicyLog(work, identity)
        missing = [
            (policy, start)
            for start in range(len(starts))
            for policy in policies
            if (keys[policy], digests[start]) not in log
        ]
        actors = {policy: _actor(policies[policy], model) for policy in dict(missing)}
        world = make()
        try:
            with progress_bar(missing, name, "attempt", len(missing)) as bar:
                for first in range(0, len(missing), protocol.batch):
                    pairs = missing[first : first + protocol.batch]
                    acting = {policy: actors[policy] for policy in dict(pairs)}
                    attempts = play(world, acting, pairs, starts, protocol.horizon, protocol.verifier, protocol.seed)
                    log.add([replace(attempt, policy=keys[attempt.policy]) for attempt in attempts])
                    bar.update(len(pairs))
        finally:
            world.close()
        found.append(log.values([keys[policy] for policy in policies], digests))
    return found[0], found[1]


def _worlds(model: WorldModel, protocol: Protocol) -> dict[str, Callable[[], World]]:
    return {
        "dream": lambda: DreamWorld(model, protocol.verifier),
        "real": lambda: RealWorld(lambda: replay_env(model.config, protocol.simulator)),
    }


def _actor(source: Any, model: WorldModel) -> Policy:
    return source.make() if isinstance(source, MakePolicy) else load_policy(source, model.config, encoder(model))


def _maker(source: str, model: WorldModel, task: PolicyTask, config: PolicyEvaluationConfig) -> MakePolicy:
    if source in task.scripted:
        spec = model.config.actions
        return MakePolicy(lambda: scripted(source, task.scripted[source], spec, config.seed))
    looks_like_one = source == "random" or ":" in source or source.endswith((".zip", ".npy"))
    if not looks_like_one:
        raise ValueError(
            f"unknown policy {source!r}: known: {', '.join([*task.scripted, 'random'])}, or FILE.zip, module:name, "
            "ACTIONS.npy"
        )
    return MakePolicy(lambda: load_policy(source, model.config, encoder(model), seed=config.seed, device=config.device))


def _settled(config: PolicyEvaluationConfig, task: PolicyTask) -> PolicyEvaluationConfig:
    names = {
        "pusht": ("pusht", "runs/data/pusht"),
        "take_cover": ("doom_take_cover", "runs/data/doom_take_cover_starts"),
    }
    checkpoint, dataset = names[config.task]
    zero = config.zero_skill or task.zero_skill
    policies = [*(config.policies or task.scripted), *config.extra]
    config = replace(
        config,
        checkpoint=config.checkpoint or checkpoint,
        dataset=config.dataset or dataset,
        split=config.split or task.split,
        num_starts=task.num_starts if config.num_starts is None else config.num_starts,
        horizon=task.horizon if config.horizon is None else config.horizon,
        threshold=task.threshold if config.threshold is None else config.threshold,
        zero_skill=zero,
        policies=tuple(dict.fromkeys(policies if zero in policies else [*policies, zero])),
    )
    for name in ("num_starts", "horizon", "batch"):
        if not getattr(config, name) >= 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(config, name)}")
    if not config.quick:
        return config
    assert config.num_starts and config.horizon
    few = tuple(dict.fromkeys((*config.policies[:1], *config.policies[len(config.policies) // 2 :][:1], zero)))
    return replace(
        config,
        policies=few,
        num_starts=min(2, config.num_starts),
        horizon=min(40, config.horizon),
        split="validation",
        results=report.QUICK_FOLDER,
    )


def _short(source: str) -> str:
    return Path(source).stem if source.endswith((".zip", ".npy")) else source


def _key(source: str) -> str:
    """A policy in a file is another one when the file changes."""
    if not source.endswith((".zip", ".npy")) or not Path(source).is_file():
        return source
    return f"{_short(source)}-{hashlib.sha256(Path(source).read_bytes()).hexdigest()[:10]}"


if __name__ == "__main__":
    run("policy_evaluation", PolicyEvaluationConfig, main)
