"""Maps inside the trunk: what they equal, and which pixels their cells look at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import MAPS, GoogLeNet
from inception_rcnn.backbones.feature_maps import FIRST_CENTRES, STRIDES, cells_of_maps, feature_maps
from inception_rcnn.structures import InputError


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """A trunk that passes on whatever is not zero: positive weights, no bias, and float64, in which 427 pixels away a
    share of 1e-10 is left and convolutions are plain sums, so that what no pixel reaches is exactly 0.
    """
    torch.manual_seed(0)
    made = GoogLeNet(num_classes=0).double().eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.abs_()
    return made


def responses(network: GoogLeNet, stage: str, lines: list[int], length: int, *, across: bool) -> Tensor:
    """Which cells (len(lines), n) along an axis answer to a line of one pixel at each of these places."""
    images = torch.zeros(len(lines), 3, 32, length, dtype=torch.float64)
    for row, line in enumerate(lines):
        images[row, :, :, line] = 1
    images = images if across else images.transpose(2, 3).contiguous()
    with torch.no_grad():
        found = feature_maps(network, images, [stage])[stage]
    return (found > 0).any(dim=1).any(dim=1 if across else 2)


@pytest.mark.parametrize("across", [True, False], ids=["across", "down"])
@pytest.mark.parametrize(
    ("stage", "length"), [("conv1", 32), ("pool1", 40), ("conv2", 64), ("pool2", 96), ("3b", 192), ("4e", 640)]
)
def test_cells_are_centred_where_the_table_says(network: GoogLeNet, stage: str, length: int, across: bool) -> None:
    """Each cell answers to the impulses of an interval of pixels; the table has its middle and its length."""
    cells = cells_of_maps()[stage]
    stride = cells.stride
    # A stride's worth of neighbouring lines shows every distance from a cell that there is.
    lines = list(range(length // 2, length // 2 + stride))
    answers = responses(network, stage, lines, length, across=across)
    assert not answers[:, 0].any() and not answers[:, -1].any()  # the image is long enough
    distances = sorted(lines[row] - stride * cell for row, cell in answers.nonzero().tolist())
    assert len(distances) == distances[-1] - distances[0] + 1 == cells.field
    assert (distances[0] + distances[-1]) / 2 == cells.centre


def test_cells_are_those_of_the_published_table() -> None:
    """Stride, side of what a cell looks at, centre of cell 0."""
    found = {name: (cells.stride, cells.field, cells.centre) for name, cells in cells_of_maps().items()}
    assert found["3a"] == (8, 59, 6) and found["3b"] == (8, 91, 6)
    assert [found[name] for name in ("4a", "4c", "4e")] == [(16, 171, 14), (16, 299, 14), (16, 427, 14)]
    assert found["5a"] == (32, 587, 30) and found["5b"] == (32, 715, 30)
    assert cells_of_maps(last_pool=2)["5b"].centre == 22
    assert STRIDES == {"3b": 8, "4e": 16, "5b": 32} and FIRST_CENTRES == {"3b": 6, "4e": 14, "5b": 30}


def test_maps_are_the_trunks_before_its_pooling(network: GoogLeNet) -> None:
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = feature_maps(network, images, ["5b", "3b", "4e"])
        assert {name: tuple(one.shape) for name, one in maps.items()} == {
            "3b": (2, 480, 8, 12),
            "4e": (2, 832, 4, 6),
            "5b": (2, 1024, 2, 3),
        }
        torch.testing.assert_close(maps["5b"], network.trunk(images))
        torch.testing.assert_close(
            network.stage("5a", network.trunk(images, stop="4e")), network.trunk(images, stop="5a")
        )
        before = network.trunk(images, stop="4d")
        torch.testing.assert_close(maps["4e"], network.get_submodule("inception_4e")(before))


def test_maps_before_and_behind_every_pooling(network: GoogLeNet) -> None:
    """Each map alone is what all of them together have; those behind poolings are the trunk's."""
    images = torch.rand(1, 3, 65, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        every = network.feature_maps(images, list(MAPS))
        assert list(every) == list(MAPS)
        for name in MAPS:
            (alone,) = network.feature_maps(images, [name]).values()
            assert torch.equal(alone, every[name])
        for before, behind, stage in (
            ("conv2", "pool2", "conv2"),
            ("3b", "pool3", "3b"),
            ("4e", "pool4", "4e"),
            ("conv1", "pool1", "conv1"),
        ):
            assert every[before].shape[2] in (2 * every[behind].shape[2], 2 * every[behind].shape[2] + 1)
            assert torch.equal(every[behind], network.trunk(images, stop=stage))
        assert torch.equal(every["pool3"], functional.max_pool2d(every["3b"], 3, 2, ceil_mode=True))
        assert torch.equal(every["conv1"], network.conv1(images).relu())
    assert network.feature_maps(images, []) == {}


def test_an_unknown_stage_is_named(network: GoogLeNet) -> None:
    with pytest.raises(InputError, match="unknown map '6a'; the trunk's maps are conv1, pool1, conv2, pool2, 3a"):
        feature_maps(network, torch.zeros(1, 3, 64, 64), ["3b", "6a"])
