"""Folders of films: found in both layouts, read and written, scored, and refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.film_files import find_pairs, read_film, read_pair, write_film
from benchmarks.metrics import psnr
from benchmarks.videos import VideosConfig, main


def smooth(seed: int, length: int = 10, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    """A film that compresses well: a gradient that moves."""
    y, x = np.mgrid[0:height, 0:width]
    shift = np.arange(length)[:, None, None, None]
    return np.uint8(127 + 60 * np.sin(0.2 * (x[..., None] + shift) + seed + np.arange(3)) * np.cos(0.1 * y[..., None]))


def write_pair(folder: Path, name: str, imagined: NDArray[np.uint8], recorded: NDArray[np.uint8]) -> None:
    write_film(imagined, folder / name / "pred_video.mp4", 3)
    write_film(recorded, folder / name / "gt_video.mp4", 3)


def test_films_come_back_frame_by_frame(tmp_path: Path) -> None:
    film = smooth(0)
    path = write_film(film, tmp_path / "deep" / "film.mp4", fps=3)
    back = read_film(path)
    assert back.shape == film.shape
    assert psnr(back, film).min() > 30
    later = psnr(back[1:], film[:-1])
    assert (psnr(back[1:], film[1:]) > later).all()  # in order, none twice
    assert [file.name for file in path.parent.iterdir()] == ["film.mp4"]


def test_odd_sizes_can_be_written(tmp_path: Path) -> None:
    film = smooth(0, 3, 21, 33)
    assert read_film(write_film(film, tmp_path / "film.mp4", fps=4)).shape == film.shape


def test_both_layouts_are_found_at_any_depth(tmp_path: Path) -> None:
    film = smooth(0, 2)
    write_pair(tmp_path, "csgo/episode_1", film, film)
    write_film(film, tmp_path / "recon" / "drive_t0003_x_gt.mp4", 4)
    write_film(film, tmp_path / "recon" / "drive_t0003_x_pred.mp4", 4)
    write_film(film, tmp_path / "csgo" / "all_combined.mp4", 4)  # other films do not matter
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["csgo/episode_1", "recon/drive_t0003"]
    assert pairs[1].imagined.name == "drive_t0003_x_pred.mp4" and pairs[1].recorded.name == "drive_t0003_x_gt.mp4"


def test_a_missing_partner_is_named(tmp_path: Path) -> None:
    film = smooth(0, 2)
    write_pair(tmp_path, "a", film, film)
    write_film(film, tmp_path / "b" / "gt_video.mp4", 3)
    with pytest.raises(ValueError, match=r"b/gt_video.mp4 needs b/pred_video.mp4 beside it"):
        find_pairs(tmp_path)
    (tmp_path / "b" / "gt_video.mp4").unlink()
    write_film(film, tmp_path / "c_x_pred.mp4", 3)
    with pytest.raises(ValueError, match=r"c_x_pred.mp4 needs c_x_gt.mp4"):
        find_pairs(tmp_path)


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no such films"):
        main(VideosConfig(folder=str(tmp_path)))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(VideosConfig(folder=str(tmp_path / "nowhere")))


def test_unequal_and_damaged_films_are_named(tmp_path: Path) -> None:
    write_pair(tmp_path, "short", smooth(0, 4), smooth(0, 5))
    with pytest.raises(ValueError, match="short: .* 4 frames of 32x48 in pred_video.mp4 and 5 frames"):
        read_pair(find_pairs(tmp_path)[0])
    write_pair(tmp_path, "short", smooth(0, 4), smooth(0, 4, 32, 40))
    with pytest.raises(ValueError, match="32x48 in pred_video.mp4 and 4 frames of 32x40"):
        main(VideosConfig(folder=str(tmp_path)))
    path = tmp_path / "short" / "pred_video.mp4"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"pred_video.mp4.*truncated"):
        main(VideosConfig(folder=str(tmp_path)))
    path.write_bytes(b"not a film")
    with pytest.raises(ValueError, match=r"pred_video.mp4"):
        main(VideosConfig(folder=str(tmp_path)))


def test_films_of_several_lengths_are_not_mixed(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", smooth(0, 4), smooth(1, 4))
    write_pair(tmp_path, "b", smooth(0, 5), smooth(1, 5))
    with pytest.raises(ValueError, match="b: expected films of one length, got 5 frames to compare where a has 4"):
        main(VideosConfig(folder=str(tmp_path), results=str(tmp_path)))


def test_report_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        write_pair(tmp_path / "films", name, smooth(0), smooth(ord(name)))
    measures = main(VideosConfig(folder=str(tmp_path / "films"), skip=4, results=str(tmp_path / "results")))
    result = json.loads((tmp_path / "results" / "videos.json").read_text())
    assert result["clips"] == 3 and result["frames"] == [5, 6, 7, 8, 9, 10]
    assert result["psnr"] == pytest.approx(measures["psnr"], rel=1e-6)
    assert list(result["films"]) == ["a", "b", "c"] and len(result["films"]["a"]["ssim"]) == 6
    page = (tmp_path / "results" / "videos.md").read_text()
    assert "without the first 4" in page and "| a |" in page and "python -m benchmarks.videos" in page
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["psnr"] == result["psnr"]
    assert str(tmp_path) not in page


def test_a_protocol_decides_what_is_looked_at(tmp_path: Path) -> None:
    """Black bars above and below are cropped away as csgo does, and its context frames are left out."""
    imagined, recorded = smooth(0, 16, 64, 96), smooth(0, 16, 64, 96)
    imagined[:, :4], imagined[:4] = 255, 255
    write_pair(tmp_path, "a", imagined, recorded)
    everything = main(VideosConfig(folder=str(tmp_path), results=str(tmp_path)))
    as_csgo = main(VideosConfig(folder=str(tmp_path), protocol="csgo", results=str(tmp_path)))
    assert as_csgo["psnr"] > everything["psnr"] + 10
    assert json.loads((tmp_path / "videos.json").read_text())["frames"] == list(range(5, 17))
    with pytest.raises(ValueError, match="protocol: expected one of rt1_ar.*got 'csgo_ood'"):
        main(VideosConfig(folder=str(tmp_path), protocol="csgo_ood"))
    with pytest.raises(ValueError, match="a: frames: expected films of at least 20 frames, got 16"):
        main(VideosConfig(folder=str(tmp_path), protocol="recon_rollout"))


PUBLISHED = {  # PSNR and SSIM of the published model's own films, computed by others
    "rt1/train_eps_00004281": (22.779, 0.8124),
    "rt1/train_eps_00005316": (25.785, 0.8797),
    "rt1/train_eps_00021901": (17.519, 0.7146),
    "csgo/hdf5_dm_july2021_1018": (22.175, 0.6804),
    "csgo/hdf5_dm_july2021_1865": (20.158, 0.5587),
    "csgo/hdf5_dm_july2021_2554": (25.461, 0.7131),
}


@pytest.mark.slow
def test_published_films_score_as_listed(real_data: Path, tmp_path: Path) -> None:
    main(VideosConfig(folder=str(real_data / "published_rollouts"), results=str(tmp_path)))
    films = json.loads((tmp_path / "videos.json").read_text())["films"]
    assert films.keys() == PUBLISHED.keys()
    for name, (listed_psnr, listed_ssim) in PUBLISHED.items():
        assert np.mean(films[name]["psnr"]) == pytest.approx(listed_psnr, abs=0.02)
        assert np.mean(films[name]["ssim"]) == pytest.approx(listed_ssim, abs=0.002)
        assert len(films[name]["psnr"]) == 16
