"""Measures made of networks' features, with small stand-in networks against plain float64 numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.perceptual.backbones import Backbone, Net
from benchmarks.perceptual.dreamsim import DreamSim, load_dreamsim
from benchmarks.perceptual.i3d import FilmFeatures, load_i3d
from benchmarks.perceptual.inception import Convolution, Inception, load_inception
from benchmarks.perceptual.lpips import LPIPS, load_lpips
from benchmarks.perceptual.weights import FILES, check_files, read_weights, weights_folder

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # I3D is published as TorchScript


class TwoMaps(nn.Module):
    """A stand-in backbone: two 1x1 convolutions, the second on every other pixel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        first = F.relu(self.first(images))
        return [first, F.relu(self.second(first[..., ::2, ::2]))]


def images(count: int = 2, height: int = 6, width: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def scrambled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights that keep activations at about one size through many layers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.fill_(1.0)
            elif value.is_floating_point() and value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
    return network


def test_lpips_is_the_definition() -> None:
    """Unit-length features, squared differences weighted by channel, averaged over pixels, summed over maps."""
    backbone, heads = TwoMaps(), [torch.rand(4), torch.rand(5)]
    a, b = images(), images(seed=1)
    measured = LPIPS(backbone, heads)(a, b)

    def maps(x: Tensor) -> list[np.ndarray]:
        shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
        pixels = (2 * np.moveaxis(x.double().numpy(), 1, -1) - 1 - shift) / scale

        def layer(conv: nn.Conv2d, x: np.ndarray) -> np.ndarray:
            weight = conv.weight.detach().double().numpy()[:, :, 0, 0]
            return np.maximum(x @ weight.T + conv.bias.detach().double().numpy(), 0)  # type: ignore[union-attr]

        first = layer(backbone.first, pixels)
        found = [first, layer(backbone.second, first[:, ::2, ::2])]
        return [m / np.sqrt((m**2).sum(-1, keepdims=True) + 1e-8) for m in found]

    expected = sum(
        (((p - q) ** 2) @ head.double().numpy()).mean((1, 2))
        for p, q, head in zip(maps(a), maps(b), heads, strict=True)
    )
    np.testing.assert_allclose(measured.detach().numpy(), expected, rtol=1e-4)
    np.testing.assert_array_equal(LPIPS(backbone, heads)(a, a).detach().numpy(), 0.0)


@pytest.mark.parametrize(
    ("net", "channels", "parameters"),
    [("vgg", [64, 128, 256, 512, 512], 14_714_688), ("alex", [64, 192, 384, 256, 256], 2_469_696)],
)
def test_backbones_have_the_published_size(net: Net, channels: list[int], parameters: int) -> None:
    with torch.device("meta"):
        backbone = Backbone(net)
    assert backbone.channels == channels
    assert sum(p.numel() for p in backbone.parameters()) == parameters


def test_lpips_reads_published_files(tmp_path: Path) -> None:
    """Those hold the classifier as well, which is left out; the channels' weights come with torchmetrics."""
    backbone = scrambled(Backbone("alex"))
    state = {**backbone.state_dict(), "classifier.1.weight": torch.zeros(2)}
    torch.save(state, tmp_path / FILES["lpips_alex"].name)
    measure = load_lpips("alex", tmp_path)
    a, b = images(1, 64, 64), images(1, 64, 64, seed=1)
    with torch.no_grad():
        near, far = measure(a, (a + 0.02).clamp(0, 1)), measure(a, b)
        maps = zip(backbone((2 * a - 1 - measure.shift) / measure.scale), measure.heads, strict=True)
        assert [m.shape[1] == len(head) for m, head in maps] == [True] * 5
    assert 0 < near < far


def test_inception_has_the_published_size_and_names() -> None:
    with torch.device("meta"):
        network = Inception()
    assert (
        sum(p.numel() for p in network.parameters()) == 21_785_568
    )  # torchvision's without classifier and side branch
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["Conv2d_4a_3x3.conv.weight"] == (192, 80, 3, 3)
    assert shapes["Mixed_5d.branch_pool.conv.weight"] == (64, 288, 1, 1)
    assert shapes["Mixed_6c.branch7x7dbl_4.conv.weight"] == (160, 160, 7, 1)
    assert shapes["Mixed_7a.branch7x7x3_4.bn.running_var"] == (192,)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)


def test_inception_block_is_its_parts() -> None:
    """One block of each kind of pooling against convolutions written out in float64."""
    network = scrambled(Inception()).eval()
    x = torch.randn(1, 2048, 5, 5, generator=torch.Generator().manual_seed(1))

    def apply(layer: Convolution, y: Tensor) -> Tensor:
        conv, bn = layer.conv, layer.bn
        y = F.conv2d(y, conv.weight.double(), None, conv.stride, conv.padding)
        assert bn.running_mean is not None and bn.running_var is not None
        y = (y - bn.running_mean.double().view(-1, 1, 1)) / (bn.running_var.double().view(-1, 1, 1) + 1e-3).sqrt()
        return F.relu(y * bn.weight.double().view(-1, 1, 1) + bn.bias.double().view(-1, 1, 1))

    block, y = network.get_submodule("Mixed_7c"), x.double()
    part = {name: child for name, child in block.named_children() if isinstance(child, Convolution)}
    single = apply(part["branch3x3_1"], y)
    double = apply(part["branch3x3dbl_2"], apply(part["branch3x3dbl_1"], y))
    expected = torch.cat(
        [
            apply(part["branch1x1"], y),
            apply(part["branch3x3_2a"], single),
            apply(part["branch3x3_2b"], single),
            apply(part["branch3x3dbl_3a"], double),
            apply(part["branch3x3dbl_3b"], double),
            apply(part["branch_pool"], F.max_pool2d(y, 3, stride=1, padding=1)),
        ],
        dim=1,
    )
    with torch.no_grad():
        measured = block(x)
    torch.testing.assert_close(measured.double(), expected.detach(), rtol=1e-4, atol=1e-4)

    block, y = network.get_submodule("Mixed_7b"), x[:, :1280].double()
    corner = y[:, :, :2, :2].mean((2, 3))  # the padding does not count
    pooled = F.avg_pool2d(y, 3, stride=1, padding=1, count_include_pad=False)
    torch.testing.assert_close(pooled[:, :, 0, 0], corner)
    with torch.no_grad():
        measured = block(x[:, :1280])[:, -192:]
    wanted = apply(block.get_submodule("branch_pool"), pooled)  # type: ignore[arg-type]
    torch.testing.assert_close(measured.double(), wanted.detach(), rtol=1e-4, atol=1e-4)


def test_inception_reads_published_weights(tmp_path: Path) -> None:
    network = scrambled(Inception())
    state = {name: v for name, v in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save({**state, "fc.weight": torch.zeros(1008, 2048)}, tmp_path / FILES["fid"].name)
    loaded = load_inception(tmp_path)
    assert not loaded.training
    with torch.no_grad():
        features = loaded(images(1, 60, 80))
        torch.testing.assert_close(features, network.eval()(images(1, 60, 80)))
    assert features.shape == (1, 2048)


class FilmNetwork(nn.Module):
    """A stand-in for I3D, called as it is: the mean of each colour over the film, and the change in time."""

    def forward(self, film: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        assert not rescale and not resize and return_features
        assert film.shape[1] == 3 and film.shape[3] == 224 and film.shape[4] == 224
        return torch.cat([film.mean((2, 3, 4)), (film[:, :, 1:] - film[:, :, :-1]).abs().mean((2, 3, 4))], dim=1)


def test_film_features_see_the_film_as_i3d_wants_it(tmp_path: Path) -> None:
    torch.jit.script(FilmNetwork()).save(str(tmp_path / FILES["fvd"].name))
    features = load_i3d(tmp_path)
    film = torch.linspace(0, 1, 10).view(10, 1, 1, 1).expand(10, 3, 20, 30)
    found = features(film)
    np.testing.assert_allclose(found[:3].numpy(), 0.0, atol=1e-5)  # black is -1, white is 1
    np.testing.assert_allclose(found[3:].numpy(), 2 / 9, atol=1e-5)
    with pytest.raises(ValueError, match="at least 9 frames, got 8"):
        FilmFeatures(FilmNetwork())(film[:8])


class Colours(nn.Module):
    """A stand-in for DreamSim's embedding: the mean colours."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] == 224 and x.shape[3] == 224
        return x.mean((2, 3))


def test_dreamsim_is_one_minus_the_cosine(tmp_path: Path) -> None:
    torch.jit.script(Colours()).save(str(tmp_path / FILES["dreamsim"].name))
    a, b = torch.zeros(2, 3, 30, 40), torch.zeros(2, 3, 30, 40)
    a[:, 0], b[0, 0], b[1, 1] = 1.0, 0.4, 0.6
    distances = load_dreamsim(tmp_path)(a, b)
    np.testing.assert_allclose(distances.numpy(), [0.0, 1.0], atol=1e-5)  # the same colour, another one
    assert DreamSim(Colours())(a, a).abs().max() < 1e-5


def test_missing_weights_are_all_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.perceptual.weights._installed", lambda package: False)
    with pytest.raises(FileNotFoundError) as caught:
        check_files(["lpips_vgg", "fid", "fvd", "dreamsim"], tmp_path)
    for key in ("lpips_vgg", "fid", "fvd", "dreamsim"):
        assert FILES[key].name in str(caught.value) and FILES[key].source in str(caught.value)
    assert "V2W_METRIC_WEIGHTS" in str(caught.value)
    (tmp_path / FILES["fid"].name).touch()
    check_files(["fid"], tmp_path)


def test_where_weights_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V2W_METRIC_WEIGHTS", "from/environment")
    assert weights_folder("given") == Path("given")
    assert weights_folder() == Path("from/environment")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no weights at all"])
def test_damaged_weights_are_named(tmp_path: Path, content: bytes) -> None:
    for key, load in (("lpips_alex", lambda f: load_lpips("alex", f)), ("fvd", load_i3d), ("dreamsim", load_dreamsim)):
        path = tmp_path / FILES[key].name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name}.*fetch it again"):
            load(tmp_path)


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    expected = {"a": torch.zeros(2), "b": torch.zeros(3)}
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(2), "c": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"1 missing \['b'\], 1 unknown \['c'\]"):
        read_weights(path, expected)
    torch.save({"a": torch.zeros(2), "b": torch.zeros(4)}, path)
    with pytest.raises(ValueError, match=r"1 of another shape \['b'\]"):
        read_weights(path, expected)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="dictionary of tensors, got a list"):
        read_weights(path, expected)
