"""The command ``v2w``: arguments to a configuration, a configuration to a library call, errors to one clear line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import v2w

EXAMPLES = {
    "collect": """
  v2w collect                                              the shipped PushT recipe into runs/data/pusht
  v2w collect num_episodes=20 path=runs/data/small         a smaller one
  v2w collect dataset=random env_id=CartPole-v1            any Gymnasium environment, random actions
  v2w collect dataset=doom_take_cover                      Doom: Take Cover
  v2w collect dataset=my.yaml                              a recipe of your own, over the one its `base` names
  v2w collect dataset=rt1_rlds source=FOLDER path=runs/data/rt1    the Open X-Embodiment release of RT-1, converted
""",
    "correct": """
  v2w correct                                              the shipped PushT model beside PushT, into runs/corrections
  v2w correct world_model=runs/pusht/bundle dataset=pusht_turning folder=runs/turned num_episodes=96
  v2w correct dataset=random env_id=My-v0 settle=my_module:my_settle world_model=runs/mine/bundle
  v2w train dataset=runs/data/pusht_dashing corrections=runs/corrections folder=runs/corrected \\
      autoencoder=v2w_env/bundles/pusht init_from=v2w_env/bundles/pusht train.loss.self_history=0       then train on it
""",
    "train": """
  v2w train train=autoencoder                              first: frames to latents and back
  v2w train train=world_model                              then: the world model, on these latents
  v2w train dataset=runs/data/small autoencoder=runs/small_ae folder=runs/small max_steps=500 name=small
  v2w train train=reward world_model=runs/pusht/bundle     then, if wanted: rewards and ends of episodes
  v2w train train=published model=rt1 dataset=runs/data/rt1 init_from=dynamicrafter.ckpt folder=runs/rt1
                                                           the paper's recipe on four GPUs (model=rt1, csgo or recon)
  v2w train train=published --show-config                  its settings
  the same command again goes on with a run that was interrupted
""",
    "agent train": """
  v2w agent train                                          PPO inside the shipped model of Doom, into runs/agent
  v2w agent train algo=dqn env.kwargs.observation=latent folder=runs/dqn max_minutes=60
  v2w agent train agent=ppo_take_cover env.kwargs.observation=latent horizon=64 steps=40000 folder=runs/dodger \\
      env.kwargs.reset_source=runs/data/doom_take_cover_ends guards.termination_floor=0.03 \\
      critic.dataset=runs/data/doom_take_cover_ends 'critic.mirror=[0,2,1]'    as benchmarks.dream_agents does
  v2w agent train env=world env.kwargs.checkpoint=runs/mine/bundle horizon=300 folder=runs/mine/agent steps=2e6
  v2w agent train guards.history_noise_level=50 learning_rate=1e-4 num_envs=64 evaluation.every=0
  the same command again goes on with a run that was interrupted
""",
    "agent eval": """
  v2w agent eval runs/agent/agent.zip                      100 episodes in the real simulator
  v2w agent eval runs/agent/agent.zip where=dream episodes=20 film=runs/dream.mp4
  v2w agent eval random out=runs/random.json
  v2w agent eval random env=Vid2World-PushT-v0 horizon=100     env= takes any registered id
""",
    "plan": """
  v2w plan                                                 iCEM on PushT: to where the recording policy gets in 25 steps
  v2w plan planner=cem num_candidates=128 out=runs/cem.mp4
  v2w plan goal=goal.png seed=3 replan_every=1
""",
    "rollout": """
  v2w rollout                                              random actions in the shipped PushT model, runs/rollout.mp4
  v2w rollout env.id=gym_pusht/PushT-v0 'env.kwargs={obs_type: pixels, render_mode: rgb_array}'
  v2w rollout actions=recorded dataset=runs/data/pusht     a test episode's actions, from its first frames
  v2w rollout kwargs.num_sampling_steps=4 num_steps=300 out=long.gif
""",
    "eval": """
  v2w eval                                                 how true the shipped model's dreams are
  v2w eval --quick                                         the same on a few samples, under a minute
  v2w eval benchmark=fidelity checkpoint=runs/small/bundle dataset=runs/data/small
  v2w eval benchmark=speed
  v2w eval benchmark=videos folder=rollouts protocol=csgo  score films of recordings and predictions
  v2w eval benchmark=temporal_norms checkpoint=RT1 dataset=data/rt1
  v2w eval benchmark=rt1_ar checkpoint=RT1 dataset=data/rt1 num_clips=8
""",
    "convert": """
  v2w convert model.ckpt folder=runs/rt1 dataset=rt1       a published file, as a folder that loads at once
  v2w convert RT1-Shift folder=runs/shift                  one that `v2w download` knows
  v2w convert dynamicrafter.ckpt folder=runs/start dataset=recon transfer=masked
""",
    "download": """
  v2w download RT1                                         5 GB; then gym.make("Vid2World-RT1-v0") works
  v2w download CSGO cache_dir=/big/disk token=hf_...
""",
    "info": """
  v2w info                                                 the shipped PushT environment
  v2w info runs/pusht/bundle                               a folder with a world model
  v2w info LunarLander-v3                                  any environment that gymnasium.make knows
""",
}
ABOUT = {
    "collect": "Record a simulator into a dataset, or convert a recorded one.",
    "correct": "Dream beside the simulator, which is put where the dream is and says what truly comes next.",
    "train": "Train an autoencoder, a world model or its reward head on a recorded dataset.",
    "agent train": "Train an agent in an imagined environment; the real one judges it.",
    "agent eval": "Let an agent play in the real simulator or in the dream.",
    "plan": "Reach a goal in the real environment by planning in the imagined one, and film both.",
    "rollout": "Step an environment, imagined or real, and film it.",
    "eval": "Run a benchmark and write its report.",
    "convert": "Turn a checkpoint of another format into a world model's folder, and check it.",
    "download": "Fetch a published checkpoint from the Hugging Face hub.",
    "info": "Say what a world model or an environment contains.",
}

# The settings that bare arguments set.
POSITIONAL = {"info": "TARGET", "convert": "SOURCE", "download": "NAME", "agent eval": "AGENT"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or say which there are where none is named.

    Returns:
        the exit status: 0, or 2 after a user's mistake (one line on stderr), 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    group = [name for name in ABOUT if arguments and name.startswith(f"{arguments[0]} ")]  # of two words
    if not arguments or (group and arguments[1:] in ([], ["-h"], ["--help"])):
        _parser(group or ABOUT).print_help()
        return 0
    parser = _parser(ABOUT)
    if " ".join(arguments[:2]) in ABOUT:
        arguments[:2] = [" ".join(arguments[:2])]
    elif group:
        parser.error(" or ".join(f"v2w {name}" for name in group))
    options, rest = parser.parse_known_args(arguments)  # argparse leaves what follows an option in the middle
    if unknown := [argument for argument in rest if argument.startswith("-")]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    overrides = [*options.overrides, *rest]
    if getattr(options, "quick", False):
        overrides.append("quick=true")
    if options.command in POSITIONAL:
        key = POSITIONAL[options.command].lower()
        overrides = [text if "=" in text else f"{key}={text}" for text in overrides]
    try:
        from configs import load, to_yaml

        config = load(_stem(options.command), _spelled_out(overrides), options.config)
        if options.show_config:
            print(to_yaml(config), end="")
        else:
            _run(options.command, config)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.traceback or os.environ.get("V2W_DEBUG") or not _is_users(error):
            raise
        print(f"v2w {options.command}: {_message(error)}", file=sys.stderr)
        return 2
    return 0


def _run(command: str, config: dict[str, Any]) -> None:
    """Hand the configuration to the library that does the work."""
    from v2w import commands
    from world_model.allocator import keep_freed_memory

    keep_freed_memory()
    run: Callable[[dict[str, Any]], None] = getattr(commands, _stem(command) if command != "eval" else "evaluate")
    run(config)


def _stem(command: str) -> str:
    """What a command's files and functions are called."""
    return command.replace(" ", "_")


def _spelled_out(overrides: Sequence[str]) -> list[str]:
    """Shorthands in full: ``env=NAME-v0`` is any registered id, ``algo=ppo`` the agent of that name."""
    patterns = ((r"env=([\w./:-]+-v\d+)", r"env.id=\1"), (r"algo=(\w+)", r"agent=\1"))
    spelled = list(overrides)
    for pattern, full in patterns:
        spelled = [re.sub(f"^{pattern}$", full, override) for override in spelled]
    return spelled


def _parser(names: Iterable[str]) -> argparse.ArgumentParser:
    """A parser that knows these commands."""
    parser = argparse.ArgumentParser(
        prog="v2w",
        description="Video diffusion world models as Gymnasium environments.",
        epilog="`v2w COMMAND --help` shows every setting of a command with its default, and examples.",
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"vid2world-gym {v2w.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Command)
    for name in names:
        about = ABOUT[name]
        command = commands.add_parser(
            name,
            help=about,
            description=about,
            usage=f"v2w {name} [{POSITIONAL.get(name, 'group=name ...')}] [key=value ...] [options]",
        )
        command.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the defaults")
        command.add_argument("--config", metavar="FILE", help="YAML with settings, read before the key=value pairs")
        command.add_argument("--show-config", action="store_true", help="print the settings as YAML and stop")
        command.add_argument("--traceback", action="store_true", help="show where an error came from (or V2W_DEBUG=1)")
        if name == "eval":
            command.add_argument("--quick", action="store_true", help="few samples, a minute with a small model")
    return parser


class _Help(argparse.HelpFormatter):
    """Leaves room for commands of two words."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 15


class _Command(argparse.ArgumentParser):
    """A command's parser; its examples, groups and settings are read only when ``--help`` is printed."""

    def format_help(self) -> str:
        name = self.prog.partition(" ")[2]
        return super().format_help() + (_settings(name) if name in ABOUT else "")


def _settings(command: str) -> str:
    from configs import groups, options, yaml_text

    lines = ["\nexamples:" + EXAMPLES[command].rstrip()]
    command = _stem(command)
    chosen = groups(command)
    if chosen:
        lines.append("\ngroups (group=name picks a file, group=my.yaml one of your own):")
        lines += [f"  {group}: {', '.join(options(group))}" for group in chosen]
    own = [line for line in yaml_text(command).splitlines() if not line.startswith("groups:")]
    if any(own):
        lines += ["\nsettings:", *(f"  {line}" for line in own)]
    for group, name in chosen.items():
        lines.append(f"\n{group}={name} (as {group}.KEY=VALUE, or KEY=VALUE where nothing else has the key):")
        lines += [f"  {line}" for line in yaml_text(command, group, name).splitlines()]
    return "\n".join(lines) + "\n"


def _is_users(error: Exception) -> bool:
    """Whether an error is about what the user gave, so that one line says more than a traceback."""
    if isinstance(error, ValueError | OSError | ImportError):
        return True
    return any(kind.__module__.startswith("gymnasium.error") for kind in type(error).__mro__)


def _message(error: Exception) -> str:
    extra = {"minari": "sim", "h5py": "sim", "gym_pusht": "sim", "vizdoom": "sim", "ale_py": "sim"}
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] in extra:
        name = error.name.partition(".")[0]
        return f"{name} is not installed. It comes with: pip install 'vid2world-gym[{extra[name]}]'"
    return " ".join(str(error).split()) or type(error).__name__
