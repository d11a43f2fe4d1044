"""The study of the module: its counts against closed formulas, its page, its pictures."""

from __future__ import annotations

import doctest
from pathlib import Path

import inception_study
import pytest
import torch
from PIL import Image

from inception_rcnn.backbones import INCEPTION_TABLE, GoogLeNet, googlenet

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "paper" / "inception.md"
SIDES = {"3": 28, "4": 14, "5": 7}


def test_the_counts_are_those_of_table_1() -> None:
    counted, channels = inception_study.costs_of("paper"), 192
    assert sum(parameters for parameters, _ in counted.values()) == 6_998_552
    for name, widths in INCEPTION_TABLE.items():
        weights = channels * (widths.conv1x1 + widths.reduce3x3 + widths.reduce5x5 + widths.project)
        weights += 9 * widths.reduce3x3 * widths.conv3x3 + 25 * widths.reduce5x5 * widths.conv5x5
        biases = widths.out_channels + widths.reduce3x3 + widths.reduce5x5
        assert counted[name] == (weights + biases, weights * SIDES[name[0]] ** 2)
        channels = widths.out_channels


def test_the_page_has_the_counts_and_its_examples_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (table,) = inception_study.costs()
    lines = [line for line in table.text().splitlines() if line.startswith(("| conv", "| 3", "| 4", "| 5", "| class"))]
    assert len(lines) == 12 and all(line in text for line in lines)
    assert doctest.testfile(str(PAGE), module_relative=False) == (0, 4)


@pytest.mark.parametrize("name", ["3a", "5b"])
def test_the_branches_joined_are_the_module(name: str) -> None:
    torch.manual_seed(0)
    module = GoogLeNet(0).get_submodule(f"inception_{name}").eval()
    x = torch.rand(1, module.get_submodule("conv1x1").in_channels, 5, 6)
    with torch.no_grad():
        assert torch.allclose(torch.cat(inception_study.branches_of(module, x), dim=1), module(x), atol=1e-5)


def test_the_pictures_are_drawn(tmp_path: Path) -> None:
    inception_study.draw_fields(tmp_path / "fields.jpg")
    inception_study.draw_branches(tmp_path / "branches.jpg", "coco")
    for name, size in (("fields.jpg", (1304, 760)), ("branches.jpg", (1664, 368))):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == size
        assert (tmp_path / name).stat().st_size < 300_000


def test_naive_modules_are_timed_on_their_own_maps() -> None:
    network = googlenet("naive", num_classes=0)
    with torch.inference_mode():
        maps = network.feature_maps(torch.zeros(1, 3, 64, 64), ("pool2", "pool3", "pool4"))
        inception_study.modules(network, maps)
    read = [network.get_submodule(f"inception_{name}.conv1x1").in_channels for name in ("3a", "4a", "5a")]
    assert [one.shape[1] for one in maps.values()] == read == [192, 832, 3344]
