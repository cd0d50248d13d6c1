"""What the protocols ask for: their frames and sizes, their clips, their actions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.protocols.actions import directions, held_keys, random_keys, still
from benchmarks.protocols.clips import choose_films, frames_needed, published_csgo_starts
from benchmarks.protocols.images import open_pictures
from benchmarks.protocols.quoted import DELTAS, QUOTES
from benchmarks.protocols.table import PROTOCOLS
from tests.benchmarks.fakes import fake_dataset
from world_model.data.transforms import Letterbox

RT1, CONTROL, CSGO = PROTOCOLS["rt1_ar"], PROTOCOLS["rt1_action_control"], PROTOCOLS["csgo"]


def test_protocols_are_those_of_the_release() -> None:
    """Clips, context, length, window, fps, LPIPS network, first and last scored frame (from 1), FVD's frames."""
    facts = {
        name: (
            p.clips,
            p.context_frames,
            p.length,
            p.window,
            p.fps,
            p.lpips_net,
            [frame + 1 for frame in (p.scored[:1] + p.scored[-1:])],
            len(p.film or ()),
        )
        for name, p in PROTOCOLS.items()
    }
    assert facts == {
        "rt1_ar": (1024, 1, 16, 16, 3, "vgg", [1, 16], 16),
        "rt1_nar": (1024, 1, 16, 16, 3, "vgg", [1, 16], 16),
        "rt1_action_control": (1, 1, 16, 16, 3, "vgg", [], 0),
        "csgo": (500, 4, 16, 16, 3, "vgg", [5, 16], 12),
        "csgo_long_rollout": (50, 9, 109, 10, 4, "vgg", [10, 109], 100),
        "csgo_ood": (16, 9, 59, 10, 4, "vgg", [], 0),
        "recon_single_step": (500, 4, 20, 20, 4, "alex", [20, 20], 16),
        "recon_rollout": (150, 4, 20, 20, 4, "alex", [8, 20], 0),
    }
    assert PROTOCOLS["recon_rollout"].scored == (7, 11, 19)
    assert "fvd" not in PROTOCOLS["recon_rollout"].metrics and "fvd" in CSGO.metrics
    assert (CSGO.crop, CSGO.size) == ((275, 512), (150, 280))
    assert {(p.crop, p.size, p.layout) for name, p in PROTOCOLS.items() if name.startswith("recon")} == {
        ((320, 320), (224, 224), "flat")
    }
    assert [p.name for p in PROTOCOLS.values() if p.sampler == "all_at_once"] == ["rt1_nar"]


def test_crop_takes_the_bars_away_and_scales_with_the_frames() -> None:
    bars = Letterbox(320, 512, content=(275, 512)).crop_box(150, 280)
    view = CSGO.view((320, 512))
    assert view.crop == (bars.height, bars.width) and (320 - bars.height) // 2 == bars.top
    assert CSGO.view((32, 48)).crop == (28, 48)
    assert RT1.view((32, 48)).crop is None


def test_quotes_belong_to_protocols_and_say_where_from() -> None:
    assert set(QUOTES) | set(DELTAS) <= set(PROTOCOLS)
    assert QUOTES["rt1_ar"][0].values == {
        "fvd": 18.5,
        "fid": 5.806,
        "ssim": 0.842,
        "lpips": 0.152,
        "psnr": 24.6,
        "dreamsim": 0.054,
    }
    assert QUOTES["csgo"][0].values["fvd"] == 106.6 and QUOTES["recon_single_step"][0].values["psnr"] == 16.10
    assert QUOTES["rt1_nar"][0].model == "Vid2World-NAR"
    assert all(quote.source.startswith("Table") for quotes in (*QUOTES.values(), *DELTAS.values()) for quote in quotes)


def test_clips_are_the_same_every_time_and_fit_their_episode() -> None:
    lengths = [20, 16, 40, 15, 33, 18]
    dataset = fake_dataset(lengths)
    protocol = replace(RT1, clips=4)
    films = choose_films(protocol, dataset, "validation", None)
    assert films == choose_films(protocol, fake_dataset(lengths), "validation", None)
    assert len({film.name for film in films}) == 4
    for number, film in enumerate(films):
        assert film.clip == number and film.direction is None
        assert 0 <= film.place.start <= lengths[film.place.episode] - 16  # the episode of 15 frames is never chosen
    assert choose_films(protocol, dataset, "validation", 2) == films[:2]


def test_too_few_clips_say_how_many_there_are_and_why() -> None:
    dataset = fake_dataset([20, 9, 16])
    expected = r"num_clips: rt1_ar expects 1024 clips of 16 frames; .* gives 2 \(3 episodes, 1 too short; "
    with pytest.raises(ValueError, match=expected + r"episode_001.npz has 9 frames\). Set num_clips=2"):
        choose_films(RT1, dataset, "validation", None)
    with pytest.raises(ValueError, match=r"gives 0 .*3 too short"):
        choose_films(RT1, fake_dataset([3, 9, 6]), "validation", 1)
    with pytest.raises(ValueError, match="gives 0 .0 episodes"):
        choose_films(RT1, dataset, "test", 1)
    with pytest.raises(ValueError, match="num_clips: expected at least 1"):
        choose_films(RT1, dataset, "validation", 0)


def test_given_starts_are_taken_and_checked() -> None:
    dataset = fake_dataset([20, 30, 16])
    films = choose_films(RT1, dataset, None, 2, {"episode_001.npz": 12, "sub/episode_000.npz": 4})
    assert [(film.place.episode, film.place.start) for film in films] == [(1, 12), (0, 4)]
    with pytest.raises(ValueError, match="episode_002 has 16 frames, too few for a clip of 16 from frame 1 on"):
        choose_films(RT1, dataset, None, 1, {"episode_002": 1})
    with pytest.raises(ValueError, match="no episode 'other'"):
        choose_films(RT1, dataset, None, 1, {"other": 0})


def test_flat_names_carry_the_time_as_in_the_release() -> None:
    film = choose_films(PROTOCOLS["recon_rollout"], fake_dataset([40]), None, 1, {"episode_000": 7})[0]
    assert film.name == "episode_000_t0007"


def test_released_csgo_starts() -> None:
    """500 draws of NumPy's Mersenne Twister with seed 42, by the sorted names."""
    names = [f"{1 + index}-200/hdf5_dm_july2021_{index}.hdf5" for index in range(500)]
    starts = published_csgo_starts(names)
    assert len(starts) == 500 and set(starts) == set(names)
    assert [starts[name] for name in sorted(names)[:4]] == [102, 435, 860, 270]
    assert max(starts.values()) < 984
    dataset = fake_dataset([1000] * 500, size=51)
    films = choose_films(CSGO, dataset, "validation", None)
    assert [film.place.start for film in films[:4]] == [102, 435, 860, 270]
    assert len(choose_films(PROTOCOLS["csgo_long_rollout"], dataset, "validation", None)) == 50


def test_six_directions_of_one_start() -> None:
    dataset = fake_dataset([20, 30])
    films = choose_films(CONTROL, dataset, "validation", None)
    assert [film.direction for film in films] == ["X+", "X-", "Y+", "Y-", "Z+", "Z-"]
    assert len({film.place for film in films}) == 1 and {film.clip for film in films} == {0}  # and of one noise
    assert films[1].name == "episode_000_X-"
    actions = directions(13)
    for label, dimension, value in (("X+", 10, 0.1), ("X-", 10, -0.1), ("Y-", 11, -0.1), ("Z+", 12, 0.1)):
        expected = np.zeros(13, np.float32)
        expected[8], expected[dimension] = 1.0, value
        np.testing.assert_allclose(actions[label].numpy(), expected)
    with pytest.raises(ValueError, match="RT-1's, of 13 numbers; the model takes 3"):
        directions(3)


def test_held_keys_are_walking_keys_held_for_ten_frames() -> None:
    actions = held_keys(35, 51, np.random.default_rng(0)).numpy()
    assert actions.shape == (35, 51)
    keys = actions[:, :4].argmax(1)
    assert (actions[:, :4].sum(1) == 1).all() and (actions[:, 4:13] == 0).all()
    assert all(len(set(keys[start : start + 10])) == 1 for start in (0, 10, 20, 30))
    assert len(set(held_keys(400, 51, np.random.default_rng(1)).numpy()[:, :4].argmax(1))) == 4
    resting = still(3, 51).numpy()
    np.testing.assert_array_equal(np.flatnonzero(resting[0]), [13 + 11, 13 + 23 + 7])  # the mouse rests
    np.testing.assert_array_equal(actions[:, 13:], np.repeat(resting[:1, 13:], 35, 0))
    with pytest.raises(ValueError, match="51 numbers; the model takes 13"):
        held_keys(5, 13, np.random.default_rng(0))


def test_random_keys_are_one_or_none() -> None:
    actions = random_keys(2000, 51, np.random.default_rng(0)).numpy()
    pressed = actions[:, :11].sum(1)
    assert set(pressed) == {0.0, 1.0} and 0.45 < pressed.mean() < 0.55
    assert (actions[:, :11].sum(0) > 40).all() and (actions[:, 11:13] == 0).all()


def test_only_the_context_is_needed_where_nothing_is_compared() -> None:
    assert frames_needed(RT1) == 16 and frames_needed(PROTOCOLS["csgo_long_rollout"]) == 9
    assert frames_needed(replace(PROTOCOLS["csgo_long_rollout"], actions="recorded")) == 109


def test_pictures_stand_still(tmp_path: Path) -> None:
    for name, grey in (("a/0.png", 50), ("b/0.png", 200), ("b/1.jpg", 100)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (28, 15), (grey, grey, grey)).save(tmp_path / name)
    (tmp_path / "readme.txt").touch()
    dataset = open_pictures(tmp_path, 9, Letterbox(32, 48))
    films = choose_films(PROTOCOLS["csgo_ood"], dataset, "validation", 3)
    assert [film.name for film in films] == ["a_0", "b_0", "b_1"]
    episode = dataset.read(1, 0, 9)
    assert episode.frames.shape == (9, 32, 48, 3) and (episode.frames == episode.frames[0]).all()
    assert (episode.frames[:, 16, 24] == 200).all() and (episode.frames[:, 0] == 0).all()  # letterboxed
    np.testing.assert_array_equal(episode.actions, still(8, 51).numpy())
    with pytest.raises(ValueError, match="no such folder"):
        open_pictures(tmp_path / "nowhere", 9, Letterbox(32, 48))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found none"):
        open_pictures(tmp_path / "empty", 9, Letterbox(32, 48))
    (tmp_path / "a" / "0.png").write_bytes(b"\x89PNG cut off")
    with pytest.raises(ValueError, match=r"0.png: not readable as a picture"):
        dataset.read(0, 0, 2)
