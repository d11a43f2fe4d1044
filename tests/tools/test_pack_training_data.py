"""Parts of data sets packed, carried and laid out again: the same photographs, byte for byte, and the same objects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from inception_rcnn.datasets import open_dataset
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.tools import cli

VOC = """<annotation><filename>{0}.jpg</filename><size><width>80</width><height>50</height><depth>3</depth></size>
<object><name>cat</name><difficult>{1}</difficult><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>60</xmax><ymax>41</ymax>
</bndbox></object></annotation>"""


def run(*arguments: object) -> int:
    """The exit status of the command."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["pack_training_data", *map(str, arguments)])
    return int(exit_.value.code or 0)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A folder with one set in COCO's layout and one in VOC's."""
    coco, voc = tmp_path / "from" / "things", tmp_path / "from" / "devkit"
    (coco / "train").mkdir(parents=True)
    images, objects = [], []
    for number in (1, 2, 3):
        Image.fromarray(data.chelsea()).resize((90 + number, 60)).save(coco / "train" / f"{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 90 + number, "height": 60})
        box = {"id": number, "image_id": number, "category_id": 7, "bbox": [1.25, 2, 30.5, 20], "area": 610.0}
        objects.append({**box, "iscrowd": int(number == 2)})
    truth = {"images": images, "annotations": objects, "categories": [{"id": 7, "name": "cat"}]}
    (coco / "train.json").write_text(json.dumps(truth))
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (voc / folder).mkdir(parents=True)
    for name, difficult in (("000005", 0), ("000007", 1)):
        Image.fromarray(data.coffee()).resize((80, 50)).save(voc / "JPEGImages" / f"{name}.jpg")
        (voc / "Annotations" / f"{name}.xml").write_text(VOC.format(name, difficult))
    (voc / "ImageSets/Main/trainval.txt").write_text("000005\n000007\n")
    return tmp_path / "from"


def options(sets: Path) -> list[object]:
    return [
        *("--data", f"coco:{sets / 'things'}", "--data", f"voc:{sets / 'devkit'}"),
        *("--split", "train", "--split", "trainval"),
    ]


def assert_same(ours: DetectionDataset, theirs: DetectionDataset) -> None:
    assert ours.image_ids == theirs.image_ids and ours.class_names == theirs.class_names
    for row in range(len(ours)):
        assert ours.path(row).read_bytes() == theirs.path(row).read_bytes()
        one, other = ours.ground_truth(row), theirs.ground_truth(row)
        assert np.array_equal(one.boxes, other.boxes) and np.array_equal(one.ignore, other.ignore)
        assert one.names() == other.names()


def test_what_was_packed_is_laid_out_as_it_was(sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts, there = tmp_path / "parts", tmp_path / "there"
    assert run(*options(sets), "--output", parts) == 0
    assert "wrote 1 parts" in (said := capsys.readouterr().out) and "5 images" in said
    assert {path.name for path in parts.iterdir()} == {"parts.json", "part-000.tar"}
    assert run("--unpack", parts, "--output", there) == 0
    assert "missing" not in capsys.readouterr().out
    assert_same(open_dataset("coco", sets / "things", "train"), open_dataset("coco", there / "things", "train"))
    assert_same(open_dataset("voc", sets / "devkit", "trainval"), open_dataset("voc", there / "devkit", "trainval"))


def test_parts_keep_to_their_size_and_may_arrive_one_by_one(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from inception_rcnn.tools.pack_training_data import pack
    from inception_rcnn.tools.training_sets import open_sets

    opened = open_sets(
        [f"coco:{sets / 'things'}", f"voc:{sets / 'devkit'}"], None, "coco", ["train", "trainval"], skip_broken=False
    )
    sizes = pack(opened, tmp_path / "parts", 10_000)
    assert len(sizes) > 2 and max(sizes.values()) <= 20_480  # tar fills its last block of 10,240 bytes up
    some = tmp_path / "arrived"
    some.mkdir()
    shutil.copy(tmp_path / "parts" / "parts.json", some)
    for name in sizes:  # each is carried alone, and gone before the next arrives
        shutil.copy(tmp_path / "parts" / name, some)
        assert run("--unpack", some, "--output", tmp_path / "there") == 0
        assert "still missing" in capsys.readouterr().out
        (some / name).unlink()
    assert_same(
        open_dataset("coco", sets / "things", "train"), open_dataset("coco", tmp_path / "there" / "things", "train")
    )


def test_the_same_sets_make_the_same_parts(sets: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(*options(sets), "--output", tmp_path / name) == 0
    assert (tmp_path / "one/part-000.tar").read_bytes() == (tmp_path / "two/part-000.tar").read_bytes()


def test_a_damaged_part_and_a_used_folder_are_refused(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = tmp_path / "parts"
    assert run(*options(sets), "--output", parts) == 0
    assert run(*options(sets), "--output", parts) == 1
    assert "is already there; name another folder" in capsys.readouterr().err
    content = bytearray((parts / "part-000.tar").read_bytes())
    content[700] ^= 1
    (parts / "part-000.tar").write_bytes(content)
    assert run("--unpack", parts, "--output", tmp_path / "there") == 1
    assert "is damaged" in capsys.readouterr().err and not (tmp_path / "there").exists()


def test_options_that_exclude_each_other_and_missing_lists_are_refused(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*options(sets), "--unpack", tmp_path, "--output", tmp_path / "there") == 2
    assert run("--unpack", sets, "--output", tmp_path / "there") == 1
    assert "parts.json" in capsys.readouterr().err


def test_names_that_lead_out_of_the_folder_are_not_followed(sets: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    assert run(*options(sets), "--output", parts) == 0
    (parts / "parts.json").write_text(json.dumps({"../from/devkit/ImageSets/Main/trainval.txt": "0" * 64}))
    assert run("--unpack", parts, "--output", tmp_path / "there") == 0  # looked for in `parts` alone, and missing
    assert not (tmp_path / "there").exists()
