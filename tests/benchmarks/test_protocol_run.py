"""The engine: what the model is given, what is written, and that nothing is done twice or lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.film_files import find_pairs, read_film
from benchmarks.film_layout import ClipFiles
from benchmarks.metrics import PSNR_CEILING
from benchmarks.protocols.clips import FilmTask, choose_films
from benchmarks.protocols.drift import drift
from benchmarks.protocols.imagine import Manner
from benchmarks.protocols.outcome import report_run
from benchmarks.protocols.response import action_response
from benchmarks.protocols.run import Run, run_films
from benchmarks.protocols.run_folder import RunFolder
from benchmarks.protocols.settings import ProtocolConfig
from benchmarks.protocols.sharding import Shard, local_device, this_shard, wait_for
from benchmarks.protocols.table import PROTOCOLS, Protocol
from benchmarks.scoring import PIXEL_METRICS, Scorer, View
from benchmarks.summary import Uncertainty
from tests.benchmarks.fakes import HEIGHT, WIDTH, FakeModel, fake_dataset
from world_model.data.recorded import RecordedDataset

RT1 = replace(PROTOCOLS["rt1_ar"], clips=4)
CSGO = replace(PROTOCOLS["csgo"], clips=3, crop=None, size=None)


def make_run(
    protocol: Protocol,
    folder: Path,
    model: FakeModel | None = None,
    dataset: RecordedDataset | None = None,
    **changes: Any,
) -> tuple[Run, list[FilmTask]]:
    dataset = dataset or fake_dataset([20, 17, 30, 16, 25], 51 if protocol.dataset == "csgo" else 13)
    tasks = choose_films(protocol, dataset, "validation", None)
    run = Run(
        protocol=protocol,
        model=model or FakeModel(),
        dataset=dataset,
        folder=RunFolder(folder, protocol.layout, {"protocol": protocol.name}),
        manner=Manner(protocol.context_frames, protocol.sampler, None, seed=0),
        view=protocol.view((HEIGHT, WIDTH)),
        scorer=Scorer(PIXEL_METRICS, "vgg", folder) if protocol.actions == "recorded" else None,
    )
    return replace(run, **changes), tasks


def scores_of(run: Run, task: FilmTask) -> dict[str, Any]:
    return dict(json.loads(run.folder.files(task.name).scores.read_text()))


def test_a_model_that_is_right_scores_perfectly(tmp_path: Path) -> None:
    """So frames, actions and time are where they belong: the fake paints frame t as the action before it says."""
    run, tasks = make_run(RT1, tmp_path)
    assert run_films(run, tasks, batch_size=3, progress=False) == 4
    for task in tasks:
        scores = scores_of(run, task)["imagined"]
        assert scores["frames"] == list(range(16))
        assert scores["psnr"] == [PSNR_CEILING] * 16 and scores["mse"] == [0.0] * 16
    pairs = find_pairs(tmp_path / "videos")
    assert [pair.name for pair in pairs] == sorted(task.name for task in tasks)
    assert read_film(pairs[0].recorded).shape == (16, HEIGHT, WIDTH, 3)


def test_actions_of_the_context_and_after_it(tmp_path: Path) -> None:
    model = FakeModel()
    run, tasks = make_run(CSGO, tmp_path, model)
    run_films(run, tasks, progress=False)
    assert model.contexts[0].shape == (1, 4, 3, HEIGHT, WIDTH) and model.actions[0].shape == (1, 12, 51)
    place = tasks[0].place
    episode = run.dataset.read(place.episode, place.start, place.start + 16)
    np.testing.assert_array_equal(model.actions[0][0].numpy(), episode.actions[3:])
    assert scores_of(run, tasks[0])["imagined"]["frames"] == list(range(4, 16))


def test_all_frames_together(tmp_path: Path) -> None:
    """The first frame is imagined as well, here as grey."""
    run, tasks = make_run(replace(PROTOCOLS["rt1_nar"], clips=2), tmp_path)
    run_films(run, tasks, progress=False)
    film = read_film(run.folder.files(tasks[0].name).imagined)
    assert len(film) == 16 and abs(int(film[0].mean()) - 128) <= 2
    assert scores_of(run, tasks[0])["imagined"]["psnr"][1:] == [PSNR_CEILING] * 15


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    model = FakeModel(noise=0.1, stop_at=2)
    run, tasks = make_run(RT1, tmp_path / "a", model)
    with pytest.raises(KeyboardInterrupt):
        run_films(run, tasks, progress=False)
    assert [run.folder.is_finished(task.name) for task in tasks] == [True, True, False, False]
    before = run.folder.files(tasks[0].name).scores.stat().st_mtime_ns
    model.stop_at = None
    assert run_films(run, tasks, progress=False) == 2 and model.films == 4
    assert run.folder.files(tasks[0].name).scores.stat().st_mtime_ns == before
    assert run_films(run, tasks, progress=False) == 0 and model.films == 4
    whole, _ = make_run(RT1, tmp_path / "b", FakeModel(noise=0.1))
    run_films(whole, tasks, batch_size=4, progress=False)
    for task in tasks:  # the same noise, whatever the batch and however often it was interrupted
        assert scores_of(whole, task) == scores_of(run, task)
    assert not list(tmp_path.rglob(".*"))  # nothing half-written


def test_half_a_film_is_made_again(tmp_path: Path) -> None:
    """Films and features are written before the scores, so without these nothing counts."""
    run, tasks = make_run(RT1, tmp_path)
    files = run.folder.files(tasks[0].name)
    files.imagined.parent.mkdir(parents=True)
    files.imagined.write_bytes(b"half a film")
    run_films(run, tasks[:1], progress=False)
    assert len(read_film(files.imagined)) == 16


def test_processes_share_the_films(tmp_path: Path) -> None:
    counts = []
    for rank in range(2):
        run, tasks = make_run(replace(RT1, clips=5), tmp_path, FakeModel())
        counts.append(run_films(run, Shard(rank, 2).own(tasks), progress=False))
    assert counts == [3, 2]
    assert all(run.folder.is_finished(task.name) for task in tasks)


def test_the_launcher_says_who_is_who(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert this_shard() == Shard(0, 1) and local_device("cuda") == "cuda"
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert this_shard() == Shard(3, 4)
    assert local_device("cuda") == "cuda:1" and local_device("cpu") == "cpu"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="RANK: expected 0 to WORLD_SIZE - 1, got 3 of 2"):
        this_shard()
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ValueError, match="RANK: expected a number"):
        this_shard()


def test_waiting_ends_when_all_is_there_or_nothing_comes() -> None:
    states: list[Sequence[str]] = [["a", "b"], ["b"], []]
    wait_for(lambda: states.pop(0), patience=5, poll=0)
    with pytest.raises(TimeoutError, match="1 films of other processes are missing .first: b.*same command again"):
        wait_for(lambda: ["b"], patience=0.02, poll=0.01)


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    RunFolder(tmp_path, "nested", {"seed": 0, "films": [["a", 1]]})
    RunFolder(tmp_path, "nested", {"seed": 0, "films": [["a", 1]]})
    with pytest.raises(ValueError, match=r"another run lies here .seed was 0, is 1.*out="):
        RunFolder(tmp_path, "nested", {"seed": 1, "films": [["a", 1]]})
    (tmp_path / "run.json").write_text("{cut")
    with pytest.raises(ValueError, match="not readable as JSON"):
        RunFolder(tmp_path, "nested", {"seed": 0})


def test_layouts_of_the_release(tmp_path: Path) -> None:
    nested, flat = ClipFiles(tmp_path, "a", "nested"), ClipFiles(tmp_path, "a_t0003", "flat")
    assert nested.recorded == tmp_path / "a" / "gt_video.mp4" and nested.imagined == tmp_path / "a" / "pred_video.mp4"
    assert flat.recorded == tmp_path / "a_t0003_x_gt.mp4" and flat.imagined == tmp_path / "a_t0003_x_pred.mp4"
    assert len({flat.actions, flat.features, flat.scores, flat.under_random_actions}) == 4


def test_measured_on_films_read_back(tmp_path: Path) -> None:
    """As the release does: what the encoder loses counts."""
    on_frames, tasks = make_run(RT1, tmp_path / "frames", FakeModel(noise=0.2))
    on_films, _ = make_run(RT1, tmp_path / "films", FakeModel(noise=0.2), measured_on="video")
    values = []
    for run in (on_frames, on_films):
        run_films(run, tasks[:1], progress=False)
        values.append(np.array(scores_of(run, tasks[0])["imagined"]["psnr"][1:]))
    assert (values[0] != values[1]).all() and np.abs(values[0] - values[1]).max() < 6


def test_random_actions_make_a_second_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, tasks = make_run(CSGO, tmp_path, FakeModel(noise=0.05), random_actions=True)
    run_films(run, tasks, progress=False)
    files = run.folder.files(tasks[0].name)
    true, random, recorded = (read_film(path) for path in (files.imagined, files.under_random_actions, files.recorded))
    assert len(random) == 16
    error = [np.abs(film[4:].astype(int) - recorded[4:]).mean() for film in (true, random)]
    assert error[0] < 15 < error[1]
    measures = report_run(run, tasks, ProtocolConfig(), Uncertainty())
    assert measures["delta_psnr"] > 50 and measures["delta_mse"] < -50  # much is owed to the actions
    assert measures["delta_psnr"] == pytest.approx(100 * (measures["psnr"] / measures["random_psnr"] - 1))
    page = (tmp_path / "csgo.md").read_text()
    assert "| **this run** |" in page
    assert "| Vid2World (quoted, arXiv 2505.14357, Table 1) | 106.6 | 17.5 | 0.481 |" in page
    assert "| Vid2World (quoted, arXiv 2505.14357, Table 4) | -77.06 | -29.44 |" in page


def test_action_control_tells_directions_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fake listens to the first number of an action only, so no direction makes a difference, ..."""
    run, tasks = make_run(PROTOCOLS["rt1_action_control"], tmp_path, FakeModel(noise=0.1))
    run_films(run, tasks, batch_size=6, progress=False)
    actions = np.load(run.folder.files(tasks[1].name).actions)
    assert actions.shape == (15, 13) and (actions[:, 8] == 1).all()
    np.testing.assert_allclose(actions[:, 10], -0.1, rtol=1e-6)
    measures = report_run(run, tasks, ProtocolConfig(), Uncertainty())
    assert measures["response_x"] == measures["response_any"] == 0.0
    assert "| X+ against X- | 0 |" in (tmp_path / "rt1_action_control.md").read_text()
    assert (tmp_path / "rt1_action_control.png").stat().st_size > 1000
    assert not run.folder.files(tasks[0].name).recorded.exists()


def test_action_response_is_the_mean_difference() -> None:
    """... and films that differ do."""
    films = {label: np.full((3, 4, 4, 3), 10 * number, np.uint8) for number, label in enumerate(("X+", "X-", "Y+"))}
    response = action_response(films, View())
    np.testing.assert_allclose(response["x"], 10.0, rtol=1e-5)
    np.testing.assert_allclose(response["any"], (10 + 20 + 10) / 3, rtol=1e-5)
    assert set(response) == {"x", "any"}


def test_long_rollouts_are_judged_without_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protocol = replace(PROTOCOLS["csgo_long_rollout"], clips=2, horizon=20, crop=None, size=None)
    run, tasks = make_run(protocol, tmp_path, FakeModel(noise=0.3))
    run_films(run, tasks, progress=False)
    files = run.folder.files(tasks[0].name)
    assert len(read_film(files.imagined)) == 29 and not files.recorded.exists()
    actions = np.load(files.actions)
    assert actions.shape == (28, 51) and (actions[8:18] == actions[8]).all()
    measures = report_run(run, tasks, ProtocolConfig(), Uncertainty())
    assert measures["motion"] > 10 and "psnr" not in measures
    page = (tmp_path / "csgo_long_rollout.md").read_text()
    assert "There is no recorded film to compare with." in page and "The paper gives no numbers" in page


def test_drift_sees_blur_and_standstill() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (6, 24, 32, 3), dtype=np.uint8)
    blurred = sharp.copy()
    blurred[4:] = 128
    scores = drift(blurred, context_frames=2, view=View())
    assert scores.frames == (2, 3, 4, 5)
    assert scores.curves["sharpness"][:2].min() > 0.8 and scores.curves["sharpness"][2:].max() == 0.0
    assert scores.curves["motion"][1] > 20 and scores.curves["motion"][3] == 0.0


def test_report_has_what_it_takes_to_repeat_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, tasks = make_run(RT1, tmp_path, FakeModel(noise=0.2))
    run_films(run, tasks, progress=False)
    measures = report_run(run, tasks, ProtocolConfig(checkpoint="model", seed=3), Uncertainty(seed=3))
    result = json.loads((tmp_path / "rt1_ar.json").read_text())
    assert result["benchmark"] == "rt1_ar" and result["clips"] == 4
    assert result["command"] == "python -m benchmarks.rt1_ar checkpoint=model seed=3"
    assert {"commit", "machine", "config"} <= result.keys()
    assert len(result["curves"]["psnr"]["mean"]) == 16 and result["frames"][0] == 1
    assert result["psnr_ci"][0] <= result["psnr"] <= result["psnr_ci"][1]
    assert result["quoted"][0]["quoted_from"] == "arXiv 2505.14357, Table 1" and result["quoted"][0]["psnr"] == 24.6
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["psnr"] == pytest.approx(
        measures["psnr"], rel=1e-6
    )
    page = (tmp_path / "rt1_ar.md").read_text()
    assert "(quoted, arXiv 2505.14357, Table 1) | 18.5 | 5.806 |" in page and "| not measured |" in page
    assert "## At each frame" in page and str(tmp_path) not in page
