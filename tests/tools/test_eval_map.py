"""`eval_map` on detections from files: what it prints, writes, counts and refuses. No photograph is opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_pages import Page

from inception_rcnn.datasets import (
    FolderDataset,
    open_dataset,
    read_ground_truth,
    write_coco,
    write_coco_detections,
    write_ground_truth,
    write_ilsvrc,
    write_ilsvrc_detections,
    write_voc,
    write_voc_detections,
)
from inception_rcnn.datasets.ilsvrc import det_classes
from inception_rcnn.evaluation import evaluate_ilsvrc
from inception_rcnn.evaluation.protocols import PROTOCOLS, evaluate_by, result_to_dict
from inception_rcnn.structures import DetectionTable, GroundTruthTable
from inception_rcnn.tools import cli

ROOT = Path(__file__).resolve().parents[2]
EXTRACT = ROOT / "tests" / "evaluation" / "data"
VAL2 = ROOT.parent / "shared" / "data" / "ilsvrc_det_val2"
needs_val2 = pytest.mark.skipif(not VAL2.is_dir(), reason="ILSVRC's files of ../shared are not here")
WNIDS = tuple(wnid for wnid, _ in det_classes())
NAMES = ("cat", "dog", "owl", "yak")
IDS = (40, 7, 300, 12, 5)


def run(*arguments: str | Path | int) -> int:
    """The exit status of eval_map."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["eval_map", *map(str, arguments)])
    return int(exit_.value.code or 0)


def scene(names: tuple[str, ...] = NAMES, classes: int = 3) -> tuple[GroundTruthTable, DetectionTable]:
    """Objects of the first classes on five images, and detections of them, some good; figures differ by protocol."""
    random = np.random.default_rng(5)
    corner, side = random.integers(0, 60, (40, 2)), random.integers(8, 40, (40, 2))
    box = np.hstack([corner, corner + side]).astype(np.float64)
    image, label = random.integers(0, 5, 40), random.integers(0, classes, 40)
    image_names = tuple(f"im{one}" for one in IDS)
    truth = GroundTruthTable(names, IDS, image, label, box, image_names=image_names, sizes=((100, 100),) * 5)
    moved = np.repeat(box, 2, axis=0) + random.normal(0, 4, (80, 4)).round(2)
    found = DetectionTable(np.repeat(image, 2), np.repeat(label, 2), random.random(80), moved)
    return truth, found


WRITERS: dict[str, Callable[[Path, DetectionTable, GroundTruthTable], None]] = {
    "ilsvrc": lambda path, found, truth: write_ilsvrc_detections(path, found, truth.image_ids),
    "voc": lambda path, found, truth: (
        path.mkdir(),
        write_voc_detections(path, found, truth.image_ids, truth.class_names),
    )[1],
    "coco": lambda path, found, truth: write_coco_detections(
        path, found, truth.image_ids, range(1, len(truth.class_names) + 1)
    ),
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_of_each_format_by_each_protocol(form: str, protocol: str, tmp_path: Path) -> None:
    names = WNIDS if form == "ilsvrc" else NAMES
    truth, found = scene(names)
    path = tmp_path / "found"
    WRITERS[form](path, found, truth)
    write_ground_truth(tmp_path / "truth.jsonl.gz", truth)
    wanted = ("--dataset", form, "--detections", path, "--ground-truth", tmp_path / "truth.jsonl.gz")
    assert run(*wanted, "--protocol", protocol, "--json", tmp_path / "a.json") == 0
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures == result_to_dict(evaluate_by(protocol, truth, found))
    assert 0 < figures["map"] < 1 and list(figures["ap"]) == list(names) and figures["ap"][names[3]] is None
    if protocol == {"ilsvrc": "ilsvrc", "voc": "voc2010", "coco": "coco"}[form]:
        assert run(*wanted, "--json", tmp_path / "b.json") == 0  # the data set's own protocol
        assert json.loads((tmp_path / "b.json").read_text()) == figures


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """ILSVRC's classes: detections and truth, and the options that name them."""
    folder = tmp_path_factory.mktemp("files")
    truth, found = scene(WNIDS)
    write_ground_truth(folder / "truth.jsonl", truth)
    write_ilsvrc_detections(folder / "found.txt", found, IDS)
    yield folder, f"--dataset ilsvrc --ground-truth {folder / 'truth.jsonl'} --detections {folder / 'found.txt'}"


def figures_of(files: tuple[Path, str], tmp_path: Path, *more: str | Path) -> dict[str, Any]:
    """What --json says."""
    assert run(*files[1].split(), *more, "--json", tmp_path / "out.json") == 0
    return dict(json.loads((tmp_path / "out.json").read_text()))


def test_classes_without_objects_are_counted_and_named(
    files: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = figures_of(files, tmp_path)
    printed = capsys.readouterr().out
    assert sum(ap is not None for ap in figures["ap"].values()) == 3
    assert "n02672831 accordion" in printed and "over 3 classes" in printed and "by the rules of ilsvrc" in printed
    assert "classes without objects, left out of the mean: 197 (antelope, apple, armadillo" in printed
    assert "5 images, 80 detections, 40 objects" in printed and "left out:" not in printed


def test_what_comes_next_is_named_unless_it_was_asked_for(
    files: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, is_said in (((), True), (("--quiet",), False), (("--report", tmp_path), False)):
        assert run(*files[1].split(), *more) == 0
        assert ("next: --report DIR" in capsys.readouterr().err) is is_said


def test_terminal_and_report_name_the_same_threshold(
    files: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, found = scene(WNIDS)
    best = evaluate_ilsvrc(truth, found).kept_matches().best_f1()
    assert run(*files[1].split(), "--report", tmp_path) == 0
    assert f"best mean F1 {best.f1:.3f} at score {best.threshold:.3f} (precision" in capsys.readouterr().out
    assert (
        f"those at the score {best.threshold:.3f}, which gives the best mean F1" in Page(tmp_path / "index.html").text
    )


def test_the_blacklist_takes_pairs_out(
    files: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, found = scene(WNIDS)
    pairs = [(40, WNIDS[0]), (40, WNIDS[1]), (12, WNIDS[0]), (999, WNIDS[0])]
    listed = tmp_path / "blacklist.txt"
    listed.write_text("".join(f"{index} {wnid}\n" for index, wnid in pairs))
    figures = figures_of(files, tmp_path, "--blacklist", listed)
    assert figures == result_to_dict(evaluate_ilsvrc(truth, found, blacklist=pairs))
    assert figures != figures_of(files, tmp_path)
    assert "blacklist: 4 pairs of image and class, 3 of them in this set" in capsys.readouterr().out
    assert run(*files[1].split(), "--blacklist", listed, "--protocol", "voc2010") == 1
    assert "--blacklist belongs to the protocol ilsvrc, not to voc2010" in capsys.readouterr().err


def test_a_blacklist_without_indices_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth.jsonl").write_text(f'{{"id": "a", "objects": [[1, "{WNIDS[0]}", 0, 0, 9, 9]]}}')
    (tmp_path / "list.txt").write_text("a 40\n")
    (tmp_path / "found.txt").write_text("40 1 0.5 0 0 9 9\n")
    (tmp_path / "blacklist.txt").write_text(f"40 {WNIDS[3]}\n")
    wanted = (
        "--dataset",
        "ilsvrc",
        "--ground-truth",
        tmp_path / "truth.jsonl",
        "--blacklist",
        tmp_path / "blacklist.txt",
    )
    wanted += ("--detections", tmp_path / "found.txt")
    assert run(*wanted) == 1
    assert "names images by their index, but these have none; give an --image-list" in capsys.readouterr().err
    assert run(*wanted, "--image-list", tmp_path / "list.txt") == 0


def test_detections_of_other_images_are_named_or_dropped_and_counted(
    files: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "some.txt"
    listed.write_text("im300\nim40\n")
    wanted = (*files[1].split(), "--image-list", listed)
    assert run(*wanted) == 1
    lines = (files[0] / "found.txt").read_text().splitlines()
    number = next(k for k, line in enumerate(lines, 1) if line.split()[0] not in ("300", "40"))
    image = lines[number - 1].split()[0]
    assert f"found.txt, line {number}: the image {image} is not in the list of images (--skip-broken" in (
        capsys.readouterr().err
    )
    figures = figures_of(files, tmp_path, "--image-list", listed, "--skip-broken")
    truth, found = scene(WNIDS)
    kept = found[np.isin(found.image, (0, 2))]
    table = DetectionTable(np.where(kept.image == 2, 0, 1), kept.label, kept.score, kept.box)
    assert figures == result_to_dict(evaluate_ilsvrc(truth.of_images((2, 0)), table))
    assert f"left out: {80 - len(kept)} detections of images that are not in the set" in capsys.readouterr().out


def write_set(folder: Path) -> None:
    """A photograph with two objects and one with a broken annotation, in VOC's, ILSVRC's and COCO's layout."""
    plain = folder / "plain"
    plain.mkdir()
    for name in "ab":
        Image.new("RGB", (50, 40)).save(plain / f"{name}.png")
        boxes = "".join(
            f"<object><name>{wnid}</name><bndbox><xmin>{x}</xmin><ymin>1</ymin><xmax>{x + 20}</xmax><ymax>20</ymax>"
            "</bndbox></object>"
            for wnid, x in ((WNIDS[0], 1), (WNIDS[1], 21))
        )
        text = f"<annotation><size><width>50</width><height>40</height></size>{boxes}</annotation>"
        (plain / f"{name}.xml").write_text(text)
    (plain / "classes.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    for form, write in (("voc", write_voc), ("ilsvrc", write_ilsvrc), ("coco", write_coco)):
        write(FolderDataset(plain), folder / form, "val")


def damage(folder: Path, form: str) -> None:
    """Breaks image b: one object of ILSVRC's has no area, VOC's photograph is missing, COCO's box is none."""
    if form == "ilsvrc":
        path = folder / "ilsvrc" / "Annotations" / "DET" / "val" / "b.xml"
        path.write_text(path.read_text().replace("<xmax>40</xmax>", "<xmax>4</xmax>"))
    elif form == "voc":
        (folder / "voc" / "JPEGImages" / "b.png").unlink()
    else:
        content = json.loads((folder / "coco" / "val.json").read_text())
        content["annotations"][3]["bbox"][2] = 0
        content["annotations"][2]["category_id"] = 999
        (folder / "coco" / "val.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("form", "where", "left_out", "objects", "images"),
    [
        ("ilsvrc", "b.xml, object 2 (n02691156): its box has no area", 1, 3, 2),
        ("voc", "b.xml: its photograph is missing", 1, 2, 1),
        ("coco", "annotation 3: category_id 999 is none of", 2, 2, 2),
    ],
)
def test_what_is_broken_on_disk_is_named_or_counted(
    form: str,
    where: str,
    left_out: int,
    objects: int,
    images: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_set(tmp_path)
    truth = tmp_path / "truth.jsonl"
    wanted = ("--dataset", form, "--root", tmp_path / form, "--write-ground-truth", truth)
    assert run(*wanted) == 0
    assert len(read_ground_truth(truth, WNIDS)) == 4
    truth.unlink()
    damage(tmp_path, form)
    assert run(*wanted) == 1
    printed = capsys.readouterr()
    assert where in printed.err and "--skip-broken" in printed.err and not truth.exists()
    assert run(*wanted, "--skip-broken") == 0
    printed = capsys.readouterr()
    assert where in printed.err and printed.err.count("left out:") == left_out
    assert f"left out as broken: {left_out} images or objects" in printed.out
    assert f"{objects} objects of {images} images in {truth}" in printed.out
    assert len(read_ground_truth(truth, WNIDS)) == objects


@pytest.mark.parametrize("form", ["ilsvrc", "voc", "coco", "folder"])
def test_a_data_set_on_disk_and_the_file_made_of_it_give_the_same(form: str, tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "folder").symlink_to(tmp_path / "plain")
    split = () if form == "folder" else ("--split", "val")
    on_disk = ("--dataset", form, "--root", tmp_path / form, *split)
    assert run(*on_disk, "--write-ground-truth", tmp_path / "truth.jsonl.gz") == 0
    truth = open_dataset(form, tmp_path / form, None if form == "folder" else "val").ground_truths()
    box = np.array([[0, 0, 20, 18], [22, 2, 45, 20.5], [9, 9, 1, 1]], np.float64)
    found = DetectionTable(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.5, 0.1]), box)
    if form == "coco":
        write_coco_detections(tmp_path / "found", found, truth.image_ids, truth.category_ids)
    else:
        WRITERS["ilsvrc" if form == "ilsvrc" else "voc"](tmp_path / "found", found, truth)
    for photograph in tmp_path.rglob("*.png"):
        photograph.write_bytes(b"nobody opens it")
    results = []
    for source in (on_disk, ("--dataset", form, "--ground-truth", tmp_path / "truth.jsonl.gz")):
        again = tmp_path / "again"  # in the data set's own format
        out = ("--json", tmp_path / "out.json", "--write-detections", again)
        assert run(*source, "--detections", tmp_path / "found", *out) == 0
        results.append(json.loads((tmp_path / "out.json").read_text()))
        assert run(*source, "--detections", again, "--json", tmp_path / "out.json") == 0
        assert json.loads((tmp_path / "out.json").read_text()) == results[-1]
    assert results[0] == results[1] and results[0]["map"] > 0
    assert (results[0]["images"], results[0]["detections"], len(results[0]["ap"])) == (2, 3, 200)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--dataset coco", "give either --root DIR, a data set, or --ground-truth FILE"),
        ("--dataset coco --root x --ground-truth y --detections z", "give either --root DIR"),
        ("--dataset coco --ground-truth y", "a detector needs photographs: give --root DIR"),
        ("--dataset coco --root x --detections z --weights a", "--weights has no meaning with --detections"),
        ("--dataset coco --root x --json no/x.json", "cannot write no/x.json: the folder"),  # before x is looked for
        ("--dataset coco --root x --write-detections no/x.json", "cannot write no/x.json: the folder"),
        ("--dataset coco --root x --write-ground-truth no/x.jsonl", "cannot write no/x.jsonl: the folder"),
        ("--dataset coco --root x --detections z --multibox a", "--multibox has no meaning with --detections"),
        ("--dataset coco --root x --detections z --output a", "--output has no meaning with --detections"),
        ("--dataset coco --root x --store-threshold", "--store-threshold needs checkpoints named with --weights"),
        ("--dataset coco --root x --store-threshold --weights a --weights b", "and --each if there are several"),
        ("--dataset ilsvrc --ground-truth none --detections none", "there is no file none"),
    ],
)
def test_options_that_contradict_are_one_line(options: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*options.split()) == 1
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_nothing_to_find_is_said_before_anything_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth.jsonl").write_text('{"id": "a", "objects": [[1, "cat", 0, 0, 9, 9, 1]]}')
    assert run("--dataset", "voc", "--ground-truth", tmp_path / "truth.jsonl", "--detections", "none") == 1
    assert "truth.jsonl has no objects to find" in capsys.readouterr().err


@pytest.mark.parametrize("options", ["--dataset xml", "--dataset voc --protocol voc"])
def test_unknown_names_are_wrong_usage(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*options.split(), "--root", "x") == 2
    assert f"'{options.split()[-1]}' is unknown; known: " in capsys.readouterr().err


@needs_val2
def test_val2_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = (
        "--dataset",
        "ilsvrc",
        "--detections",
        VAL2 / "demo_detections_val2.txt.gz",
        "--json",
        tmp_path / "a.json",
    )
    more = ("--ground-truth", VAL2 / "ground_truth_val2.jsonl.gz", "--blacklist", VAL2 / "blacklist.txt")
    for listed in ((), ("--image-list", VAL2 / "val2.txt"), ("--image-list", VAL2 / "val2_rcnn_order.txt")):
        assert run(*wanted, *more, *listed) == 0
        figures = json.loads((tmp_path / "a.json").read_text())
        assert figures["map"] == pytest.approx(0.60168348, abs=5e-9)
        assert figures["median_ap"] == pytest.approx(0.61488134, abs=5e-9)
        assert (figures["images"], figures["detections"], figures["protocol"]) == (9917, 23590, "ilsvrc")
        assert list(figures["ap"]) == list(WNIDS)
    assert "mAP@0.5 60.17 over 200 classes, median 61.49" in capsys.readouterr().out


def test_scoring_a_file_imports_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom inception_rcnn.tools.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    assert not end.code\nassert not {'torch', 'torchvision', 'cv2'} & set(sys.modules)"
    )
    files = (
        "--detections",
        EXTRACT / "val2_detections.txt.gz",
        "--ground-truth",
        EXTRACT / "val2_ground_truth.jsonl.gz",
    )
    command = [sys.executable, "-c", script, "eval_map", "--dataset", "ilsvrc", *map(str, files)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    )
    assert done.returncode == 0, done.stderr
    assert "mAP@0.5 50.26 over 17 classes, median 49.06" in done.stdout and list(tmp_path.iterdir()) == []
