"""Photographs with one class each: folders, tables, and the outputs they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from inception_rcnn.datasets import open_labelled_images, open_labelled_part
from inception_rcnn.datasets.imagenet_classes import imagenet_names, imagenet_synsets
from inception_rcnn.datasets.reading.labelled_images import has_parts
from inception_rcnn.structures import DataFormatError, InputError


def folder_of(root: Path, *files: str) -> Path:
    """The folder, with empty files in it."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    names = ("dog/b.jpg", "dog/deep/a.PNG", "cat/1.jpeg", "cat/notes.txt", "cat/.hidden.jpg", ".trash/x.jpg", "top.jpg")
    found = open_labelled_images(folder_of(tmp_path, *names))
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == [
        "cat/1.jpeg",
        "dog/b.jpg",
        "dog/deep/a.PNG",
    ]
    assert found.labels == (0, 1, 1) and found.classes == ("cat", "dog") and len(found) == 3


def test_outputs_by_name_or_in_order(tmp_path: Path) -> None:
    found = open_labelled_images(folder_of(tmp_path, "dog/b.jpg", "cat/1.jpg"))
    assert found.outputs(2, None) == (0, 1)
    assert found.outputs(3, ("dog", "bird", "cat")) == (2, 0)
    with pytest.raises(InputError, match="there are 2 folders and 3 outputs without names; give one for each"):
        found.outputs(3, None)
    with pytest.raises(InputError, match="folder 'cat' is none of the network's 2 classes, 'dog'"):
        found.outputs(2, ("dog", "bird"))


def test_some_of_imagenets_folders(tmp_path: Path) -> None:
    found = open_labelled_images(folder_of(tmp_path, "n01443537/a.jpg", "n01532829/b.jpg"))
    assert found.outputs(1000, imagenet_synsets()) == (1, 12)
    assert imagenet_names()[1] == "goldfish" and len(imagenet_names()) == 1000


def test_a_table(tmp_path: Path) -> None:
    table = tmp_path / "labels.tsv"
    table.write_text('file\tname\tclass_index\nimages/a.jpg\ta "cat\t7\nb.jpg\tdog\t0\n')
    for path in (table, tmp_path):
        found = open_labelled_images(path)
        assert found.paths == (tmp_path / "images/a.jpg", tmp_path / "b.jpg") and found.labels == (7, 0)
        assert found.classes is None and found.outputs(8, ("x",) * 8) == (7, 0)
    with pytest.raises(InputError, match=r"a\.jpg has class 7, and the network 7 outputs, from 0 on"):
        found.outputs(7, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\tlabel\na.jpg\t1\n", "lacks the column 'class_index'"),
        ("", "lacks the column 'file'"),
        ("file\tclass_index\n../a.jpg\t1\n", r"line 2: names no file below its folder: '\.\./a.jpg'"),
        ("file\tclass_index\n\t1\n", "line 2: names no file"),
        ("file\tclass_index\na.jpg\t1\na.jpg\n", "line 3: class_index should be a number from 0 on, got ''"),
        ("file\tclass_index\na.jpg\t-1\n", "from 0 on, got '-1'"),
        ("file\tclass_index\na.jpg\t1e3\n", "from 0 on, got '1e3'"),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.tsv").write_text(text)
    with pytest.raises(DataFormatError, match=message):
        open_labelled_images(tmp_path)


def test_what_has_no_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photographs at"):
        open_labelled_images(tmp_path / "absent")
    with pytest.raises(InputError, match="has no folders with photographs"):
        open_labelled_images(folder_of(tmp_path, "a.jpg"))
    (tmp_path / "labels.tsv").write_text("file\tclass_index\n")
    with pytest.raises(InputError, match="names no photographs"):
        open_labelled_images(tmp_path)
    (tmp_path / "labels.tsv").write_bytes(b"file\tclass_index\n\xff.jpg\t1\n")
    with pytest.raises(DataFormatError, match="is no table in UTF-8"):
        open_labelled_images(tmp_path)


def test_parts_of_a_folder(tmp_path: Path) -> None:
    folder_of(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "val/dog/c.jpg")
    assert has_parts(tmp_path) and not has_parts(tmp_path / "train")
    assert open_labelled_part(tmp_path, "train").classes == ("cat", "dog")
    assert open_labelled_part(tmp_path, "val").outputs(2, ("cat", "dog")) == (1,)
    with pytest.raises(InputError, match=r"has no part 'test'; its folders are train, val"):
        open_labelled_part(tmp_path, "test")


def test_a_class_may_be_called_as_a_part_is(tmp_path: Path) -> None:
    folder_of(tmp_path, "aeroplane/a.jpg", "train/b.jpg")
    assert not has_parts(tmp_path)
    folder_of(tmp_path, "val/c.jpg")
    assert has_parts(tmp_path)
    (folder_of(tmp_path / "table/train", "a.jpg") / "labels.tsv").write_text("file\tclass_index\na.jpg\t0\n")
    assert has_parts(tmp_path / "table")


def test_ilsvrcs_classification_task(tmp_path: Path) -> None:
    folder_of(tmp_path, "Data/CLS-LOC/train/n01443537/a.JPEG", "Data/CLS-LOC/train/n01532829/b.JPEG")
    folder_of(tmp_path / "Data/CLS-LOC/val", "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG")
    assert has_parts(tmp_path)
    assert open_labelled_part(tmp_path, "train").outputs(1000, imagenet_synsets()) == (1, 12)
    with pytest.raises(InputError, match=r"nothing says what .*00000001\.JPEG shows; .*LOC_val_solution\.csv"):
        open_labelled_part(tmp_path, "val")
    table = tmp_path / "LOC_val_solution.csv"
    table.write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n01532829 1 2 3 4 \n")
    annotation = tmp_path / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml"
    annotation.parent.mkdir(parents=True)
    annotation.write_text("<annotation><object><name>n01443537</name></object></annotation>")
    found = open_labelled_part(tmp_path, "val")
    assert found.classes == ("n01443537", "n01532829") and found.labels == (1, 0)
    annotation.write_text("<annotation></annotation>")
    with pytest.raises(DataFormatError, match="objects of one class, got none"):
        open_labelled_part(tmp_path, "val")
    table.write_text("ImageId,PredictionString\nILSVRC2012_val_00000001\n")
    with pytest.raises(DataFormatError, match=r"LOC_val_solution\.csv, line 2: names no class of 'ILSVRC2012_val_"):
        open_labelled_part(tmp_path, "val")
    table.write_bytes(b"ImageId,PredictionString\n\xff\xfe,n01532829\n")
    with pytest.raises(DataFormatError, match="is no table in UTF-8"):
        open_labelled_part(tmp_path, "val")
    table.write_text("Image,PredictionString\n")
    with pytest.raises(DataFormatError, match="lacks the column 'ImageId'"):
        open_labelled_part(tmp_path, "val")


def test_the_same_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    names = [f"cat/{n}.jpg" for n in range(20)] + [f"dog/{n}.jpg" for n in range(3)] + ["eel/only.jpg"]
    found = open_labelled_images(folder_of(tmp_path, *names))
    kept, held = found.held_out(0.1, 0)
    assert [held.labels.count(label) for label in range(3)] == [2, 1, 0]
    assert sorted(kept.paths + held.paths) == list(found.paths) and kept.classes == held.classes == found.classes
    assert found.held_out(0.1, 0)[1].paths == held.paths != found.held_out(0.1, 1)[1].paths


def test_files_that_are_no_photographs_are_told(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat/empty.jpg")
    Image.new("RGB", (4, 3)).save(tmp_path / "cat/whole.png")
    found, broken = open_labelled_images(tmp_path).readable()
    assert [path.name for path in found.paths] == ["whole.png"] and broken == [str(tmp_path / "cat/empty.jpg")]
    assert found.readable() == (found, [])
