"""Training a state probe: it finds the square, resumes, leaves the world model as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import PUSHT_ACTIONS, make_tiny_model
from tests.trainer.conftest import SIZE, run_config
from tests.trainer.test_autoencoder_training import curve
from world_model.data import read_minari
from world_model.model import WorldModel
from world_model.state_probe import StateProbe, StateProbeConfig
from world_model.trainer import OptimizerConfig, ProbeTrainConfig, train_probe
from world_model.trainer.additions import with_section
from world_model.trainer.latents import encoded
from world_model.trainer.probe import probe_loss, read_states


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = make_tiny_model(PUSHT_ACTIONS, (SIZE, SIZE), channel_mult=(1,), attention_downsampling=(1,))
    clips = {"frames": torch.zeros(2, 4, SIZE, SIZE, 3).byte().numpy(), "actions": torch.zeros(2, 3, 2).numpy()}
    return model.save_pretrained(tmp_path_factory.mktemp("world"), clips, "# Tiny\n\nRandom weights.\n")


def config(dataset: Path, world: Path, folder: Path, **changes: Any) -> ProbeTrainConfig:
    run = {name: changes.pop(name) for name in ("max_steps", "validate_every", "batch_size") if name in changes}
    values: dict[str, Any] = dict(
        world_model=str(world),
        dataset=str(dataset),
        infos=("place", "direction"),
        angles=(2,),
        run=run_config(folder, **run),
        channels=8,
        features=32,
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2, schedule="constant"),
        imagined_share=0.0,
        latent_noise=0.0,
    )
    return ProbeTrainConfig(**{**values, **changes})


def test_it_finds_the_square(dataset: Path, world: Path, tmp_path: Path) -> None:
    settings = config(dataset, world, tmp_path / "run", max_steps=150, validate_every=50, batch_size=32)
    bundle = train_probe(settings)
    model = WorldModel.from_pretrained(bundle)
    assert model.state_probe is not None and model.state_probe.config.sizes == (2, 1)
    recorded = read_minari(dataset)
    episodes = encoded(recorded, "train", bundle, tmp_path / "cache")
    states, _ = read_states(recorded, "train", ("place", "direction"))
    with torch.no_grad():
        found, expected = model.state_probe(episodes.latents.float())
        off = model.state_probe.difference(found, states).abs()
    spread = (states - states.mean(0)).abs().mean(0)
    assert (off[:, :2].mean(0) < 0.4 * spread[:2]).all() and off[:, 2].mean() < 0.6
    assert 0.4 < (off.square().mean() / expected.square().mean()).sqrt() < 2.5  # it knows how good it is
    card = (bundle / "card.md").read_text()
    assert card.startswith("# Tiny") and "| place.1 |" in card and card.count("## State probe") == 1
    assert curve(tmp_path / "run", "validation/latents")
    assert added(world, bundle) == {"state_probe"}


def added(world: Path, bundle: Path) -> set[str]:
    """Parts that are new in `bundle`, all others being those of `world` to the last bit."""
    before, after = load_file(world / "model.safetensors"), load_file(bundle / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    return {name.split(".")[0] for name in after.keys() - before.keys()}


def test_a_world_that_runs_in_bfloat16_is_not_rounded_to_it(dataset: Path, world: Path, tmp_path: Path) -> None:
    model = WorldModel.from_pretrained(world)
    model.config = replace(model.config, dtype="bfloat16")
    with np.load(world / "episodes.npz") as clips:
        source = model.save_pretrained(tmp_path / "world", dict(clips))
    assert added(source, train_probe(config(dataset, source, tmp_path / "run", max_steps=1))) == {"state_probe"}


def test_doubt_is_learned_where_frames_say_nothing() -> None:
    torch.manual_seed(0)
    probe = StateProbe(StateProbeConfig(("place",), (1,), channels=4, features=8), (4, 4, 4))
    states = torch.randn(400, 1)
    probe.set_statistics(states)
    clear = torch.rand(400) < 0.5
    latents = torch.where(clear[:, None, None, None], states[:, :, None, None], torch.tensor(9.0)).repeat(1, 4, 4, 4)
    optimizer = torch.optim.Adam(probe.parameters(), lr=1e-2)
    for _ in range(300):
        loss = probe_loss(probe, latents, states)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found, doubt = probe(latents)
    assert float(doubt[clear].mean()) < 0.3 and 0.6 < float(doubt[~clear].mean()) < 1.6
    assert float((found - states)[clear].abs().mean()) < 0.2


def test_a_resumed_run_is_the_uninterrupted_run(dataset: Path, world: Path, tmp_path: Path) -> None:
    changes = {"imagined_share": 0.5, "latent_noise": 0.3, "latent_cache": str(tmp_path / "cache"), "imagined_steps": 2}
    whole = train_probe(config(dataset, world, tmp_path / "whole", max_steps=4, **changes))
    train_probe(config(dataset, world, tmp_path / "part", max_steps=2, **changes))
    part = train_probe(config(dataset, world, tmp_path / "part", max_steps=4, **changes))
    assert curve(tmp_path / "part", "train/loss")[3] == pytest.approx(curve(tmp_path / "whole", "train/loss")[3], 1e-4)
    for name, tensor in load_file(whole / "model.safetensors").items():
        torch.testing.assert_close(load_file(part / "model.safetensors")[name], tensor, rtol=1e-3, atol=1e-4)
    assert "imagined frames, mean" in (whole / "card.md").read_text()


def test_a_second_probe_replaces_the_first(dataset: Path, world: Path, tmp_path: Path) -> None:
    first = train_probe(config(dataset, world, tmp_path / "first", max_steps=1))
    second = train_probe(config(dataset, first, tmp_path / "second", max_steps=1, infos=("place",), angles=()))
    probe = WorldModel.from_pretrained(second).state_probe
    assert probe is not None and probe.config.names == ["place.0", "place.1"]
    assert (second / "card.md").read_text().count("## State probe") == 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"infos": ("place", "speed")}, "has no speed beside its frames; there is: .*place"),
        ({"infos": ("name",), "angles": ()}, "name of episode .* not finite numbers"),
        ({"angles": (3,)}, "places in a state of 3"),
        ({"imagined_share": 1.5}, "imagined_share"),
        ({"imagined_steps": 0}, "imagined_steps"),
        ({"latent_noise": -1.0}, "latent_noise"),
    ],
)
def test_settings_are_checked(dataset: Path, world: Path, tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        train_probe(config(dataset, world, tmp_path / "run", **changes))


def test_another_worlds_recording_is_refused(dataset: Path, tmp_path: Path) -> None:
    other = make_tiny_model(PUSHT_ACTIONS, (8, 8), channel_mult=(1,), attention_downsampling=(1,))
    with pytest.raises(ValueError, match=r"dataset: expected what .* was trained on, frames of \(8, 8\)"):
        train_probe(config(dataset, other.save_pretrained(tmp_path / "other"), tmp_path / "run"))


def test_a_cards_other_sections_stay() -> None:
    card = "# Tiny\n\nText.\n\n## State probe\n\nold\n\n## Reward head\n\nkept\n"
    assert with_section(card, "## State probe\n\nnew\n") == (
        "# Tiny\n\nText.\n\n## Reward head\n\nkept\n\n## State probe\n\nnew\n"
    )
