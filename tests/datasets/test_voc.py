"""PASCAL VOC's format: pixels from 1, difficult objects, which classes, which photograph, and every way to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dataset_extracts import lay_out
from PIL import Image

from inception_rcnn.datasets import VOC_CLASSES, VocDataset
from inception_rcnn.structures import DataFormatError, ImageError, InputError

VOC_2007 = Path(__file__).resolve().parents[3] / "shared" / "data" / "voc2007"
needs_voc_2007 = pytest.mark.skipif(not VOC_2007.is_dir(), reason="the photographs of ../shared are not here")

Objects = list[tuple[str, tuple[object, ...], dict[str, object]]]
DOG: Objects = [("dog", (1, 1, 10, 5), {})]


def object_xml(name: str, box: tuple[object, ...], more: dict[str, object]) -> str:
    """One <object>; `box` is xmin ymin xmax ymax as written in the file."""
    sides = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False)
    )
    rest = "".join(f"<{key}>{value}</{key}>" for key, value in more.items())
    return f"<object><name>{name}</name>{rest}<bndbox>{sides}</bndbox></object>"


def annotation(objects: str, size: tuple[object, object] = (40, 20), filename: str = "a.png") -> str:
    return (
        f"<annotation><filename>{filename}</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"<depth>3</depth></size>{objects}</annotation>"
    )


def add(root: Path, image_id: str, objects: Objects | str, *, suffix: str = ".png", split: str = "val") -> Path:
    """Add a photograph of 40 x 20 to the data set; return its XML."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20)).save(root / "JPEGImages" / f"{image_id}{suffix}")
    path = root / "Annotations" / f"{image_id}.xml"
    inner = objects if isinstance(objects, str) else "".join(object_xml(*one) for one in objects)
    path.write_text(annotation(inner, filename=f"{image_id}{suffix}"))
    with open(root / "ImageSets" / "Main" / f"{split}.txt", "a") as file:
        file.write(f"{image_id}\n")
    return path


def test_boxes_are_counted_from_0_and_exclusive(tmp_path: Path) -> None:
    add(tmp_path, "a", [("dog", (1, 1, 40, 20), {}), ("cat", (3, 4, 3, 9), {})])
    truth = VocDataset(tmp_path, "val").ground_truth(0)
    assert truth.boxes.tolist() == [[0, 0, 40, 20], [2, 3, 3, 9]]
    assert truth.names() == ["dog", "cat"]
    assert (truth.image_id, truth.width, truth.height, truth.areas) == ("a", 40, 20, None)


def test_coordinates_may_have_fractions(tmp_path: Path) -> None:
    add(tmp_path, "a", [("dog", ("1.5", "2.25", " 10.5 ", "9"), {})])
    assert VocDataset(tmp_path, "val").ground_truth(0).boxes.tolist() == [[0.5, 1.25, 10.5, 9]]


def test_difficult_objects_are_to_ignore_and_truncated_ones_are_not(tmp_path: Path) -> None:
    more = [{"difficult": 1}, {"difficult": 0, "truncated": 1}, {"truncated": 1, "occluded": 1}]
    add(tmp_path, "a", [("dog", (1, 1, 9 + k, 9), one) for k, one in enumerate(more)])
    assert VocDataset(tmp_path, "val").ground_truth(0).ignore.tolist() == [True, False, False]


def test_parts_of_objects_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    add(tmp_path, "a", object_xml("person", (1, 1, 9, 9), {}).replace("</object>", f"{part}</object>"))
    dataset = VocDataset(tmp_path, "val")
    assert dataset.ground_truth(0).names() == ["person"]
    assert "head" not in dataset.class_names


def test_order_ids_and_lazy_photographs(tmp_path: Path) -> None:
    add(tmp_path, "b", DOG)
    add(tmp_path, "a", [])
    (tmp_path / "JPEGImages" / "a.png").write_bytes(b"damaged")
    dataset = VocDataset(str(tmp_path), "val")
    assert (len(dataset), list(dataset.image_ids), dataset.skipped, dataset.has_truth) == (2, ["b", "a"], 0, True)
    image, truth = dataset[0]
    assert (image.shape, len(truth)) == ((20, 40, 3), 1)
    assert (len(dataset.ground_truth(1)), len(dataset.ground_truth(-2))) == (0, 1)
    with pytest.raises(ImageError, match=r"a\.png"):
        dataset[1]
    with pytest.raises(IndexError):
        dataset.ground_truth(2)


def test_lists_of_one_class_name_all_photographs(tmp_path: Path) -> None:
    add(tmp_path, "a", DOG)
    add(tmp_path, "b", DOG)
    (tmp_path / "ImageSets" / "Main" / "dog_val.txt").write_text("a  1\nb -1\n\n")
    assert list(VocDataset(tmp_path, "dog_val").image_ids) == ["a", "b"]


def test_classes_are_vocs_twenty_if_there_are_no_others(tmp_path: Path) -> None:
    add(tmp_path, "a", DOG)
    assert VocDataset(tmp_path, "val").class_names == VOC_CLASSES
    assert (len(VOC_CLASSES), list(VOC_CLASSES)) == (20, sorted(VOC_CLASSES))


def test_otherwise_classes_are_all_found_in_any_split(tmp_path: Path) -> None:
    add(tmp_path, "a", [("zebra", (1, 1, 9, 9), {}), ("dog", (1, 1, 9, 9), {})])
    add(tmp_path, "b", [("apple", (1, 1, 9, 9), {})], split="train")
    (tmp_path / "Annotations" / "c.xml").write_text("broken, and in no list")
    dataset = VocDataset(tmp_path, "val")
    assert dataset.class_names == ("apple", "dog", "zebra")
    assert dataset.ground_truth(0).labels.tolist() == [2, 1]
    assert VocDataset(tmp_path, "train").class_names == dataset.class_names


def test_a_list_of_classes_is_final(tmp_path: Path) -> None:
    add(tmp_path, "a", [("zebra", (1, 1, 9, 9), {}), ("dog", (1, 1, 9, 9), {})])
    (tmp_path / "classes.txt").write_text("zebra\n\ndog\ncow\n")
    dataset = VocDataset(tmp_path, "val")
    assert dataset.class_names == ("zebra", "dog", "cow")
    assert dataset.ground_truth(0).labels.tolist() == [0, 1]
    (tmp_path / "classes.txt").write_text("zebra\n")
    with pytest.raises(DataFormatError, match=r"a\.xml, object 2 \(dog\): its class is none of the 1 classes"):
        VocDataset(tmp_path, "val")
    (tmp_path / "classes.txt").write_text("zebra\nzebra\n")
    with pytest.raises(DataFormatError, match=r"classes\.txt, line 2: the class 'zebra' is there twice"):
        VocDataset(tmp_path, "val")
    (tmp_path / "classes.txt").write_text("\n")
    with pytest.raises(DataFormatError, match=r"classes\.txt: should hold one class name a line"):
        VocDataset(tmp_path, "val")


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp", ".bmp"])
def test_photographs_may_end_in_anything(tmp_path: Path, suffix: str) -> None:
    path = add(tmp_path, "a", DOG, suffix=suffix)
    path.write_text(path.read_text().replace(f"a{suffix}", "a"))
    assert VocDataset(tmp_path, "val").path(0) == tmp_path / "JPEGImages" / f"a{suffix}"


def test_of_several_photographs_the_annotation_names_one(tmp_path: Path) -> None:
    path = add(tmp_path, "a", DOG, suffix=".webp")
    Image.new("RGB", (9, 9)).save(tmp_path / "JPEGImages" / "a.bmp")
    assert VocDataset(tmp_path, "val").path(0).name == "a.webp"
    path.write_text(path.read_text().replace("a.webp", "other.webp"))
    assert VocDataset(tmp_path, "val").path(0).name == "a.webp"  # which has the annotation's width and height
    Image.new("RGB", (40, 20)).save(tmp_path / "JPEGImages" / "a.bmp")
    with pytest.raises(DataFormatError, match=r"a\.xml: 2 photographs may be meant: .*a\.bmp, .*a\.webp; name one"):
        VocDataset(tmp_path, "val")


def test_a_photograph_of_another_name_is_found_by_filename_but_not_outside(tmp_path: Path) -> None:
    path = add(tmp_path, "a", DOG)
    (tmp_path / "JPEGImages" / "a.png").rename(tmp_path / "JPEGImages" / "IMG_1.png")
    path.write_text(path.read_text().replace("a.png", "IMG_1.png"))
    assert VocDataset(tmp_path, "val").path(0).name == "IMG_1.png"
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    for folder in ("Annotations", "ImageSets", "JPEGImages"):
        (tmp_path / folder).rename(tmp_path / "inside" / folder)
    path = tmp_path / "inside" / "Annotations" / "a.xml"
    (tmp_path / "inside" / "JPEGImages" / "IMG_1.png").rename(tmp_path / "outside" / "IMG_1.png")
    path.write_text(path.read_text().replace("IMG_1.png", "../../outside/IMG_1.png"))
    with pytest.raises(DataFormatError, match=r"a\.xml: its photograph is missing: neither a\.\* nor"):
        VocDataset(tmp_path / "inside", "val")


def test_a_photograph_of_another_size_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "a", DOG)
    Image.new("RGB", (20, 40)).save(tmp_path / "JPEGImages" / "a.png")
    with pytest.raises(DataFormatError, match=r"a\.xml, size: .*a\.png is 20 x 40 pixels, but .* say 40 x 20"):
        VocDataset(tmp_path, "val").load_image(0)


@pytest.mark.parametrize("size", ["<size><width>0</width><height>0</height></size>", "<size/>", ""])
def test_without_a_size_the_photograph_has_the_last_word(tmp_path: Path, size: str) -> None:
    path = add(tmp_path, "a", [])
    path.write_text(f"<annotation>{size}{object_xml('dog', (1, 1, 400, 9), {})}</annotation>")
    with pytest.warns(UserWarning, match="1 of 1 boxes leave their photographs and were clipped"):
        image, truth = VocDataset(tmp_path, "val")[0]
    assert (image.shape, truth.width, truth.height, truth.boxes.tolist()) == ((20, 40, 3), 40, 20, [[0, 0, 40, 9]])


BROKEN_OBJECTS = [
    (object_xml("dog", (5, 1, 4, 9), {}), r"object 1 \(dog\): its box has no area: xmin 5 ymin 1 xmax 4"),
    (object_xml("dog", (1, 9, 4, 3), {}), r"object 1 \(dog\): its box has no area"),
    (object_xml("dog", (41, 1, 50, 9), {}), r"object 1 \(dog\): its box lies outside the photograph \(40 x 20, .* 1\)"),
    (object_xml("dog", (1, 30, 40, 42), {}), r"object 1 \(dog\): its box lies outside the photograph"),
    (object_xml("dog", (-9, 1, -1, 9), {}), r"object 1 \(dog\): its box lies outside the photograph"),
    (object_xml("dog", (0.1, 0.2, 0.8, 0.9), {}), r"object 1 \(dog\): its box is given in shares .*, 0 to 1, where"),
    (
        object_xml("dog", (20, 2, 15, 9), {}),
        r"object 1 \(dog\): its box has no area: .* 9; as x y width height it would",
    ),
    (object_xml("dog", (1, "two", 9, 9), {}), r"object 1 \(dog\): ymin should be a number, got 'two'"),
    (object_xml("dog", (1, 2, 9, "nan"), {}), r"object 1 \(dog\): ymax should be a number, got 'nan'"),
    (object_xml("dog", (1, 2, "1e400", 9), {}), r"object 1 \(dog\): xmax should be a number"),
    (object_xml("dog", (1, 2, 9), {}), r"object 1 \(dog\): ymax should be a number, got ''"),
    (object_xml("dog", (1, 2, 9, 9), {"difficult": "yes"}), r"object 1 \(dog\): difficult should be 0 or 1, got 'yes'"),
    (object_xml(" ", (1, 1, 9, 9), {}), "object 1: has no name"),
    ("<object><name>dog</name></object>", r"object 1 \(dog\): has no bndbox"),
]


@pytest.mark.parametrize(("broken", "text"), BROKEN_OBJECTS)
def test_a_broken_object_is_named_or_left_out_and_counted(tmp_path: Path, broken: str, text: str) -> None:
    add(tmp_path, "a", broken + object_xml("cat", (1, 1, 9, 9), {}))
    with pytest.raises(DataFormatError, match=rf"a\.xml, {text}.*skip_broken=True leaves it out\)$"):
        VocDataset(tmp_path, "val")
    dataset = VocDataset(tmp_path, "val", skip_broken=True)
    assert (dataset.skipped, dataset.ground_truth(0).names()) == (1, ["cat"])
    assert "skip_broken" not in dataset.problems[0] and "a.xml, object 1" in dataset.problems[0]


def test_one_pixel_outside_is_let_through_as_it_is(tmp_path: Path) -> None:
    add(tmp_path, "a", [("dog", (0, 0, 41, 21), {})])
    with pytest.warns(UserWarning, match="1 of 1 boxes look as if pixels were counted from 0, .*origin=0"):
        assert VocDataset(tmp_path, "val").ground_truth(0).boxes.tolist() == [[-1, -1, 41, 21]]
    assert VocDataset(tmp_path, "val", origin=1).ground_truth(0).boxes.tolist() == [[-1, -1, 41, 21]]
    with pytest.warns(UserWarning, match="1 of 1 boxes leave their photographs and were clipped"):
        assert VocDataset(tmp_path, "val", origin=0).ground_truth(0).boxes.tolist() == [[0, 0, 40, 20]]


def test_boxes_that_leave_their_photographs_are_clipped_and_counted_or_refused(tmp_path: Path) -> None:
    add(tmp_path, "a", [("dog", (3, 4, 45, 20), {}), ("cat", (1, 1, 9, 9), {})])
    with pytest.warns(UserWarning, match=r"1 of 2 boxes leave .* the first: .*a\.xml, object 1 \(dog\) \(--strict"):
        dataset = VocDataset(tmp_path, "val")
    assert dataset.ground_truth(0).boxes.tolist() == [[2, 3, 40, 20], [0, 0, 9, 9]]
    with pytest.raises(DataFormatError, match=r"object 1 \(dog\): its box leaves the photograph \(40 x 20"):
        VocDataset(tmp_path, "val", strict=True)
    dataset = VocDataset(tmp_path, "val", strict=True, skip_broken=True)
    assert (dataset.skipped, dataset.ground_truth(0).names()) == (1, ["cat"])


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation><filename>&b;</filename></annotation>'
BROKEN_FILES = [
    (b"", r"a\.xml, line 1, column 1: is not valid XML: no element found; is the download complete"),
    (b"<annotation>\n<size>", r"a\.xml, line 2, column 7: is not valid XML"),
    (b"<annotation>\xff</annotation>", r"a\.xml, line 1, column 13: is not valid XML"),
    (b'<?xml version="1.0" encoding="latin-99"?><annotation/>', r"a\.xml.*: is not valid XML"),
    (b"<html/>", r"a\.xml: should be an <annotation> as in PASCAL VOC, got <html>"),
    (BOMB.encode(), r"a\.xml: declares entities"),
    (annotation("", size=("wide", 20)).encode(), r"a\.xml, size: width should be a whole number of pixels, got 'wide'"),
    (annotation("", size=(40, 20.5)).encode(), r"a\.xml, size: height should be a whole number of pixels, got '20\.5'"),
    (annotation("", size=(-40, 20)).encode(), r"a\.xml, size: width should be a whole number"),
    (None, r"a\.xml: the annotation is missing"),
]


@pytest.mark.parametrize(("content", "text"), BROKEN_FILES)
def test_a_broken_annotation_is_named_or_its_photograph_left_out(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    path = add(tmp_path, "a", DOG)
    add(tmp_path, "b", DOG)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataFormatError, match=text):
        VocDataset(tmp_path, "val")
    dataset = VocDataset(tmp_path, "val", skip_broken=True)
    assert (list(dataset.image_ids), dataset.skipped, dataset.path(0).name) == (["b"], 1, "b.png")
    assert dataset.ground_truth(0).boxes.tolist() == [[0, 0, 10, 5]]


def test_a_missing_photograph_is_named_or_left_out(tmp_path: Path) -> None:
    add(tmp_path, "a", "<object/>")  # its broken object does not count either
    add(tmp_path, "b", DOG)
    (tmp_path / "JPEGImages" / "a.png").unlink()
    with pytest.raises(DataFormatError, match=r"a\.xml: its photograph is missing: neither a\.\* nor .*JPEGImages"):
        VocDataset(tmp_path, "val")
    dataset = VocDataset(tmp_path, "val", skip_broken=True)
    assert (list(dataset.image_ids), dataset.skipped) == (["b"], 1)


@pytest.mark.parametrize(("line", "text"), [("../b", r"line 2: the id '\.\./b' leads out"), ("a", "line 2: .* twice")])
def test_a_broken_list_is_named_or_its_line_left_out(tmp_path: Path, line: str, text: str) -> None:
    add(tmp_path, "a", DOG)
    listed = tmp_path / "ImageSets" / "Main" / "val.txt"
    listed.write_text(f"a\n{line}\n")
    with pytest.raises(DataFormatError, match=rf"val\.txt, {text}"):
        VocDataset(tmp_path, "val")
    assert VocDataset(tmp_path, "val", skip_broken=True).skipped == 1
    listed.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFormatError, match=r"val\.txt: should be a text"):
        VocDataset(tmp_path, "val", skip_broken=True)


def test_what_is_not_there_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is no folder"):
        VocDataset(tmp_path / "nowhere", "val")
    with pytest.raises(InputError, match=r"split 'test': .*test\.txt does not exist"):
        VocDataset(tmp_path, "test")


def test_more_regions_to_ignore_are_appended(tmp_path: Path) -> None:
    add(tmp_path, "a", DOG)
    add(tmp_path, "b", DOG)
    extra = {"b": [{"name": "cow", "box": [1, 2, 30, 20]}], "not in the list": [{"name": "cow", "box": [1, 1, 2, 2]}]}
    path = tmp_path / "difficult_from_masks.json"
    path.write_text(json.dumps(extra))
    dataset = VocDataset(tmp_path, "val")
    assert len(dataset.ground_truth(0)) == 1
    truth = dataset.ground_truth(1)
    assert (truth.names(), truth.ignore.tolist()) == (["dog", "cow"], [False, True])
    assert truth.boxes[1].tolist() == [0, 1, 30, 20]
    one = '{"b": [{"name": "cow", "box": [5, 1, %s, 2]}]}'
    for wrong in ("[]", '{"b": [{"name": "cow"}]}', one % 4, one % ("9" * 400)):
        path.write_text(wrong)
        with pytest.raises(DataFormatError, match=r"difficult_from_masks\.json: should be"):
            VocDataset(tmp_path, "val")
    for wrong in ("{", one % ("9" * 5000)):
        path.write_text(wrong)
        with pytest.raises(DataFormatError, match=r"difficult_from_masks\.json.*: is not valid JSON"):
            VocDataset(tmp_path, "val")
    (tmp_path / "classes.txt").write_text("dog\n")
    path.write_text(json.dumps(extra))
    with pytest.raises(DataFormatError, match=r"the class of .*cow.* is unknown"):
        VocDataset(tmp_path, "val")


def test_an_annotation_of_voc2007(tmp_path: Path) -> None:
    lay_out("voc", tmp_path)
    for split in ("val", "chair_val"):
        dataset = VocDataset(tmp_path, split)
        image, found = dataset[0]
        assert (dataset.image_ids, dataset.class_names) == (("000005",), VOC_CLASSES)
        assert image.shape == (375, 500, 3) and set(found.names()) == {"chair"}
        assert found.ignore.tolist() == [False, False, True, False, True]
        assert found.boxes[:2].tolist() == [[262, 210, 324, 339], [164, 263, 253, 372]]


@needs_voc_2007
@pytest.mark.parametrize(("split", "numbers"), [("train", (2500, 6300, 1543)), ("val", (2508, 6301, 1511))])
def test_real_photographs_and_their_truth(split: str, numbers: tuple[int, int, int]) -> None:
    dataset = VocDataset(VOC_2007, split)
    truths = [dataset.ground_truth(i) for i in range(len(dataset))]
    ignored = sum(int(truth.ignore.sum()) for truth in truths)
    assert (len(dataset), sum(map(len, truths)) - ignored, ignored) == numbers
    assert (dataset.class_names, dataset.skipped) == (VOC_CLASSES, 0)
    assert {name for truth in truths for name in truth.names()} == set(VOC_CLASSES)
    for image, truth in (dataset[0], dataset[len(dataset) // 2], dataset[-1]):
        assert image.shape == (truth.height, truth.width, 3)
        assert (truth.boxes[:, 2] <= image.shape[1]).all() and (truth.boxes >= 0).all()


def test_an_id_that_names_no_file_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "a", DOG)
    (tmp_path / "ImageSets/Main/val.txt").write_text("a 1\na " + "9" * 300 + "\n")
    with pytest.raises(DataFormatError, match=r"xml: cannot be read: File name too long|the annotation is missing"):
        VocDataset(tmp_path, "val")
    (tmp_path / "ImageSets/Main/val.txt").write_text("a 1\na " + "9" * 5000 + "\n")
    with pytest.raises(DataFormatError, match=r"val\.txt, line 2: the id 'a 9{38}'\.\.\. has 5002 characters"):
        VocDataset(tmp_path, "val")
