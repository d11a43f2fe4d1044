"""`eval_map` with a detector: its classes and the data set's, a run that is killed, several processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import GoogLeNet, InputSpec, read_checkpoint, write_checkpoint
from inception_rcnn.datasets import CocoDataset
from inception_rcnn.datasets.detections.stored import read_stored_detections
from inception_rcnn.detector import (
    ClassifierDescription,
    DetectionSettings,
    Detector,
    load_detector,
    save_region_classifier,
    warp_regions,
)
from inception_rcnn.detector.checkpoints import read_classifier_description, weights_path
from inception_rcnn.detector.dataset_inference import describe_run
from inception_rcnn.detector.ensemble_file import write_ensemble_file
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.structures import load_image, sha256_of
from inception_rcnn.structures.provenance import SeenPart, seen_to_json
from inception_rcnn.tools import cli

ROOT = Path(__file__).resolve().parents[2]
COCO_MINI = ROOT.parent / "shared" / "data" / "coco_mini"
SPEC = InputSpec(side=32, context=4)
CATEGORIES = [{"id": 3, "name": "aeroplane"}, {"id": 17, "name": "cat"}, {"id": 47, "name": "cup"}]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command writes by default goes to an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small photographs in COCO's layout, with objects where much is proposed, of each class."""
    root = tmp_path_factory.mktemp("coco")
    (root / "val").mkdir()
    images, annotations = [], []
    for number in range(1, 6):
        pixels = np.roll(data.astronaut()[40:184, 100:292], 20 * number, axis=1)
        Image.fromarray(pixels).save(root / "val" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 192, "height": 144})
        for category in CATEGORIES:
            for box in ([100, 0, 90, 100], [90, 30, 100, 114], [0, 30, 90, 110], [40, 0, 125, 144]):
                entry = {"id": len(annotations) + 1, "image_id": number, "category_id": category["id"], "bbox": box}
                annotations.append(entry)
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "val.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with fresh weights that looks at 32 px and gives different regions different answers."""
    torch.manual_seed(0)
    network = GoogLeNet(4).eval()
    boxes = np.array([[0, 0, 90, 90], [40, 20, 150, 120], [60, 60, 90, 130], [5, 50, 70, 140]], np.float32)
    pixels = torch.from_numpy(warp_regions(data.astronaut()[40:184, 100:292], boxes, SPEC))
    layer = network.classifier
    assert layer is not None
    with torch.no_grad():
        features = network.pooled(network.trunk(SPEC.apply(pixels)))
        layer.weight.mul_(15)
        layer.bias.copy_(-layer.weight @ features.mean(dim=0))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    how = {"source": "selective-search"}
    save_region_classifier(
        path, network, ClassifierDescription(("airplane", "kite", "cat"), SPEC, how, 0.25, {}, "CC0")
    )
    return path


def words(root: Path, model: Path, *more: str | Path) -> list[str]:
    """The command line."""
    how = ("--device", "cpu", "--runtime", "torch", "--max-proposals", "6", "--quiet")
    wanted = ("--root", root, "--weights", model, *how, *more)
    return ["eval_map", *map(str, wanted)]


def run(root: Path, model: Path, *more: str | Path) -> int:
    """The exit status of eval_map in this process."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(words(root, model, *more))
    return int(exit_.value.code or 0)


def figures_of(root: Path, model: Path, *more: str | Path) -> Any:
    """What --json says."""
    assert run(root, model, *more, "--json", "out.json") == 0
    return json.loads(Path("out.json").read_text())


def test_a_line_says_that_photographs_were_learned_from(
    root: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, model) == 0
    assert "learned from" not in capsys.readouterr().err
    known, lists = tmp_path / "saw.safetensors", read_checkpoint(model, "region-classifier")
    checksums = [sha256_of(root / "val" / f"{number}.png") for number in (2, 4)]
    seen = seen_to_json([SeenPart.of_files("birds/train", [*checksums, "ab" * 32])])
    write_checkpoint(known, "region-classifier", {**lists.description, "seen": seen}, lists.tensors)
    assert run(root, known) == 0
    said = capsys.readouterr().err
    assert "warning: 2 of the 5 photographs were learned from by the classifier (2 of birds/train); the figures" in said
    assert said.count("warning") == 1
    assert run(root, known, "--limit", "1") == 0
    assert "learned from" not in capsys.readouterr().err
    assert run(root, model, "--weights", known, "--quiet") == 0
    assert f"(2 of birds/train), {known}; the figures are too good" in capsys.readouterr().err


def test_classes_in_common_are_scored_and_the_others_named(
    root: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = figures_of(root, model)
    printed = capsys.readouterr().out
    assert list(figures["ap"]) == ["aeroplane", "cat", "cup"]
    assert figures["ap"]["cup"] == 0 < min(figures["ap"]["aeroplane"], figures["ap"]["cat"]) < 1
    assert figures["map"] == pytest.approx(sum(figures["ap"].values()) / 3)
    assert "classes that the detector does not know, with AP 0: 1 (cup)" in printed
    assert not any(Path("runs", "eval_map").iterdir())  # nothing is left of the run
    known = (figures["ap"]["aeroplane"] + figures["ap"]["cat"]) / 2
    assert f"mAP@0.5 {100 * known:.2f} over the 2 of its own classes that have objects" in printed
    assert "recall at IoU 0.5" in printed and "best mean F1" in printed and "seconds an image" in printed


def test_no_limit_of_an_image_s_detections_but_of_each_class_s(
    root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`detect` shows 100 of an image at most; average precision counts all, up to 100 of each class."""
    used: list[DetectionSettings] = []

    def describe(detector: Detector, *arguments: Any) -> Any:
        used.append(detector.settings)
        return describe_run(detector, *arguments)

    monkeypatch.setattr("inception_rcnn.detector.dataset_inference.describe_run", describe)
    assert run(root, model) == 0
    assert [(one.max_detections, one.max_per_class) for one in used] == [(None, 100)]
    assert load_detector(model, "cpu").settings.max_detections == 100


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="the photographs of ../shared are not here")
def test_the_shipped_model_scores_what_it_scored() -> None:
    """On four photographs; with 100 detections an image it would be 400 at most."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(
            ["eval_map", "--root", str(COCO_MINI), "--limit", "4", "--quiet", "--device", "cpu", "--json", "m.json"]
        )
    figures = json.loads(Path("m.json").read_text())
    assert not exit_.value.code and figures["detections"] == pytest.approx(531, abs=20)
    assert figures["map"] == pytest.approx(0.509, abs=0.02)


def test_what_is_kept_and_what_is_written_score_the_same(root: Path, model: Path) -> None:
    kept, found = Path("kept.safetensors"), Path("found.json")
    figures = figures_of(root, model, "--output", kept, "--write-detections", found)
    assert figures["detections"] > 10
    assert figures_of(root, model, "--output", kept) == figures
    assert read_stored_detections(kept).image_ids == (1, 2, 3, 4, 5)
    for path in (kept, found):
        out = Path("again.json")
        with pytest.raises(SystemExit) as exit_:
            cli.main(["eval_map", "--root", str(root), "--detections", str(path), "--json", str(out)])
        assert not exit_.value.code and json.loads(out.read_text()) == figures


def test_a_file_of_other_settings_is_refused_in_one_line(
    root: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, model, "--output", "kept.safetensors") == 0
    capsys.readouterr()
    assert run(root, model, "--output", "kept.safetensors", "--max-proposals", "5") == 1
    printed = capsys.readouterr()
    assert "kept.safetensors was made with max_proposals = 6, now 5 is asked for" in printed.err
    assert printed.err.count("\n") == 1
    assert run(root, model, "--output", "kept.safetensors", "--limit", "2") == 1
    assert "other images" in capsys.readouterr().err


def test_the_detectors_own_number_of_regions_is_classified_another_or_all(root: Path, model: Path) -> None:
    def settings_and_regions(*options: str) -> tuple[object, int]:
        kept = Path(f"kept{len(options)}{options[-1:]}.safetensors")
        line = ["--root", root, "--weights", model, "--device", "cpu", "--quiet", "--limit", 1, "--output", kept]
        with pytest.raises(SystemExit) as exit_:
            cli.main(["eval_map", *map(str, line), *options])
        assert not exit_.value.code
        stored = read_stored_detections(kept)
        return stored.settings["max_proposals"], len(stored.proposals[0])

    limit, some = settings_and_regions("--duplicate-iou", "1")
    nothing, every = settings_and_regions("--duplicate-iou", "1", "--max-proposals", "0")
    assert (limit, nothing) == (DetectionSettings().max_proposals, None)
    assert some == min(every, DetectionSettings().max_proposals or 0) and every > 7
    assert settings_and_regions("--duplicate-iou", "1", "--max-proposals", "7") == (7, 7)


def test_a_report_of_a_run_has_its_photographs(
    root: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[ReportInput] = []
    monkeypatch.setattr(
        "inception_rcnn.evaluation.report.pages.write_report", lambda folder, shown: given.append(shown)
    )
    (root / "list.txt").write_text("4\n2\n")
    assert run(root, model, "--report", "page", "--image-list", root / "list.txt") == 0
    (shown,) = given
    assert shown.title == f"{model} on {root.name}/val" and shown.weights == (str(model),)
    assert (shown.truths.image_names, shown.truths.image_ids) == (("4", "2"), (4, 2))
    assert shown.photographs is not None and shown.coverage is not None
    np.testing.assert_array_equal(shown.photographs(1), load_image(root / "val" / "2.png"))
    assert set(shown.seconds) == {"waiting", "proposals", "warp", "network", "rest"}
    assert shown.settings["max_proposals"] == "6" and shown.result.detections == len(shown.detections)
    monkeypatch.undo()
    monkeypatch.chdir(root)
    assert run(root, model, "--report", "page", "--limit", "2") == 0
    assert (root / "page" / "index.html").stat().st_size > 10_000 and "report: page" in capsys.readouterr().out


def test_the_best_threshold_is_stored_in_each_checkpoint(
    root: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    for copy in (first, second):
        copy.write_bytes(model.read_bytes())
    assert run(root, first, "--store-threshold") == 0
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"best mean F1 0\.\d+ at score (0\.\d+) ", printed)
    assert f"stored score threshold {shown} in {first}" in printed
    assert load_detector(str(first), "cpu").settings.score_threshold == pytest.approx(float(shown), abs=6e-4)
    assert second.read_bytes() == model.read_bytes()
    assert run(root, second, "--weights", first, "--each", "--store-threshold") == 0
    printed = capsys.readouterr().out
    scores = re.findall(r"at score (0\.\d+) ", printed)
    assert len(scores) == 3 and scores[1] == scores[2] == shown  # all together, then each alone
    assert load_detector(str(second), "cpu").settings.score_threshold == pytest.approx(float(shown), abs=6e-4)


def test_a_calibration_is_stored_in_each_checkpoint_and_changes_no_order(
    root: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(model.read_bytes())
    assert run(root, copy, "--store-calibration") == 0
    printed = capsys.readouterr().out
    (slope, offset, threshold) = re.findall(r"slope ([\d.]+), offset (-?[\d.]+), score threshold ([\d.]+)", printed)[0]
    assert " are right" in printed and f"stored in {copy}" in printed
    said = read_classifier_description(copy).training["score_threshold"]
    assert re.fullmatch(r"(best mean F1|precision [\d.]+, recall [\d.]+).* of \d+ objects", said)
    detector = load_detector(str(copy), "cpu")
    calibration = detector.settings.calibration
    assert calibration is not None and calibration.slope == pytest.approx(float(slope), abs=6e-4)
    assert calibration.offset == pytest.approx(float(offset), abs=6e-4)
    assert detector.settings.score_threshold == pytest.approx(float(threshold), abs=6e-4)
    raw, image = load_detector(str(model), "cpu"), root / "val" / "2.png"
    assert run(root, copy) == 0
    figures = [re.findall(r"mAP@0.5 [\d.]+|\d+ detections", one) for one in (printed, capsys.readouterr().out)]
    assert figures[0] == figures[1] and len(figures[0]) == 3  # the same detections count
    ours = detector.with_settings(score_threshold=0.0)(image)
    theirs = raw.with_settings(score_threshold=0.0)(image)
    np.testing.assert_array_equal(ours.boxes, theirs.boxes)
    np.testing.assert_allclose(ours.scores, calibration.apply(theirs.scores), rtol=1e-5, atol=1e-7)


def test_what_an_ensemble_reaches_is_stored_in_its_file(
    root: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not what its last member reaches, which is printed after it."""
    path, second = tmp_path / "both.toml", tmp_path / "second.safetensors"
    second.write_bytes(model.read_bytes())
    write_ensemble_file(path, [model, second], {})
    assert run(root, path, "--each", "--store-threshold") == 0
    printed = capsys.readouterr().out
    scores = re.findall(r"at score (0\.\d+) ", printed)
    assert len(scores) == 3 and f"stored score threshold {scores[0]} in {path}" in printed
    assert load_detector(path, "cpu").settings.score_threshold == pytest.approx(float(scores[0]), abs=6e-4)


@pytest.mark.parametrize("named", [(), ("coco-mini",), ("file",)], ids=["nothing", "shipped name", "shipped file"])
def test_no_threshold_is_stored_in_what_is_shipped(
    named: tuple[str, ...], root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("this should be refused before anything is run")

    shipped = weights_path("coco-mini")
    before = (shipped.stat().st_mtime_ns, shipped.stat().st_size)
    monkeypatch.setattr("inception_rcnn.detector.load_detector", never)
    monkeypatch.setattr("inception_rcnn.datasets.evaluation_set.evaluation_set_of", never)
    weights = [word for name in named for word in ("--weights", str(shipped) if name == "file" else name)]
    with pytest.raises(SystemExit) as exit_:
        cli.main(["eval_map", "--root", str(root), "--store-threshold", *weights])
    printed = capsys.readouterr().err
    assert exit_.value.code == 1 and printed.count("\n") == 1
    assert ("a shipped file; name a copy of it" if named else "--store-threshold needs checkpoints named") in printed
    assert (shipped.stat().st_mtime_ns, shipped.stat().st_size) == before


KILLED = """
import os
from inception_rcnn.datasets import CocoDataset
from inception_rcnn.tools.cli import main
load, opened = CocoDataset.load_image, []
def dying(self, i):
    opened.append(i)
    if len(opened) == 4:
        os._exit(9)
    return load(self, i)
CocoDataset.load_image = dying
main()
"""


def test_a_killed_run_ends_with_the_same_figures(
    root: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = figures_of(root, model)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    killed = subprocess.run([sys.executable, "-c", KILLED, *words(root, model)], env=environment, capture_output=True)
    assert killed.returncode == 9, killed.stderr.decode()
    opened, load = [], CocoDataset.load_image
    monkeypatch.setattr(CocoDataset, "load_image", lambda self, i: (opened.append(i), load(self, i))[1])
    capsys.readouterr()
    assert figures_of(root, model) == whole
    assert opened == [3, 4] and "going on with the run" in capsys.readouterr().out


def test_what_fails_at_the_end_need_not_be_detected_again(
    root: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("page").write_text("no folder")
    assert run(root, model, "--report", "page") == 1
    assert "page" in capsys.readouterr().err and any(Path("runs", "eval_map").iterdir())
    monkeypatch.delattr("inception_rcnn.datasets.base.AnnotatedDataset.load_image")
    assert run(root, model, "--json", "out.json") == 0
    assert Path("out.json").exists() and not any(Path("runs", "eval_map").iterdir())


def test_a_process_that_comes_when_all_is_done_does_nothing(
    root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(root, model) == 0  # the first one, which did not wait for the second
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delattr("inception_rcnn.datasets.base.AnnotatedDataset.load_image")
    assert run(root, model) == 0
    assert not any(Path("runs", "eval_map").iterdir())


def test_two_processes_of_torchrun_find_the_same(root: Path, model: Path) -> None:
    whole = figures_of(root, model, "--output", "one.safetensors")
    arguments = words(root, model, "--output", "two.safetensors", "--json", "two.json")[1:]
    launch = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(ROOT / "tools" / "eval_map.py"),
    ]
    done = subprocess.run([sys.executable, *launch, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("two.json").read_text()) == whole
    assert not list(Path().glob("two.safetensors.*"))
    assert done.stdout.count("mAP@0.5") == 2  # all classes, and those it knows: printed by the first process only
    one, two = (read_stored_detections(f"{name}.safetensors") for name in ("one", "two"))
    assert one.checksums == two.checksums and one.settings == two.settings
    for mine, other in zip(one.found, two.found, strict=True):
        np.testing.assert_array_equal(mine[0].boxes, other[0].boxes)
        np.testing.assert_array_equal(mine[0].scores, other[0].scores)


def test_power_and_regression_of_the_checkpoint_and_of_the_command(root: Path, model: Path) -> None:
    def settings(weights: Path, *options: str) -> tuple[object, object]:
        kept = Path(f"kept-{weights.stem}{''.join(options)}.safetensors")
        assert run(root, weights, "--limit", "1", "--output", kept, *options) == 0
        stored = read_stored_detections(kept).settings
        assert stored["score_threshold"] == DetectionSettings().score_threshold
        return stored["objectness_power"], stored["box_regression"]

    other, checkpoint = Path("other.safetensors"), read_checkpoint(model, "region-classifier")
    write_checkpoint(
        other, "region-classifier", {**checkpoint.description, "objectness_power": 0.5}, checkpoint.tensors
    )
    assert settings(model) == (1.0, True) and settings(other) == (0.5, True)
    assert settings(other, "--objectness-power", "2") == (2.0, True)
    assert settings(other, "--no-objectness", "--no-box-regression") == (0.0, False)
    assert run(root, model, "--limit", "1", "--output", "mirrored.safetensors", "--mirror") == 0
    found = [read_stored_detections(name) for name in (f"kept-{model.stem}.safetensors", "mirrored.safetensors")]
    assert [one.settings["mirror"] for one in found] == [False, True]
    assert found[0].found[0][0].scores.tolist() != found[1].found[0][0].scores.tolist()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--regions", "pool"], "has regions=warp, regions=pool was asked for"),
        (["--no-objectness", "--objectness-power", "1"], "--no-objectness contradicts --objectness-power 1"),
    ],
)
def test_contradictions_are_one_line(
    root: Path, model: Path, options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, model, *options) == 1
    printed = capsys.readouterr()
    assert text in printed.err and printed.err.count("\n") == 1
    assert not Path("runs").exists()


def test_a_photograph_that_is_damaged_stops_nothing_and_is_counted_at_the_end(
    root: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(root, broken)
    damaged = broken / "val" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    assert run(broken, model) == 1
    error = capsys.readouterr().err
    assert "1 of 5 photographs could not be read, the others are done; the first: " in error and "2.png" in error
    assert "--skip-broken" in error
    (left,) = Path("runs", "eval_map").glob("*.parts")
    before = {path.name: path.stat().st_mtime_ns for path in left.iterdir() if path.suffix == ".safetensors"}
    assert before  # nothing that was done is lost
    figures = figures_of(broken, model, "--skip-broken", "--output", "kept.safetensors")
    printed = capsys.readouterr()
    assert "going on with" not in printed.out  # the file has another name
    assert "left out as broken: 1 images or objects" in printed.out and "2.png" in printed.err
    (tmp_path / "list.txt").write_text("1\n3\n4\n5\n")
    assert figures == figures_of(root, model, "--image-list", tmp_path / "list.txt")
    assert figures == figures_of(broken, model, "--skip-broken", "--output", "kept.safetensors")
    assert run(broken, model, "--output", "kept.safetensors") == 1
    assert "1 of 5 photographs could not be read" in capsys.readouterr().err


def test_a_damaged_photograph_is_done_once_it_is_mended(root: Path, model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(root, broken)
    damaged, whole = broken / "val" / "4.png", (root / "val" / "4.png").read_bytes()
    damaged.write_bytes(b"x" * len(whole))  # of the same size: the run has the same name
    assert run(broken, model) == 1
    damaged.write_bytes(whole)
    assert figures_of(broken, model) == figures_of(root, model)
