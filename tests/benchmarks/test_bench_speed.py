"""What the speed benchmark is made of: times in turns, ratios of pairs, tables, the work of a network, plain peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import bench_speed
import machine
import numpy as np
import pytest
import speed_measures
import speed_ours
import speed_peers
import torch
from skimage import data
from speed_measures import Spread, Table
from torch import nn

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet, InputSpec
from inception_rcnn.backbones.inception import INCEPTION_TABLE
from inception_rcnn.detector import ClassifierDescription, PoolingSpec, RegionClassifier, Runtime
from inception_rcnn.detector.ensemble import shared_stages
from inception_rcnn.structures import load_image, nms_per_class

SCRIPT = Path(bench_speed.__file__)
PATHS = (str(SCRIPT.parent.parent / "src"), str(SCRIPT.parent))


def test_spread_is_median_and_ends() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, pytest.approx(1.1), pytest.approx(2.9))
    assert Spread.of([0.25]).text() == "0.250 (0.250-0.250)"


def test_ratio_is_of_pairs_not_of_medians() -> None:
    assert speed_measures.ratio([2.0, 40.0, 6.0], [1.0, 10.0, 6.0]).median == 2.0
    with pytest.raises(ValueError, match="no pairs"):
        speed_measures.ratio([1.0], [1.0, 2.0])


def test_table_prints_markdown_and_keeps_plain_values() -> None:
    table = Table("Title", ("what", "s", "n"), note="Note.")
    table.add("a", Spread(0.5, 0.4, 0.625), 1234.5)
    table.add("b", None, 0.01234)
    with pytest.raises(ValueError, match="2 cells for 3"):
        table.add("c", 1)
    printed = table.text().splitlines()
    assert printed[:2] == ["## Title", "Note."]
    assert printed[3:] == [
        "| what | s | n |",
        "|---|---|---|",
        "| a | 0.500 (0.400-0.625) | 1,234 |",
        "| b | - | 0.0123 |",
    ]
    first = ["a", {"median": 0.5, "low": 0.4, "high": 0.625}, 1234.5]
    assert json.loads(json.dumps(table.record()))["rows"] == [first, ["b", None, 0.01234]]


def test_calls_take_turns_and_the_first_of_each_is_not_timed() -> None:
    order: list[tuple[str, int]] = []
    calls = {name: (lambda item, name=name: order.append((name, item))) for name in "abc"}
    seconds = speed_measures.interleaved(calls, [1, 2], 2)  # type: ignore[arg-type]
    assert order[:3] == [("a", 1), ("b", 1), ("c", 1)]
    assert [name for name, _ in order[3:]] == list("abcbcacababc")
    assert [item for _, item in order[3::3]] == [1, 2, 1, 2]
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 4, "b": 4, "c": 4}


def head_work(cells: int, fine: int, mean: bool, classes: int) -> int:
    """Two FLOP a product of what a region needs by itself, from the table of the architecture."""
    total, channels = 832 * fine * cells**2, 832
    for name in ("5a", "5b"):
        w = INCEPTION_TABLE[name]
        once = channels * (w.conv1x1 + w.reduce3x3 + w.reduce5x5 + w.project)
        total += cells**2 * (once + 9 * w.reduce3x3 * w.conv3x3 + 25 * w.reduce5x5 * w.conv5x5)
        channels = w.out_channels
    return 2 * (total + (channels + 832 * mean) * (classes + 1 + 4))


@pytest.mark.parametrize(("cells", "fine", "mean"), [(7, 256, True), (5, 64, False)])
def test_work_of_a_pooled_region_is_that_of_mix_and_head(cells: int, fine: int, mean: bool) -> None:
    spec = PoolingSpec(cells=cells, fine_channels=fine, image_mean=mean)
    described = ClassifierDescription(("cat", "person"), CAFFE_INPUT, pooling=spec, box_regression=True)
    few, many = (speed_measures.network_flops(described, 500, 375, regions) for regions in (3, 10))
    assert many - few == 7 * head_work(cells, fine, mean, 2)


def test_work_of_a_warped_region_is_googlenet_s() -> None:
    described = ClassifierDescription(("cat", "person"), InputSpec(context=16))
    assert speed_measures.network_flops(described, 500, 375, 4) == 4 * speed_measures.network_flops(described, 9, 9, 1)
    # 1.6e9 multiplications with additions, of which 1.5e9 are the paper's; the normalisations' sums are the rest.
    assert 3.0e9 < speed_measures.network_flops(described, 500, 375, 1) < 3.6e9


def test_matrix_rate_is_of_this_century() -> None:
    assert 1e8 < speed_measures.matrix_rate(torch.float32, side=64, repeats=1) < 1e15


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["sse2"], "neither AVX512 nor AVX2 known"),
        (["avx2"], "AVX2 alone"),
        (["avx2", "avx512f"], "AVX512 without bfloat16"),
        (["avx2", "avx512f", "avx512_bf16"], "AVX512-BF16"),
        (["avx2", "avx512f", "amx_bf16", "avx512_bf16"], "AMX and AVX512-BF16"),
    ],
)
def test_machine_says_what_it_multiplies_with(flags: list[str], expected: str) -> None:
    assert machine.instructions_of(flags) == expected


def test_plain_rcnn_suppresses_as_ours_does() -> None:
    plain, draw = speed_peers.PlainRcnn(classes=3), np.random.default_rng(0)
    boxes = speed_ours.random_boxes(40, 500, 400)
    probabilities = draw.dirichlet([1, 1, 1, 1], 40).astype(np.float32)
    found = plain.suppressed(boxes, torch.from_numpy(probabilities))
    kept, labels, scores = nms_per_class(boxes, probabilities[:, :-1], score_threshold=0.01, iou_threshold=0.3)
    expected = {
        (int(label), float(score), tuple(boxes[row].tolist()))
        for row, label, score in zip(kept, labels, scores, strict=True)
    }
    assert {(label, score, tuple(box)) for label, score, box in found} == expected


def test_plain_rcnn_cuts_the_region_and_nothing_else() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:30, 20:60] = 255
    white, black = speed_peers.PlainRcnn(classes=1).crops(
        image, np.array([[20, 10, 60, 30], [0, 40, 30, 60]], np.float32)
    )
    assert white.shape == (3, 224, 224)
    assert (white > 2).all() and (black < -1.8).all()


def test_frozen_norms_say_what_the_norms_said() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4, eps=0.01), nn.ReLU())).eval()
    norm = network[1][0]  # type: ignore[index]
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 8, 8)
    before = network(x)
    speed_peers.freeze_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(network(x), before)


def test_copies_share_the_frozen_stages_or_nothing() -> None:
    description = ClassifierDescription(("cat", "person"), InputSpec(side=32, context=4))
    first = RegionClassifier(GoogLeNet(3), description, Runtime(torch.device("cpu"), torch.float32, 4))
    shared = [one.network for one in speed_ours.disturbed_copies(first, 3, shared=True)]
    apart = [one.network for one in speed_ours.disturbed_copies(first, 3, shared=False)]
    assert shared_stages(shared) == ("conv1", "conv2", "3a", "3b")  # type: ignore[arg-type]
    assert shared_stages(apart) == ()  # type: ignore[arg-type]
    assert not torch.equal(shared[1].inception_4a.conv1x1.weight, shared[2].inception_4a.conv1x1.weight)


def test_drawn_boxes_lie_in_the_image_and_have_area() -> None:
    boxes = speed_ours.random_boxes(500, 451, 300)
    assert (boxes >= 0).all() and (boxes[:, 2] <= 451).all() and (boxes[:, 3] <= 300).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 23.9).all()


@pytest.mark.parametrize("megapixels", [0.1, 1.0])
def test_photographs_grow_and_shrink_to_the_pixels_asked_for(megapixels: float, tmp_path: Path) -> None:
    path = bench_speed.resized_photograph(data.chelsea(), megapixels, tmp_path)
    height, width, _ = load_image(path).shape
    assert height * width == pytest.approx(megapixels * 1e6, rel=0.01)
    assert width / height == pytest.approx(451 / 300, rel=0.01)


def test_the_network_is_what_the_named_stages_leave() -> None:
    seconds = {"decode": 1.0, "proposals": 2.0, "network": 4.0, "pooling": 8.0, "rest": 16.0}
    assert bench_speed.in_network(seconds) == 12.0


def test_photographs_of_a_set_are_spread_over_it_and_else_bundled() -> None:
    bundled = bench_speed.photographs_of(None, "coco", "val", 3)
    assert [path.name for path in bundled] == ["astronaut.png", "chelsea.png", "coffee.png"]
    assert all(path.exists() for path in bundled)


def test_the_switch_starts_the_process_again_with_avx2_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Replaced(Exception):
        pass

    def replace_process(program: str, command: list[str], environment: dict[str, str]) -> None:
        assert (program, command[1:]) == (sys.executable, sys.argv)
        assert speed_ours.AVX2.items() <= environment.items()
        raise Replaced

    monkeypatch.setattr(os, "execve", replace_process)
    with pytest.raises(Replaced):
        bench_speed.main(["--isa", "avx2", "--quick"])


@pytest.mark.skipif("AVX" not in machine.instructions(), reason="needs an x86 processor with AVX2, and Linux to say so")
def test_under_the_switch_torch_has_avx2_and_the_choice_is_float32() -> None:
    lines = "import torch, speed_ours as s; s.pretend(); print(torch.backends.cpu.get_cpu_capability())"
    lines += "; print(s.runtimes.choose_runtime('cpu').dtype)"
    environment = os.environ | speed_ours.AVX2 | {"PYTHONPATH": os.pathsep.join(PATHS)}
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout.split() == ["AVX2", "torch.float32"], done.stderr


def test_a_small_run_prints_and_records_its_tables(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--only", "stages", "start", "--json", str(record)]
    command += ["--threads", "1", "--runtimes", "torch"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)}
    done = subprocess.run([*command, "--threads", "1"], capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    tables = json.loads(record.read_text())["tables"]
    parts, whole, start = (table["rows"] for table in tables)
    assert {row[0] for row in parts} >= {"ours, default", "ours, warp", "ours, default, 2 networks"}
    assert all(row[1]["median"] > 0 and row[7] > 0 for row in whole)
    assert start[-1][0] == "Faster R-CNN ResNet-50 FPN" and all(row[2]["median"] > 0.5 for row in start)
    assert all(f"## {table['title']}" in done.stdout for table in tables)
