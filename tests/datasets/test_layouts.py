"""The same photographs and objects in every place that people's tools put them: told apart, and read alike."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inception_rcnn.datasets import (
    FORMATS,
    CocoDataset,
    FolderDataset,
    VocDataset,
    named_format,
    open_dataset,
    parts_of,
    tell_format,
    write_dataset,
)
from inception_rcnn.structures import DataFormatError, InputError, write_picture

SIZE = (40, 20)
BOXES = {"a": ("cat", (4, 2, 14, 8)), "b": ("dog", (10, 5, 40, 20))}
NAMES = ("cat", "dog")


def photograph(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def xml(stem: str, filename: str = "") -> str:
    name, (x1, y1, x2, y2) = BOXES[stem]
    sides = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return (
        f"<annotation><filename>{filename or stem + '.jpg'}</filename><size><width>40</width><height>20</height></size>"
        f"<object><name>{name}</name><bndbox>{sides}</bndbox></object></annotation>"
    )


def coco(prefix: str = "", root: bool = False) -> str:
    categories = [{"id": k, "name": name, "supercategory": "pets"} for k, name in enumerate(NAMES, 1)]
    images = [{"id": k, "file_name": f"{prefix}{s}.jpg", "width": 40, "height": 20} for k, s in enumerate(BOXES)]
    objects = [
        {"id": k, "image_id": k, "category_id": NAMES.index(name) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
        for k, (name, (x1, y1, x2, y2)) in enumerate(BOXES.values())
    ]
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}, *categories] if root else categories
    return json.dumps({"images": images, "annotations": objects, "categories": categories})


def yolo(stem: str) -> str:
    name, (x1, y1, x2, y2) = BOXES[stem]
    return f"{NAMES.index(name)} {(x1 + x2) / 80} {(y1 + y2) / 40} {(x2 - x1) / 40} {(y2 - y1) / 20}\n"


def lay_out(root: Path, images: str, truths: dict[str, str] | Callable[[str], tuple[str, str]]) -> None:
    """Write the two photographs, and files beside them: given by name, or for each photograph."""
    for stem in BOXES:
        photograph(root / images.format(stem))
        if not isinstance(truths, dict):
            place, text = truths(stem)
            write(root / place.format(stem), text)
    for place, text in truths.items() if isinstance(truths, dict) else ():
        write(root / place, text)


def voc_lists(text: str = "a\nb\n") -> Callable[[Path], None]:
    return lambda root: write(root / "ImageSets" / "Main" / "train.txt", text)


YAML = "train: images/train\nnames: [cat, dog]\n"
LAYOUTS: dict[str, tuple[str, str | None, Callable[[Path], None]]] = {
    "coco": ("coco", "train", lambda r: lay_out(r, "train/{}.jpg", {"train.json": coco()})),
    "coco 2017": ("coco", "train", lambda r: lay_out(r, "train/{}.jpg", {"annotations/instances_train.json": coco()})),
    "CVAT's coco": (
        "coco",
        "default",
        lambda r: lay_out(r, "images/default/{}.jpg", {"annotations/instances_default.json": coco("default/")}),
    ),
    "Datumaro's coco": (
        "coco",
        "train",
        lambda r: lay_out(r, "images/train/{}.jpg", {"annotations/instances_train.json": coco()}),
    ),
    "plain names": ("coco", "train", lambda r: lay_out(r, "images/{}.jpg", {"annotations/train.json": coco()})),
    "Roboflow's coco": (
        "coco",
        "train",
        lambda r: lay_out(r, "train/{}.jpg", {"train/_annotations.coco.json": coco(root=True)}),
    ),
    "Label Studio's coco": (
        "coco",
        "result",
        lambda r: lay_out(r, "images/{}.jpg", {"result.json": coco("..\\..\\label-studio\\media\\upload\\1\\")}),
    ),
    "FiftyOne's coco": ("coco", "labels", lambda r: lay_out(r, "data/{}.jpg", {"labels.json": coco()})),
    "voc": (
        "voc",
        "train",
        lambda r: (lay_out(r, "JPEGImages/{}.jpg", lambda s: ("Annotations/{}.xml", xml(s))), voc_lists()(r))[1],
    ),
    "voc, list of files": (
        "voc",
        "train",
        lambda r: (
            lay_out(r, "JPEGImages/{}.jpg", lambda s: ("Annotations/{}.xml", xml(s))),
            voc_lists("a.jpg\n/home/me/VOC/JPEGImages/b.jpg 1\n")(r),
        )[1],
    ),
    "voc, nested": (
        "voc",
        "train",
        lambda r: (
            lay_out(r, "JPEGImages/2026-01-01/{}.jpg", lambda s: ("Annotations/day/{}.xml", xml(s))),
            voc_lists()(r),
        )[1],
    ),
    "voc without lists": (
        "voc",
        None,
        lambda r: lay_out(r, "JPEGImages/{}.jpg", lambda s: ("Annotations/{}.xml", xml(s))),
    ),
    "Kaggle's voc": ("voc", None, lambda r: lay_out(r, "images/{}.jpg", lambda s: ("annotations/{}.xml", xml(s)))),
    "voc, a folder each": (
        "voc",
        "train",
        lambda r: lay_out(r, "train/JPEGImages/{}.jpg", lambda s: ("train/Annotations/{}.xml", xml(s))),
    ),
    "labelImg's": ("folder", None, lambda r: lay_out(r, "{}.jpg", lambda s: ("{}.xml", xml(s)))),
    "labelImg's, in parts": (
        "folder",
        "train",
        lambda r: lay_out(r, "train/{}.jpg", lambda s: ("train/{}.xml", xml(s))),
    ),
    "upper case": ("folder", None, lambda r: lay_out(r, "{}.JPG", lambda s: ("{}.XML", xml(s)))),
    "two endings": ("folder", None, lambda r: lay_out(r, "{}.jpg", lambda s: ("{}.jpg.xml", xml(s)))),
    "dated": ("folder", None, lambda r: lay_out(r, "2026-01-01/{}.jpg", lambda s: ("2026-01-01/{}.xml", xml(s)))),
    "yolo": (
        "yolo",
        "train",
        lambda r: (
            lay_out(r, "images/train/{}.jpg", lambda s: ("labels/train/{}.txt", yolo(s))),
            write(r / "data.yaml", YAML),
        )[1],
    ),
    "Roboflow's yolo": (
        "yolo",
        "train",
        lambda r: (
            lay_out(r, "train/images/{}.jpg", lambda s: ("train/labels/{}.txt", yolo(s))),
            write(r / "data.yaml", "train: ../train/images\n\nnc: 2\nnames: ['cat', 'dog']\n"),
        )[1],
    ),
    "Label Studio's yolo": (
        "yolo",
        None,
        lambda r: (
            lay_out(r, "images/{}.jpg", lambda s: ("labels/{}.txt", yolo(s))),
            write(r / "classes.txt", "cat\ndog\n"),
        )[1],
    ),
    "labelImg's yolo": (
        "yolo",
        None,
        lambda r: (lay_out(r, "{}.jpg", lambda s: ("{}.txt", yolo(s))), write(r / "classes.txt", "cat\ndog\n"))[1],
    ),
}


@pytest.mark.filterwarnings("ignore:.*is the root of the others")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_told_and_gives_the_same_objects(tmp_path: Path, layout: str) -> None:
    format, part, make = LAYOUTS[layout]
    make(tmp_path)
    assert tell_format(tmp_path) == format
    dataset = open_dataset(tmp_path, split=part)
    table = dataset.ground_truths()
    assert (dataset.format, len(dataset), dataset.problems) == (format, 2, [])
    assert [path.rpartition("/")[2].lower() for path in (str(dataset.path(i)) for i in range(2))] == ["a.jpg", "b.jpg"]
    assert [table.class_names[label] for label in table.label] == ["cat", "dog"]
    np.testing.assert_allclose(table.box, [box for _, box in BOXES.values()], atol=1e-9)
    assert table.sizes == (SIZE, SIZE) and dataset.load_image(0).shape == (20, 40, 3)
    assert (part is None) == (parts_of(format, tmp_path) == ())
    assert open_dataset(tmp_path).ground_truths() == table  # the only part need not be named
    assert open_dataset(f"{format}:{tmp_path}").ground_truths() == table
    assert f"({format}): 2 photographs, 2 objects of " in dataset.summary and dataset.summary in repr(dataset)


@pytest.mark.filterwarnings("ignore:.*is the root of the others")
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_can_be_written_in_every_format(tmp_path: Path, layout: str, format: str) -> None:
    _, part, make = LAYOUTS[layout]
    make(tmp_path / "given")
    given = open_dataset(tmp_path / "given", split=part)
    write_dataset(format, given, tmp_path / "new", "train")
    assert tell_format(tmp_path / "new") == format
    again = open_dataset(tmp_path / "new", split="train")
    np.testing.assert_allclose(again.ground_truths().box, given.ground_truths().box, atol=1e-6)
    assert [again.ground_truth(i).names() for i in range(2)] == [["cat"], ["dog"]]
    assert [again.path(i).read_bytes() for i in range(2)] == [given.path(i).read_bytes() for i in range(2)]


def test_a_truth_file_stands_for_its_data_set(tmp_path: Path) -> None:
    LAYOUTS["CVAT's coco"][2](tmp_path)
    dataset = open_dataset(tmp_path / "annotations" / "instances_default.json")
    assert (dataset.split, len(dataset.ground_truths()), dataset.root) == ("default", 2, tmp_path)
    write(tmp_path / "results.json", "[]")
    write(tmp_path / "set.zip", "PK")
    for name, text in (("results.json", "is no data set"), ("set.zip", "unpack it first")):
        with pytest.raises(InputError, match=text):
            open_dataset(tmp_path / name)


def test_several_parts_must_be_named_and_a_wrong_one_is_never_another(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        lay_out(tmp_path / "coco", f"{part}/{{}}.jpg", {f"{part}/_annotations.coco.json": coco()})
        lay_out(tmp_path / "voc", "JPEGImages/{}.jpg", lambda s: ("Annotations/{}.xml", xml(s)))
        write(tmp_path / "voc" / "ImageSets" / "Main" / f"{part}.txt", "a\nb\n")
    for format in ("coco", "voc"):
        with pytest.raises(InputError, match="has the parts train, valid; name one"):
            open_dataset(tmp_path / format)
        with pytest.raises(InputError, match=r"did you mean 'valid'\?"):
            open_dataset(tmp_path / format, split="val")


def test_a_prefix_is_a_format_only_if_it_is_one() -> None:
    assert named_format("voc:VOC2007") == ("voc", Path("VOC2007"))
    for path in ("C:\\photographs", "pascal:x", "VOC:x", "voc:", "pets"):
        assert named_format(path) == (None, Path(path))
    with pytest.raises(InputError, match="nowhere does not exist; give the folder of a data set"):
        open_dataset("nowhere")


FOREIGN = {
    "a.json": (
        '{"shapes": [], "imagePath": "a.jpg"}',
        "LabelMe's own JSON is not read: convert with labelme2voc",
    ),
    "annotations.xml": ("<annotations><version>1.1</version></annotations>", "CVAT's own XML .* export the task as"),
    "project.json": (
        '[{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]',
        "Label Studio's own JSON .* export as",
    ),
    "via.json": ('{"a.jpg1": {"filename": "a.jpg", "regions": []}}', "VGG Image Annotator's own JSON .* export"),
    "labels.csv": ("filename,xmin,ymin,xmax,ymax,class\n", "annotations in CSV is not read: convert to COCO"),
    "a.txt": ("0 0.5 0.5 0.1 0.1\n", r"YOLO's labels is read with the format yolo alone \(--data yolo:DIR\)"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_annotations_of_another_format_are_named_not_passed_over(tmp_path: Path, name: str) -> None:
    photograph(tmp_path / "a.jpg")
    text, said = FOREIGN[name]
    write(tmp_path / name, text)
    if name == "annotations.xml":
        with pytest.raises(DataFormatError, match=r"CVAT's own XML; export the task as 'PASCAL VOC 1\.1'"):
            FolderDataset(tmp_path)
        return
    with pytest.warns(UserWarning, match=f"1 file passed over, such as .*{name}: .*{said}"):
        assert len(FolderDataset(tmp_path)) == 1


def test_another_tools_json_in_cocos_place_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.json", FOREIGN["project.json"][0])
    with pytest.raises(
        DataFormatError, match=r"train\.json: should be a COCO truth, and .*: Label Studio's own JSON is not read"
    ):
        CocoDataset(tmp_path, "train")


def test_photographs_of_other_parts_are_named_and_never_taken(tmp_path: Path) -> None:
    photograph(tmp_path / "train" / "b.jpg", (9, 9))
    photograph(tmp_path / "val" / "a.jpg")
    write(tmp_path / "val.json", coco())
    with pytest.raises(DataFormatError, match=r"image 1: the photograph 'b\.jpg' is missing, looked in"):
        CocoDataset(tmp_path, "val")
    (tmp_path / "val.json").unlink()
    with pytest.raises(InputError, match="has the parts train, val; name one as the split"):
        FolderDataset(tmp_path)
    photograph(tmp_path / "a.jpg")
    with pytest.warns(UserWarning, match="photographs in train, val not looked at: these are parts; name one"):
        assert len(FolderDataset(tmp_path)) == 1


def test_a_photograph_of_another_size_is_not_taken_for_a_moved_one(tmp_path: Path) -> None:
    photograph(tmp_path / "images" / "deep" / "a.jpg", (9, 9))
    photograph(tmp_path / "images" / "b.jpg")
    write(tmp_path / "val.json", coco())
    with pytest.raises(DataFormatError, match=r"'a\.jpg' is missing; .*deep/a\.jpg is 9 x 9, another one"):
        CocoDataset(tmp_path, "val")


def test_two_photographs_of_one_name_in_two_folders_are_no_answer(tmp_path: Path) -> None:
    lay_out(tmp_path, "JPEGImages/day1/{}.jpg", lambda s: ("Annotations/{}.xml", xml(s)))
    photograph(tmp_path / "JPEGImages" / "day2" / "a.jpg")
    with pytest.raises(DataFormatError, match=r"a\.xml: 2 photographs may be meant: .*day1/a\.jpg, .*day2/a\.jpg"):
        VocDataset(tmp_path)


def test_ids_that_mean_one_annotation_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, "JPEGImages/{}.jpg", lambda s: ("Annotations/{}.xml", xml(s)))
    voc_lists("a\na.jpg\n")(tmp_path)
    with pytest.raises(DataFormatError, match=r"train\.txt, a\.jpg: the ids 'a' and 'a\.jpg' are of one annotation"):
        VocDataset(tmp_path, "train")


def test_photographs_without_annotation_are_counted(tmp_path: Path) -> None:
    lay_out(tmp_path, "JPEGImages/{}.jpg", lambda s: ("Annotations/{}.xml", xml(s)))
    photograph(tmp_path / "JPEGImages" / "c.jpg")
    with pytest.warns(UserWarning, match=r"1 photograph without annotation left out, the first: .*c\.jpg"):
        assert len(VocDataset(tmp_path)) == 2


@pytest.mark.parametrize("format", ["folder", "yolo", "voc"])
def test_pictures_that_commands_drew_are_no_photographs(tmp_path: Path, format: str) -> None:
    """As `detect` leaves them in a folder beneath the photographs; a photograph without annotation stays one."""
    for stem in BOXES:
        photograph(tmp_path / "train" / f"{stem}.jpg")
        write(tmp_path / "train" / f"{stem}.xml", xml(stem))
    root = tmp_path
    if format != "folder":
        root = tmp_path / format
        write_dataset(format, FolderDataset(tmp_path / "train"), root, "train")
    place = {"folder": root / "train", "yolo": root / "images" / "train", "voc": root / "JPEGImages"}[format]
    bare = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    Image.fromarray(bare).save(place / "c.jpg")
    (root / "ImageSets" / "Main" / "train.txt").unlink(missing_ok=True)  # of VOC all annotations are read then
    write_picture(place / "detections" / "a-detections.jpg", bare)
    write_picture(place / "b-detections.jpg", bare)
    said = "1 photograph without annotation" if format == "voc" else "2 pictures that commands drew left out"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = open_dataset(format, root, None if format == "voc" else "train")
    assert any(note.startswith(said) for note in dataset.notes)
    assert [dataset.path(i).name for i in range(len(dataset))] == ["a.jpg", "b.jpg", "c.jpg"][: 2 + (format != "voc")]
    assert len(dataset.ground_truths()) == 2


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_a_data_set_one_folder_deeper_is_named(tmp_path: Path, format: str) -> None:
    photograph(tmp_path / "plain" / "a.jpg")
    write(tmp_path / "plain" / "a.xml", xml("a"))
    write_dataset(format, FolderDataset(tmp_path / "plain"), tmp_path / "download" / "pets 2", "train")
    with pytest.raises(InputError, match=r"download is no data set, but holds pets 2; name .*download/pets 2"):
        tell_format(tmp_path / "download")
    photograph(tmp_path / "download" / "b.jpg")  # photographs of its own: a folder like any other
    assert tell_format(tmp_path / "download") in ("folder", "yolo")


def test_a_second_truth_of_the_same_part_is_named(tmp_path: Path) -> None:
    for stem in BOXES:
        photograph(tmp_path / "train" / f"{stem}.jpg")
    write(tmp_path / "train.json", coco())
    write(tmp_path / "annotations" / "instances_train.json", coco().replace('"cat"', '"lion"'))
    with pytest.warns(UserWarning, match=r"there is .*instances_train\.json too, which is not read"):
        assert CocoDataset(tmp_path, "train").class_names == ("cat", "dog")
    alone = CocoDataset(tmp_path / "annotations" / "instances_train.json")
    assert alone.class_names == ("lion", "dog") and alone.notes == []


@pytest.mark.parametrize(
    "line", ["JPEGImages/{0}.jpg Annotations/{0}.xml", "./Annotations/{0}.xml", "{0}.jpg\t{0}.xml"]
)
def test_lists_name_annotations_or_both(tmp_path: Path, line: str) -> None:
    for stem in BOXES:
        photograph(tmp_path / "JPEGImages" / f"{stem}.jpg")
        write(tmp_path / "Annotations" / f"{stem}.xml", xml(stem))
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "".join(f"{line.format(stem)}\n" for stem in BOXES))
    assert VocDataset(tmp_path, "train").image_ids == ("a", "b")


def test_a_download_that_is_still_packed_is_named(tmp_path: Path) -> None:
    write(tmp_path / "pets.zip", "PK")
    with pytest.raises(InputError, match=r"holds no data set that is read: unpack pets\.zip first"):
        tell_format(tmp_path)


def test_labels_in_utf_16_tell_the_format(tmp_path: Path) -> None:
    photograph(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_bytes("0 0.5 0.25 0.5 0.1\r\n".encode("utf-16"))
    write(tmp_path / "classes.txt", "cat\n")
    assert tell_format(tmp_path) == "yolo" and len(open_dataset(tmp_path).ground_truths()) == 1
