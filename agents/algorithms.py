"""The algorithms an agent can be trained with: their settings, and an SB3 model made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import stable_baselines3
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN

from v2w_env.config import check_choice

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

Features = Literal["auto", "nature", "small", "flat"]


@dataclass(frozen=True)
class PPOConfig:
    """Arguments of :class:`stable_baselines3.PPO`."""

    algorithm: ClassVar[str] = "PPO"
    learning_rate: float = 2.5e-4
    n_steps: int = 128
    batch_size: int = 256
    n_epochs: int = 4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    clip_range_vf: float | None = None
    normalize_advantage: bool = True
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None


@dataclass(frozen=True)
class A2CConfig:
    """Arguments of :class:`stable_baselines3.A2C`."""

    algorithm: ClassVar[str] = "A2C"
    learning_rate: float = 7e-4
    n_steps: int = 16
    gamma: float = 0.99
    gae_lambda: float = 1.0
    ent_coef: float = 0.01
    vf_coef: float = 0.25
    max_grad_norm: float = 0.5
    rms_prop_eps: float = 1e-5
    normalize_advantage: bool = False


@dataclass(frozen=True)
class DQNConfig:
    """Arguments of :class:`stable_baselines3.DQN`. A transition of four 64x64 frames takes 100 kB."""

    algorithm: ClassVar[str] = "DQN"
    learning_rate: float = 1e-4
    buffer_size: int = 20_000
    learning_starts: int = 5_000
    batch_size: int = 32
    tau: float = 1.0
    gamma: float = 0.99
    train_freq: int = 1
    gradient_steps: int = 8
    target_update_interval: int = 2_000
    exploration_fraction: float = 0.1
    exploration_initial_eps: float = 1.0
    exploration_final_eps: float = 0.02
    max_grad_norm: float = 10.0


@dataclass(frozen=True)
class SACConfig:
    """Arguments of :class:`stable_baselines3.SAC`. A transition of four 64x64 frames takes 100 kB."""

    algorithm: ClassVar[str] = "SAC"
    learning_rate: float = 3e-4
    buffer_size: int = 20_000
    learning_starts: int = 2_000
    batch_size: int = 128
    tau: float = 0.005
    gamma: float = 0.99
    train_freq: int = 1
    gradient_steps: int = 8
    ent_coef: str | float = "auto"
    target_update_interval: int = 1
    target_entropy: str | float = "auto"


Settings = PPOConfig | A2CConfig | DQNConfig | SACConfig
ALGORITHMS: dict[str, type[Settings]] = {"ppo": PPOConfig, "a2c": A2CConfig, "dqn": DQNConfig, "sac": SACConfig}


@dataclass(frozen=True)
class AgentConfig:
    """What learns, and what it sees.

    Attributes:
        settings: Of its algorithm; their class says which.
        num_envs: Dreams at a time.
        frame_stack: Newest observations that the agent sees, as channels.
        features: What looks at them: ``"nature"`` (SB3's convolutional network), ``"small"``
            (:class:`~agents.features.SmallCNN`), ``"flat"`` (none), or ``"auto"``: nature for frames, flat for latents.
        features_dim: Numbers that ``nature`` and ``small`` make of an observation.
        net_arch: Hidden layers of policy and value behind them; ``None`` takes SB3's.
        final_learning_rate: Where the learning rate goes, linearly over the training; ``None``: it stays.
        normalize_rewards: Divide rewards by a running deviation of the returns (``VecNormalize``).
        action_repeat: Environment steps that each of its actions is taken for; the length of a training counts actions.
    """

    settings: Settings = field(default_factory=PPOConfig)
    num_envs: int = 32
    frame_stack: int = 4
    features: Features = "auto"
    features_dim: int = 256
    net_arch: tuple[int, ...] | None = None
    final_learning_rate: float | None = None
    normalize_rewards: bool = False
    action_repeat: int = 1

    def __post_init__(self) -> None:
        check_choice("features", self.features, ("auto", "nature", "small", "flat"))
        for name in ("num_envs", "frame_stack", "action_repeat", "features_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


def make_agent(config: AgentConfig, env: VecEnv, seed: int, device: str = "cpu") -> BaseAlgorithm:
    """An untrained SB3 model; ``env`` shows stacked observations, channels first (:func:`agents.wrappers.stacked`).

    Raises:
        ValueError: What SB3 says where its algorithm does not fit the environment's spaces, or frames too small for
            ``nature``.
    """
    arguments: dict[str, Any] = asdict(config.settings)
    if config.final_learning_rate is not None:
        arguments["learning_rate"] = _decay(config.settings.learning_rate, config.final_learning_rate)
    policy, policy_kwargs = _policy(config, env)
    algorithm = _algorithm(config)
    try:
        model: BaseAlgorithm = algorithm(
            policy, env, policy_kwargs=policy_kwargs, seed=seed, device=device, **arguments
        )
    except AssertionError as error:
        raise ValueError(f"{config.settings.algorithm}: {error}") from error
    model.action_repeat = config.action_repeat  # type: ignore[attr-defined]  # SB3 saves it; SB3Policy looks for it
    return model


def load_trained(config: AgentConfig, path: Path, env: VecEnv, device: str = "cpu") -> BaseAlgorithm:
    """The model saved at ``path`` with its optimizer, in front of ``env`` as it stands: nothing is reset."""
    return _algorithm(config).load(path, env=env, device=device, force_reset=False)


def _algorithm(config: AgentConfig) -> Any:
    return getattr(stable_baselines3, config.settings.algorithm)


def _policy(config: AgentConfig, env: VecEnv) -> tuple[str, dict[str, Any]]:
    space = env.observation_space
    assert space.shape is not None
    images = space.dtype == np.uint8
    features = config.features if config.features != "auto" else "nature" if images else "flat"
    kwargs: dict[str, Any] = {} if config.net_arch is None else {"net_arch": list(config.net_arch)}
    if features == "flat":
        return "MlpPolicy", kwargs | {"features_extractor_class": FlattenExtractor}
    kwargs["features_extractor_kwargs"] = {"features_dim": config.features_dim}
    if features == "small":
        from agents.features import SmallCNN

        return "CnnPolicy" if images else "MlpPolicy", kwargs | {"features_extractor_class": SmallCNN}
    if not images or min(space.shape[1:]) < 36:
        raise ValueError(f"features: nature needs frames of at least 36x36, got {space}; use features=small or flat")
    return "CnnPolicy", kwargs | {"features_extractor_class": NatureCNN}


def _decay(start: float, end: float) -> Any:
    try:
        from stable_baselines3.common.utils import LinearSchedule
    except ImportError as error:
        raise ImportError(
            "final_learning_rate needs stable-baselines3 >= 2.7: pip install -U stable-baselines3"
        ) from error
    return LinearSchedule(start, end, 1.0)
