"""The hub, played by stand-ins: what is asked of it, and what is said when it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from world_model.checkpoints.download import CATALOG, NAMES, download, hub_id, published_name


def test_all_eight_releases_are_known() -> None:
    assert list(NAMES) == ["RT1", "CSGO", "RECON", "RT1-NAG", "RT1-Masked-NAG", "RT1-30k", "RT1-Masked", "RT1-Shift"]
    assert NAMES["RT1-Masked-NAG"] == "thuml/Vid2World-RT1-Masked-NAG"
    assert CATALOG["RECON"].layout.window == 20 and CATALOG["RT1"].layout.window == 16


@pytest.mark.parametrize("name", ["RT1-30k", "rt1-30K", "Vid2World-RT1-30k", "thuml/Vid2World-RT1-30k"])
def test_names_are_understood_in_every_spelling(name: str) -> None:
    assert hub_id(name) == "thuml/Vid2World-RT1-30k"


@pytest.mark.parametrize("name", ["RT2", "thuml/Other", "someone/Vid2World-RT1", ""])
def test_unknown_names_list_the_known(name: str) -> None:
    assert published_name(name) is None
    with pytest.raises(ValueError, match=r"no published checkpoint is called.*RT1, CSGO, RECON"):
        hub_id(name)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[dict[str, Any]]]:
    """``hub(answer)`` replaces the hub: it answers with a folder or raises an error; returns the calls."""

    def play(answer: Any) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def snapshot_download(repo_id: str, **arguments: Any) -> str:
            calls.append({"repo_id": repo_id, **arguments})
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return calls

    return play


def test_a_download_asks_for_checkpoints_only(hub: Any, tmp_path: Path) -> None:
    calls = hub(tmp_path)
    assert download("RT1", cache_dir=tmp_path / "cache", token="secret", offline=True) == tmp_path
    (call,) = calls
    assert call["repo_id"] == "thuml/Vid2World-RT1" and call["cache_dir"] == tmp_path / "cache"
    assert call["token"] == "secret" and call["local_files_only"] is True
    assert "*.ckpt" in call["allow_patterns"] and "*.safetensors" in call["allow_patterns"]
    download("CSGO")
    assert calls[1]["local_files_only"] is False and calls[1]["token"] is None


def response(status: int) -> Any:
    """What the errors look at; the library has changed its HTTP client more than once."""
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.mark.parametrize(
    "error, message",
    [
        (
            lambda: errors.LocalEntryNotFoundError("no"),
            "not in the cache .no connection.*v2w download RT1.*file's path",
        ),
        (lambda: errors.OfflineModeIsEnabled("no"), "not in the cache .offline"),
        (lambda: errors.RepositoryNotFoundError("no", response=response(404)), "no such model, or not for you"),
        (lambda: errors.GatedRepoError("no", response=response(403)), "hf auth login"),
        (lambda: errors.HfHubHTTPError("server", response=response(500)), "the download failed.*goes on where it"),
        (lambda: OSError("No space left on device"), "the download failed .OSError: No space left"),
    ],
)
def test_the_hubs_errors_are_explained(hub: Any, error: Callable[[], Exception], message: str) -> None:
    hub(error())
    with pytest.raises(ValueError, match=f"thuml/Vid2World-RT1.*{message}"):
        download("RT1")


def test_offline_without_a_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library, asked to look only into an empty cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="thuml/Vid2World-RT1 is not in the cache .offline"):
        download("RT1", cache_dir=tmp_path, offline=True)


def test_offline_with_a_cache_finds_the_file(tmp_path: Path) -> None:
    """The cache's own layout, as the library writes it."""
    snapshot = tmp_path / "models--thuml--Vid2World-RT1" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.ckpt").write_bytes(b"weights")
    refs = tmp_path / "models--thuml--Vid2World-RT1" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    assert (download("RT1", cache_dir=tmp_path, offline=True) / "model.ckpt").read_bytes() == b"weights"
