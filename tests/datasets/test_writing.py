"""What is written is read back to the last digit, and nothing that is there is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.datasets import (
    CocoDataset,
    DetectionDataset,
    FolderDataset,
    IlsvrcDetDataset,
    VocDataset,
    open_dataset,
    write_coco,
    write_folder,
    write_ilsvrc,
    write_voc,
)
from inception_rcnn.structures import GroundTruth, GroundTruthTable, InputError, load_image

Writer = Callable[[DetectionDataset, Path, str], None]
WRITERS: dict[str, Writer] = {"coco": write_coco, "voc": write_voc, "ilsvrc": write_ilsvrc, "folder": write_folder}


@dataclass
class Held:
    """A data set in memory, but for its photographs."""

    paths: list[Path]
    truths: list[GroundTruth]
    problems: list[str] = field(default_factory=list)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.truths[0].class_names

    @property
    def display_names(self) -> tuple[str, ...]:
        return self.class_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.class_names) + 1))

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        return tuple(truth.image_id for truth in self.truths)

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, i: int) -> Path:
        return self.paths[i]

    def load_image(self, i: int) -> NDArray[np.uint8]:
        return load_image(self.paths[i])

    def ground_truth(self, i: int) -> GroundTruth:
        return self.truths[i]

    def ground_truths(self) -> GroundTruthTable:
        return GroundTruthTable.from_ground_truths(self.truths)


def held(folder: Path, *, boxes: list[list[float]] | None = None, ignore: bool = False) -> Held:
    """Two photographs, the second without objects; classes out of order, one with a space, one that never occurs."""
    folder.mkdir(exist_ok=True)
    paths = [folder / "a.jpg", folder / "b.png"]
    for path in paths:
        Image.effect_noise((40, 20), 30).convert("RGB").save(path)
    boxes = boxes or [[0, 0, 40, 20], [0.1, 2.7, 30.3, 19.9]]
    names = ("zebra", "traffic light", "<&>")
    labels = [position % 2 for position in range(len(boxes))]
    first = GroundTruth(
        np.array(boxes, np.float32), np.array(labels), names, np.full(len(boxes), ignore), None, "a", 40, 20
    )
    return Held(paths, [first, GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, int), names, image_id="b")])


def check_same(written: DetectionDataset, given: DetectionDataset) -> None:
    assert (list(written.image_ids), written.class_names) == (list(given.image_ids), given.class_names)
    assert written.problems == []
    for i in range(len(given)):
        new, old = written.ground_truth(i), given.ground_truth(i)
        assert np.array_equal(new.boxes, old.boxes)
        assert (new.labels.tolist(), new.ignore.tolist()) == (old.labels.tolist(), old.ignore.tolist())
        assert written.path(i).read_bytes() == given.path(i).read_bytes()
        assert written.load_image(i).shape == (new.height, new.width, 3)


@pytest.mark.parametrize("format", WRITERS)
def test_what_is_written_is_read_back(format: str, tmp_path: Path) -> None:
    given = held(tmp_path / "given", ignore=format != "ilsvrc")
    WRITERS[format](given, tmp_path / "new", "val")
    check_same(open_dataset(format, tmp_path / "new", "val"), given)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    corners=st.lists(
        st.tuples(*[st.floats(1 + 2**-20, side, width=32) for side in (39.0, 19.0)]),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    extent=st.tuples(st.floats(2**-6, 1, width=32), st.floats(2**-6, 1, width=32)),
    format=st.sampled_from(sorted(WRITERS)),
)
def test_any_box_is_read_back_to_the_last_digit(
    corners: list[tuple[float, float]],
    extent: tuple[float, float],
    format: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("boxes")
    given = held(folder / "given", boxes=[[x, y, x + extent[0], y + extent[1]] for x, y in corners])
    WRITERS[format](given, folder / "new", "val")
    check_same(open_dataset(format, folder / "new", "val"), given)


def test_whole_numbers_are_written_as_such(tmp_path: Path) -> None:
    given = held(tmp_path / "given", boxes=[[0, 0, 40, 20]])
    write_voc(given, tmp_path / "voc", "val")
    text = (tmp_path / "voc" / "Annotations" / "a.xml").read_text()
    assert "<xmin>1</xmin>" in text and "<xmax>40</xmax>" in text and "<ymax>20</ymax>" in text
    write_ilsvrc(given, tmp_path / "ilsvrc", "val")
    text = (tmp_path / "ilsvrc" / "Annotations" / "DET" / "val" / "a.xml").read_text()
    assert "<xmin>0</xmin>" in text and "<xmax>39</xmax>" in text and "difficult" not in text
    assert (tmp_path / "ilsvrc" / "ImageSets" / "DET" / "val.txt").read_text() == "a 1\nb 2\n"


def test_coco_keeps_ids_areas_and_gaps_between_categories(tmp_path: Path) -> None:
    given = held(tmp_path / "given", ignore=True)
    truth = given.truths[0]
    given.truths[0] = replace(truth, image_id=139, areas=np.array([500.5, 3.25], np.float32))
    write_coco(given, tmp_path / "first", "val")
    path = tmp_path / "first" / "val.json"
    path.write_text(
        path.read_text().replace('"category_id": 2', '"category_id": 90').replace('{"id": 2, "n', '{"id": 90, "n')
    )
    first = CocoDataset(tmp_path / "first", "val")
    assert (first.category_ids, first.image_ids) == ((1, 3, 90), (139, "b"))
    write_coco(first, tmp_path / "second", "val")
    second = CocoDataset(tmp_path / "second", "val")
    check_same(second, first)
    areas = second.ground_truth(0).areas
    assert second.category_ids == (1, 3, 90) and areas is not None and areas.tolist() == [500.5, 3.25]
    assert '"id": 0' not in path.read_text()  # COCO's evaluator takes annotation 0 for none


def test_images_with_numbers_as_ids_are_called_after_their_photographs(tmp_path: Path) -> None:
    given = held(tmp_path / "given")
    given.truths[0] = replace(given.truths[0], image_id=7)
    write_voc(given, tmp_path / "voc", "val")
    assert list(VocDataset(tmp_path / "voc", "val").image_ids) == ["a", "b"]


def test_ids_with_folders_keep_them_where_the_format_has_ids(tmp_path: Path) -> None:
    given = held(tmp_path / "given")
    given.truths[0] = replace(given.truths[0], image_id="n1/n1_7")
    for format in ("voc", "ilsvrc"):
        WRITERS[format](given, tmp_path / format, "train")
        check_same(open_dataset(format, tmp_path / format, "train"), given)


def test_display_names_are_kept(tmp_path: Path) -> None:
    write_ilsvrc(held(tmp_path / "given"), tmp_path / "first", "val")
    table = tmp_path / "first" / "classes.tsv"
    table.write_text(table.read_text().replace("zebra\tzebra", "zebra\tstriped horse"))
    write_ilsvrc(IlsvrcDetDataset(tmp_path / "first", "val"), tmp_path / "second", "val")
    assert IlsvrcDetDataset(tmp_path / "second", "val").display_names[0] == "striped horse"


@pytest.mark.parametrize("format", WRITERS)
def test_splits_stand_beside_each_other_and_are_never_overwritten(format: str, tmp_path: Path) -> None:
    given, write = held(tmp_path / "given"), WRITERS[format]
    write(given, tmp_path / "new", "val")
    write(given, tmp_path / "new", "test")
    files = {path: path.read_bytes() for path in (tmp_path / "new").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="is already there"):
        write(given, tmp_path / "new", "val")
    assert {path: path.read_bytes() for path in (tmp_path / "new").rglob("*") if path.is_file()} == files
    check_same(open_dataset(format, tmp_path / "new", "test"), given)


def test_a_file_of_another_content_is_not_overwritten(tmp_path: Path) -> None:
    given = held(tmp_path / "given")
    write_voc(given, tmp_path / "new", "val")
    given.truths[0] = replace(given.truths[0], boxes=given.truths[0].boxes + 0.5)
    with pytest.raises(InputError, match=r"a\.xml is already there with another content"):
        write_voc(given, tmp_path / "new", "train")
    assert not (tmp_path / "new" / "ImageSets" / "Main" / "train.txt").exists()


@pytest.mark.parametrize("image_id", [" a", "a ", "a\nb", "../a", ""])
def test_an_id_that_a_list_would_not_give_back_is_refused(image_id: str, tmp_path: Path) -> None:
    given = held(tmp_path / "given")
    given.truths[0] = replace(given.truths[0], image_id=image_id)
    with pytest.raises(InputError, match="cannot write the image id"):
        write_voc(given, tmp_path / "new", "val")


def numbered(folder: Path, *names: str) -> FolderDataset:
    """Photographs of different sizes, each with one object as large as itself."""
    folder.mkdir()
    for k, name in enumerate(names):
        Image.new("RGB", (30 + k, 20)).save(folder / f"{name}.png")
        box = f"<xmin>1</xmin><ymin>1</ymin><xmax>{30 + k}</xmax><ymax>20</ymax>"
        text = f"<annotation><object><name>dog</name><bndbox>{box}</bndbox></object></annotation>"
        (folder / f"{name}.xml").write_text(text)
    return FolderDataset(folder)


@pytest.mark.parametrize("format", WRITERS)
def test_ids_that_end_in_a_number_are_images_of_their_own(format: str, tmp_path: Path) -> None:
    dataset = numbered(tmp_path / "given", "IMG", "IMG 0001", "IMG 0002", "IMG 0002 1", "IMG 2")
    WRITERS[format](dataset, tmp_path / "new", "val")
    check_same(open_dataset(format, tmp_path / "new", "val"), dataset)


def test_coco_holds_two_files_of_one_stem_and_a_folder_of_annotations_does_not(tmp_path: Path) -> None:
    given = held(tmp_path / "given")
    given.paths[1] = given.paths[1].rename(tmp_path / "given" / "a.png")
    write_coco(given, tmp_path / "coco", "val")
    written = CocoDataset(tmp_path / "coco", "val")
    assert [written.path(i).name for i in range(2)] == ["a.jpg", "a.png"]
    check_same(written, given)
    with pytest.raises(InputError, match="two images are called 'a'"):
        write_folder(given, tmp_path / "folder", "val")


@pytest.mark.parametrize("format", ["voc", "ilsvrc", "folder"])
@pytest.mark.parametrize("name", ["", " dog", "dog\ncat", "dog\x00"])
def test_a_class_name_that_would_not_be_given_back_is_refused(format: str, name: str, tmp_path: Path) -> None:
    given = held(tmp_path / "given")
    given.truths = [replace(truth, class_names=(name, "x", "y")) for truth in given.truths]
    with pytest.raises(InputError, match="cannot write the class name"):
        WRITERS[format](given, tmp_path / "new", "val")
    assert not (tmp_path / "new").exists()


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    given = held(tmp_path / "given", ignore=True)
    with pytest.raises(InputError, match="image a has objects to ignore, for which ILSVRC DET has no mark"):
        write_ilsvrc(given, tmp_path / "ilsvrc", "val")
    assert not (tmp_path / "ilsvrc").exists()
    given.paths[1] = given.paths[0]
    for format, name in (("coco", "a"), ("folder", "a")):
        with pytest.raises(InputError, match=f"two images are called '{name}'"):
            WRITERS[format](given, tmp_path / format, "val")


def test_a_folder_without_truth_can_be_written_in_any_format(tmp_path: Path) -> None:
    plain = held(tmp_path / "given")
    dataset = FolderDataset(tmp_path / "given")
    for format, write in WRITERS.items():
        write(dataset, tmp_path / format, "val")
        written = open_dataset(format, tmp_path / format, "val")
        assert (list(written.image_ids), len(written.ground_truth(0))) == (["a", "b"], 0)
        assert written.path(0).read_bytes() == plain.path(0).read_bytes()
