"""The Open X-Embodiment release, converted without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.data.writers import example, record, rt1_features, shade, write_release
from world_model.data import open_dataset
from world_model.data.crc32c import crc32c
from world_model.data.rlds import convert_rt1, reading_order
from world_model.data.tfrecord import count_records, parse_example, read_records


def plain_crc32c(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def test_checksums() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43  # RFC 3720, B.4
    data = np.random.default_rng(0).integers(256, size=13_000, dtype=np.uint8).tobytes()
    for length in (0, 1, 4095, 4096, 4097, 8192, 12_345):
        assert crc32c(data[:length]) == plain_crc32c(data[:length])


def protobuf_example() -> Any:
    """The message class `tf.train.Example`, from its published description."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name: str, **fields: tuple[int, int, str]) -> descriptor_pb2.DescriptorProto:
        entry = file.message_type.add(name=name)
        for key, (number, kind, of) in fields.items():
            label = 1 if name == "Feature" or (name == "Example") else 3
            entry.field.add(name=key, number=number, label=label, type=kind, type_name=of or None)  # type: ignore[arg-type]
        return entry

    message("BytesList", value=(1, 12, ""))
    message("FloatList", value=(1, 2, ""))
    message("Int64List", value=(1, 3, ""))
    message("Feature", bytes_list=(1, 11, ".t.BytesList"), float_list=(2, 11, ".t.FloatList"))
    file.message_type[-1].field.add(name="int64_list", number=3, label=1, type=11, type_name=".t.Int64List")
    features = message("Features", feature=(1, 11, ".t.Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.field.add(name="key", number=1, label=1, type=9)
    entry.field.add(name="value", number=2, label=1, type=11, type_name=".t.Feature")
    entry.options.map_entry = True
    message("Example", features=(1, 11, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def test_examples_are_read_as_protobuf_writes_them() -> None:
    original = protobuf_example()()
    original.features.feature["pictures"].bytes_list.value.extend([b"one", b"", bytes(300)])
    original.features.feature["numbers"].float_list.value.extend([1.5, -2.0, 3e30])
    original.features.feature["counts"].int64_list.value.extend([0, 1, -1, 2**62, 300])
    original.features.feature["nothing"].float_list.SetInParent()
    read = parse_example(original.SerializeToString())
    assert read["pictures"] == [b"one", b"", bytes(300)]
    assert np.array_equal(read["numbers"], np.array([1.5, -2.0, 3e30], np.float32))
    assert read["counts"].tolist() == [0, 1, -1, 2**62, 300]  # type: ignore[union-attr]
    assert len(read["nothing"]) == 0 and set(read) == {"pictures", "numbers", "counts", "nothing"}


@pytest.mark.parametrize("content", [b"\xff" * 30, b"\x0a\x7f", example({"a": [b"b"]})[:-1], b"plain text"])
def test_other_messages_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no tf\.train\.Example"):
        parse_example(content)


def test_every_record_once_and_some_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(record(b"one") + record(b"") + record(b"three"))
    assert list(read_records(path)) == [b"one", b"", b"three"] and count_records(path) == 3
    assert list(read_records(path, skip=2)) == [b"three"]


def test_damaged_records_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    whole = record(b"one") + record(b"second")
    for kept in (5, 14, 25, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=rf"a\.tfrecord, record {int(kept > 19)}: .*truncated"):
            list(read_records(path))
        with pytest.raises(ValueError, match=r"a\.tfrecord, record \d: .*truncated"):
            count_records(path)
    for place, message in ((3, "no TFRecord, or damaged"), (13, "damaged")):
        path.write_bytes(whole[:place] + b"!" + whole[place + 1 :])
        with pytest.raises(ValueError, match=rf"a\.tfrecord, record 0: {message}"):
            list(read_records(path))


def test_the_order_of_tensorflow_datasets() -> None:
    # Two files at a time, three records in turn; the last file waits until one has ended.
    order = reading_order([4, 7, 3], cycle=2, block=3)
    files = [file for file, _ in order]
    assert files == [0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 2, 2, 2, 1]
    assert sorted(order) == [(file, i) for file, length in enumerate((4, 7, 3)) for i in range(length)]
    # A file that ends with its turn is found out in the next one, which it spends.
    assert [file for file, _ in reading_order([2, 4, 2], cycle=2, block=2)] == [0, 0, 1, 1, 1, 1, 2, 2]
    assert reading_order([], 16, 16) == []


def test_a_release_becomes_a_dataset(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", [2, 1], length=3)
    assert convert_rt1(release, tmp_path / "rt1") == 3
    names = [f"train_eps_{number:08d}.npz" for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "rt1").iterdir()) == names
    dataset = open_dataset(tmp_path / "rt1")
    episode = dataset.episode(2)
    assert episode.frames[:, 0, 0, 0].tolist() == [shade(2, t) for t in range(3)]
    assert episode.actions.tolist() == [[100 * column + t for column in range(13)] for t in range(2)]


@pytest.mark.slow
def test_several_processes_convert_the_same(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", [2, 1, 2])
    convert_rt1(release, tmp_path / "one")
    assert convert_rt1(release, tmp_path / "two", num_workers=2, progress=False) == 5
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}
    for path in (tmp_path / "one").iterdir():
        with np.load(path) as one, np.load(tmp_path / "two" / path.name) as two:
            assert all(np.array_equal(one[key], two[key]) for key in one)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from v2w import cli

    release, out = write_release(tmp_path / "release", [2, 1]), tmp_path / "rt1"
    command = ["collect", "dataset=rt1_rlds", f"path={out}", "num_workers=1", "progress=false"]
    assert cli.main([*command, f"source={release}"]) == 0
    assert f"dataset: {out}, 3 episodes" in capsys.readouterr().out
    path = out / "train_eps_00000000.npz"
    whole = path.read_bytes()
    path.write_bytes(b"damaged")
    assert cli.main([*command, f"source={release}"]) == 0 and path.read_bytes() == b"damaged"
    assert cli.main([*command, f"source={release}", "overwrite=true"]) == 0 and len(path.read_bytes()) == len(whole)
    assert cli.main(command) == 2
    assert "source: expected source=FOLDER with the release, got none" in capsys.readouterr().err
    with pytest.raises(ValueError, match="num_workers: expected 1 or more, got 0"):
        convert_rt1(release, out, num_workers=0)


def test_a_killed_conversion_goes_on(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", [3, 2])
    out = tmp_path / "rt1"
    convert_rt1(release, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    kept = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "train_eps_00000001.npz").unlink()
    (out / "train_eps_00000004.npz").unlink()
    assert convert_rt1(release, out) == 5
    for path in out.iterdir():
        with np.load(path) as new:
            assert new["image"].shape == (3, 16, 32, 3)
    assert {path.name for path in out.iterdir()} == set(before)
    assert sum(path.stat().st_mtime_ns == kept[path] for path in out.iterdir()) == 3


def test_releases_that_cannot_be_converted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: expected files \*-train\.tfrecord"):
        convert_rt1(tmp_path / "nowhere", tmp_path / "out")
    release = write_release(tmp_path / "release", [1, 1, 1])
    first, second, _ = sorted(release.iterdir())
    second.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"expected 3 files of the train split, 1 are missing \(first: \[1\]\)"):
        convert_rt1(release, tmp_path / "out")
    (tmp_path / "elsewhere").rename(second)
    first.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"00000-of-00003, record 0: the file is truncated"):
        convert_rt1(release, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps/action/world_vector": None}, "expected an RT-1 episode with steps/action/world_vector"),
        ({"steps/observation/image": None}, "expected an RT-1 episode with steps/observation/image"),
        ({"steps/action/rotation_delta": np.zeros(7, np.float32)}, "rotation_delta: expected 3 numbers for each of 3"),
        ({"steps/observation/image": [b"jpg"] * 3}, "image, step 0: not readable as an image"),
    ],
)
def test_episodes_of_another_robot(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    features = {key: value for key, value in (rt1_features(0, 3) | changes).items() if value is not None}
    (tmp_path / "release").mkdir()
    path = tmp_path / "release" / "data-train.tfrecord-00000-of-00001"
    path.write_bytes(record(example(features)))
    with pytest.raises(ValueError, match=rf"00000-of-00001, record 0: .*{message}"):
        convert_rt1(tmp_path / "release", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
