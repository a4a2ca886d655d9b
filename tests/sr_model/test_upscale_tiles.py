"""Tiles: the margin is exactly what a net sees, and a picture in tiles is the picture at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lakerank.cli.errors import UserError
from sr_model.inference.tiles import Bicubic, margin_of, spans, upscale_tiled
from sr_model.nets.ensemble import SelfEnsemble
from sr_model.nets.msrresnet import MSRResNet
from sr_model.nets.srresnet import SRResNet
from sr_model.nets.tiny import Tiny


class Chain(nn.Module):
    """Convolutions one after the other, then a pixel shuffle ×2; sees half the kernels' sum."""

    scale = 2

    def __init__(self, kernels: list[tuple[int, int]], mode: str = "zeros", dilation: int = 1) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(nn.Conv2d(3, 3, kernel, padding="same", padding_mode=mode, dilation=dilation) for kernel in kernels),
            nn.Conv2d(3, 12, 1),
            nn.PixelShuffle(2),
        )

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        return self.convs(lr_NCHW)


class Pooled(Chain):
    """Adds the mean of the whole picture."""

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        return super().forward(lr_NCHW) + lr_NCHW.mean(dim=(2, 3), keepdim=True)


def loud(net: nn.Module) -> nn.Module:
    """Weights so large that what lies at the edge of a net's view shows in its output."""
    torch.manual_seed(3)
    for parameter in net.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
    return net.eval()


NETS = {
    "srresnet": lambda: SRResNet(blocks=1, width=4),
    "msrresnet": lambda: MSRResNet(blocks=1, width=4),
    "tiny": lambda: Tiny(blocks=1, width=4),
    "reflecting": lambda: Chain([(3, 3), (5, 5)], "reflect"),
    "dilated": lambda: Chain([(3, 3)], dilation=3),
    "ensemble": lambda: SelfEnsemble(Chain([(3, 7)])),  # turned, it sees as far in the other direction
}


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, (height, width, channels)).astype(np.float32)


@pytest.mark.parametrize(
    ("net", "margin"),
    [
        (Chain([(1, 1)]), 0),
        (Chain([(3, 3)]), 1),
        (Chain([(3, 3), (5, 5), (7, 7)]), 6),
        (Chain([(3, 3)], dilation=3), 3),
        (Chain([(9, 1)]), 4),
        (Chain([(1, 9)]), 4),
        (Chain([(31, 31)] * 4), 60),  # farther than the first probe looks
        (Bicubic(4), 2),
        (Tiny(blocks=2, width=4), 6),
        # 9×9 and two 3×3 below, then 3×3 at ×1 and ×2 and 9×9 at ×4: 4 + 2 + 1 + 1 + 1/2 + 4/4, whole pixels
        (SRResNet(blocks=1, width=4), 10),
    ],
)
def test_margin_is_known_for_known_nets(net: nn.Module, margin: int) -> None:
    assert margin_of(net.eval()) == margin


def test_a_net_that_sees_the_whole_picture_is_refused_in_tiles_only() -> None:
    net = Pooled([(3, 3)]).eval()
    with pytest.raises(UserError, match="--tile 0"):
        margin_of(net)
    with pytest.raises(UserError, match="--tile 0"):
        upscale_tiled(net, noise(40, 40), tile=16)
    assert upscale_tiled(net, noise(40, 40), tile=0).shape == (80, 80, 3)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(33, 47), (64, 20)])
@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_equal_the_whole(name: str, size: tuple[int, int], batch: int) -> None:
    net, image = loud(NETS[name]()), noise(*size)
    whole = upscale_tiled(net, image, tile=0)
    tiled = upscale_tiled(net, image, tile=9, batch=batch)
    assert np.abs(whole - tiled).max() < 1e-4 * max(1.0, np.abs(whole).max())


@pytest.mark.parametrize("name", ["srresnet", "tiny", "reflecting", "dilated"])
def test_a_margin_one_pixel_short_shows(name: str) -> None:
    """So the test above does see seams."""
    net, image = loud(NETS[name]()), noise(33, 47)
    whole = upscale_tiled(net, image, tile=0)
    short = upscale_tiled(net, image, tile=9, overlap=margin_of(net) - 1)
    assert np.abs(whole - short).max() > 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_the_nets_output_rounded_and_clamped(dtype: type) -> None:
    net, top = loud(Tiny(blocks=1, width=4)), np.iinfo(dtype).max
    image = np.random.default_rng(1).integers(0, top, (13, 11, 3), endpoint=True).astype(dtype)
    made = upscale_tiled(net, image, tile=5)
    with torch.no_grad():
        x = torch.from_numpy(image.astype(np.float32) / top * 2 - 1).permute(2, 0, 1)[None]
        wanted = ((net(x)[0].permute(1, 2, 0).clamp(-1, 1) + 1) / 2 * top).numpy()
    assert made.dtype == dtype
    assert made.min() == 0
    assert made.max() == top  # both ends were clamped
    assert np.abs(made - wanted).max() <= 0.5 + top * 1e-6


def test_grey_is_the_luma_of_three_equal_channels() -> None:
    net = loud(SRResNet(blocks=1, width=4))
    grey = noise(9, 8, 1)
    colour = upscale_tiled(net, np.repeat(grey, 3, axis=2), tile=0)
    luma = colour @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(upscale_tiled(net, grey, tile=4)[..., 0], luma, atol=1e-5)


def test_bicubic_is_pillows() -> None:
    values = np.random.default_rng(2).integers(90, 160, (12, 17), dtype=np.uint8)  # no overshoot to clamp
    wanted = np.asarray(Image.fromarray(values).resize((68, 48), Image.Resampling.BICUBIC), np.int16)
    made = upscale_tiled(Bicubic(4), values[..., None], tile=7)[..., 0]
    assert np.abs(made.astype(np.int16) - wanted).max() <= 1  # Pillow rounds after each of its two passes


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 3)])
@pytest.mark.parametrize("name", ["srresnet", "msrresnet", "tiny"])
def test_smallest_pictures(name: str, size: tuple[int, int]) -> None:
    assert upscale_tiled(loud(NETS[name]()), noise(*size), tile=8).shape == (4 * size[0], 4 * size[1], 3)


def test_a_memory_mapped_file_takes_the_result(tmp_path: Path) -> None:
    net, image = loud(Tiny(blocks=1, width=4)), noise(20, 21)
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=(80, 84, 3))
    assert upscale_tiled(net, image, tile=8, out=out) is out
    np.testing.assert_array_equal(out, upscale_tiled(net, image, tile=8))
    with pytest.raises(ValueError, match="out must be"):
        upscale_tiled(net, image, tile=8, out=out[:-1])


def test_progress_counts_every_input_pixel_once() -> None:
    seen: list[int] = []
    upscale_tiled(loud(Tiny(blocks=1, width=4)), noise(31, 17), tile=8, advance=seen.append)
    assert sum(seen) == 31 * 17
    assert len(seen) == 4 * 3


@pytest.mark.parametrize(("length", "tile", "margin"), [(1, 8, 3), (8, 8, 3), (9, 8, 0), (100, 7, 12), (50, 0, 4)])
def test_cores_cover_each_pixel_once(length: int, tile: int, margin: int) -> None:
    parts = spans(length, tile, margin)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(length))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= (tile or length)
    for part in parts:
        assert part.low == max(0, part.start - margin)
        assert part.high == min(length, part.stop + margin)


def test_what_is_no_picture_is_refused() -> None:
    net = Tiny(blocks=1, width=4).eval()
    for wrong in (noise(4, 4, 2), noise(4, 4)[..., 0], noise(0, 4), noise(4, 4).astype(np.float64)):
        with pytest.raises(ValueError, match="a picture must be"):
            upscale_tiled(net, wrong)


def test_a_net_with_another_factor_than_it_says_is_found_out() -> None:
    net = Chain([(3, 3)]).eval()
    net.scale = 4
    with pytest.raises(ValueError, match="not 4 times"):
        upscale_tiled(net, noise(8, 8), tile=0)
