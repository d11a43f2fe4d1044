"""Weights stored as int8: the nearest level of each channel, expanded on loading, and damaged files refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inception_rcnn.backbones import googlenet, load_into, read_checkpoint, write_checkpoint
from inception_rcnn.backbones.checkpoints import in_type
from inception_rcnn.backbones.rounding import expanded, rounded
from inception_rcnn.structures import CheckpointError


def some_weights() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 64, 3, 3, generator=generator) * torch.logspace(-3, 2, 8)[:, None, None, None]


def test_every_channel_has_its_own_step_and_no_weight_is_further_than_half_of_it_unless_cut() -> None:
    weight = some_weights()
    stored = rounded({"w": weight})
    scale, levels = stored["w/int8-scale"], stored["w"]
    assert levels.dtype == torch.int8 and int(levels.min()) >= -127
    error = (expanded(stored)["w"] - weight).abs()
    uncut = levels.abs() < 127
    assert bool((error <= scale[:, None, None, None] * 0.5001)[uncut].all())
    assert float(uncut.float().mean()) > 0.98


def test_the_step_is_the_best_of_a_slow_search() -> None:
    """Of the same candidates, channel by channel, in Python."""
    weight = some_weights()
    scale = rounded({"w": weight})["w/int8-scale"]
    for row, chosen in zip(weight.flatten(1).double()[:3], scale.double()[:3], strict=True):
        errors = {}
        for cut in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7):
            step = float(row.abs().max()) * cut / 127
            errors[step] = sum((max(-127, min(127, round(float(x) / step))) * step - float(x)) ** 2 for x in row)
        best = min(errors, key=lambda step: errors[step])
        assert errors[best] == pytest.approx(errors[min(errors, key=lambda step: abs(step - float(chosen)))], rel=1e-3)


def test_small_tensors_and_biases_stay_floating_point_numbers() -> None:
    stored = rounded({"bias": torch.ones(5000), "small": torch.ones(4, 4), "zero": torch.zeros(2, 4096)})
    assert stored["bias"].dtype == stored["small"].dtype == torch.float16
    assert torch.equal(expanded(stored)["zero"], torch.zeros(2, 4096))


def test_a_network_in_a_file_comes_back_half_as_large_as_fp16_and_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = googlenet(num_classes=3)
    paths = {}
    for dtype in (torch.float16, torch.int8):
        paths[dtype] = tmp_path / f"{dtype}.safetensors".replace("torch.", "")
        write_checkpoint(paths[dtype], "googlenet", {}, in_type(network.state_dict(), dtype, paths[dtype]))
    sizes = {dtype: path.stat().st_size for dtype, path in paths.items()}
    assert sizes[torch.int8] < 0.52 * sizes[torch.float16]
    back = googlenet(num_classes=3)
    load_into(back, read_checkpoint(paths[torch.int8], "googlenet"))
    for name, ours in back.state_dict().items():
        theirs = network.state_dict()[name]
        assert float((ours - theirs).abs().max()) <= float(theirs.abs().max()) * 0.31 + 1e-6, name
    ours, theirs = back.conv1.weight.detach(), network.conv1.weight.detach()
    relative = (ours - theirs).norm() / theirs.norm()
    assert float(relative) < 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("w"), "stands beside no int8 tensor"),
        (lambda t: t.update({"w": t["w"].float()}), "stands beside no int8 tensor"),
        (lambda t: t.update({"w/int8-scale": t["w/int8-scale"][:-1]}), "should have a float32 for each of"),
        (lambda t: t.update({"w/int8-scale": t["w/int8-scale"].half()}), "should have a float32 for each of"),
        (lambda t: t["w/int8-scale"].fill_(float("nan")), "negative or not finite"),
        (lambda t: t["w/int8-scale"].neg_(), "negative or not finite"),
    ],
)
def test_scales_that_do_not_fit_are_refused_with_the_files_name(tmp_path: Path, change: object, message: str) -> None:
    stored = rounded({"w": some_weights()})
    change(stored)  # type: ignore[operator]
    path = tmp_path / "damaged.safetensors"
    write_checkpoint(path, "googlenet", {}, stored)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(path, "googlenet")
    assert str(path) in str(error.value)


def test_what_fp16_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not finite as torch\.float16; nothing was written"):
        in_type({"bias": torch.full((3,), 1e6)}, torch.int8, tmp_path / "x.safetensors")
