"""The paper's protocols, each on recordings in the format of its own dataset, by a model in the published layout."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pytest

from benchmarks.film_files import find_pairs, read_film
from benchmarks.protocols.table import PROTOCOLS
from tests.data.writers import WRITERS
from world_model.checkpoints.load import load
from world_model.checkpoints.plan import PublishedOptions
from world_model.checkpoints.published_shapes import published_shapes
from world_model.checkpoints.sizes import PublishedLayout
from world_model.checkpoints.synthetic import TINY, write_synthetic

NAMES = [name for name, protocol in PROTOCOLS.items() if protocol.dataset in WRITERS]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """In small widths, with frames of 32x64."""
    folder = tmp_path_factory.mktemp("models")
    for dataset in ("rt1", "csgo", "recon"):
        path = write_synthetic(folder / f"{dataset}.safetensors", published_shapes(TINY[dataset]), "safetensors")
        load(path, PublishedOptions(layout=PublishedLayout(frame_size=(32, 64)))).save_pretrained(folder / dataset)
    return {dataset: str(folder / dataset) for dataset in ("rt1", "csgo", "recon")}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_from_recordings_to_a_report(
    name: str, models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = PROTOCOLS[name]
    if protocol.actions != "recorded":  # of any length; a hundred frames, or six films, take minutes
        protocol = replace(protocol, horizon=4)
        monkeypatch.setitem(PROTOCOLS, name, protocol)
    main = importlib.import_module(f"benchmarks.{name}").main
    config = get_type_hints(main)["config"](
        checkpoint=models[protocol.dataset],
        dataset=str(WRITERS[protocol.dataset](tmp_path / "data", [20, 22])),
        out=str(tmp_path / "out"),
        split="all",
        num_clips=1,
        num_sampling_steps=2,
        metrics=("psnr", "ssim", "mse"),
        dtype="float32",
    )
    measures = main(config)
    films = sorted((tmp_path / "out" / "videos").rglob("*pred*.mp4"))
    assert len(films) == (6 if name == "rt1_action_control" else 1)
    assert all(read_film(film).shape == (protocol.length, 32, 64, 3) for film in films)
    page = (tmp_path / "out" / f"{name}.md").read_text()
    if protocol.actions != "recorded":
        assert measures["motion"] > 0 and "There is no recorded film to compare with." in page
        return
    assert 3 < measures["psnr"] < 40 and len(find_pairs(tmp_path / "out" / "videos")) == 1
    result = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert result["frames"] == [frame + 1 for frame in protocol.scored]
