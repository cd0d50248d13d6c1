"""The demo: a film of the real and the imagined world under the same actions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.demo import DemoConfig, main, play
from benchmarks.film import compose, write_film


def test_demo_end_to_end(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").mkdir()
    recorded = {"clips": 64, "split": "test", "psnr_10": 31.0, "psnr_10_ci": [30.0, 32.0]}
    (tmp_path / "results" / "fidelity.json").write_text(json.dumps(recorded))
    out = tmp_path / "demo"
    measures = main(
        DemoConfig(
            out=str(out),
            checkpoint=str(tiny_bundle),
            episodes=2,
            steps=4,
            panel=64,
            results=str(tmp_path / "results"),
        )
    )
    assert {"psnr_1", "psnr_4", "agent_error_4", "block_error_4", "env_steps_per_s"} <= measures.keys()
    assert {path.name for path in out.iterdir()} == {"demo.mp4", "demo_error.png", "demo.json", "demo.md"}
    assert frames_in(out / "demo.mp4") == 8  # context and imagined
    printed = capsys.readouterr().out
    assert "Recorded evaluation: 64 clips of the test split" in printed and "demo.mp4" in printed
    assert json.loads(printed.strip().splitlines()[-1])["episodes"] == 2


def frames_in(path: Path) -> int:
    from imageio_ffmpeg import count_frames_and_secs

    return int(count_frames_and_secs(str(path))[0])


def test_episodes_are_reproducible_and_differ_from_each_other() -> None:
    config = DemoConfig(episodes=2, steps=3)
    one, two = play(config, (32, 32)), play(config, (32, 32))
    assert one.frames.shape == (2, 7, 32, 32, 3) and one.actions.shape == (2, 6, 2)
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.actions, two.actions)
    assert (one.frames[0] != one.frames[1]).any()
    assert one.actions.dtype == np.float32


def test_a_picture_shows_both_frames_and_their_difference_enlarged() -> None:
    real = np.zeros((2, 16, 16, 3), np.uint8)
    imagined = np.full((2, 16, 16, 3), 200, np.uint8)
    picture = compose(real, imagined, "title", ["a", "b"], ["c", "d"], panel=64)
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0  # H.264 asks for it
    for value, least in ((0, 2 * 64 * 64), (200, 2 * 2 * 64 * 64)):  # the difference is 200 as well
        assert (picture == value).all(axis=-1).sum() >= least


def test_a_film_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    pictures = [np.zeros((32, 32, 3), np.uint8)] * 2
    path = tmp_path / "film.mp4"
    path.mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError):
        write_film(pictures, path, fps=5)
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


def test_bad_settings_are_refused(tiny_bundle: Path) -> None:
    with pytest.raises(ValueError, match="episodes"):
        main(DemoConfig(checkpoint=str(tiny_bundle), episodes=0))
