"""What an installed copy contains: every package, its type marker, the YAML files and the shipped models."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("world_model", "v2w_env", "planners", "agents", "benchmarks", "configs", "v2w")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this source tree, built from a copy so that nothing is left behind here."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    out = tmp_path_factory.mktemp("wheel")
    result = subprocess.run(
        [sys.executable, "-c", build, str(out)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_every_source_file_and_data_file_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and (path.suffix in (".py", ".yaml") or path.name == "py.typed" or "bundles" in path.parts)
        and "__pycache__" not in path.parts
        and "results" not in path.parts
    }
    assert not wanted - inside
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside


def test_nothing_else_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist() if ".dist-info" not in name}
    assert tops == set(PACKAGES)


def test_the_metadata_names_command_licence_and_extras(wheel: zipfile.ZipFile) -> None:
    names = {name.rpartition("/")[2]: name for name in wheel.namelist() if ".dist-info" in name}
    metadata = wheel.read(names["METADATA"]).decode()
    for line in (
        "Name: vid2world-gym",
        "License-Expression: MIT",
        "Provides-Extra: sim",
        "Provides-Extra: data",
        "Provides-Extra: dev",
    ):
        assert line in metadata
    assert "v2w = v2w.cli:main" in wheel.read(names["entry_points.txt"]).decode()


def test_weights_stay_small() -> None:
    files = [path for path in (ROOT / "v2w_env" / "bundles").rglob("*") if path.is_file()]
    for path in files:
        assert path.stat().st_size <= 10e6, f"{path}: {path.stat().st_size / 1e6:.1f} MB, at most 10 MB are shipped"
    assert 0 < sum(path.stat().st_size for path in files) <= 40e6
