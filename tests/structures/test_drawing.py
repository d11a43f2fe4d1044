"""Boxes appear where they belong, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from inception_rcnn.structures import (
    Detections,
    ImageError,
    InputError,
    class_colour,
    draw_boxes,
    draw_detections,
    draw_ranking,
    picture_files,
    write_picture,
)
from inception_rcnn.structures.drawing import is_own_picture
from inception_rcnn.structures.label_places import LabelPlaces

NAMES = ("cat", "dog")


def blank(height: int = 120, width: int = 160, value: int = 128) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def found(*boxes: list[float], label: int = 0, score: float = 0.87) -> Detections:
    return Detections.ordered(boxes, [score] * len(boxes), [label] * len(boxes), NAMES)


def changed(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (before != after).any(axis=2)


def test_the_edge_of_the_box_changes_and_its_inside_does_not() -> None:
    image = blank()
    drawn = draw_detections(image, found([40, 60, 100, 110]))
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    difference = changed(image, drawn)
    assert difference[60:110, 40].all() and difference[60:110, 99].all()  # x2 is exclusive: 99 is the last column
    assert difference[60, 40:100].all() and difference[109, 40:100].all()
    assert not difference[66:104, 46:94].any()
    assert not difference[112:, :].any() and not difference[64:, 102:].any()


def test_the_picture_given_is_not_changed() -> None:
    image = blank()
    draw_detections(image, found([40, 60, 100, 110]))
    draw_boxes(image, [[40, 60, 100, 110]])
    assert (image == 128).all()


def test_the_line_has_the_colour_of_the_class() -> None:
    for label in (0, 1):
        drawn = draw_detections(blank(), found([40, 60, 100, 110], label=label))
        assert drawn[85, 40].tolist() == list(class_colour(label))


@pytest.mark.parametrize("label", range(20))
def test_a_box_can_be_seen_on_a_background_of_its_own_colour(label: int) -> None:
    image = np.empty((120, 160, 3), np.uint8)
    image[:] = class_colour(label)
    names = tuple(map(str, range(20)))
    drawn = draw_detections(image, Detections.ordered([[40, 60, 100, 110]], [0.5], [label], names))
    contrast = np.abs(drawn[85].astype(int) - image[85]).sum(axis=1)
    assert contrast[36:44].max() > 150
    assert contrast[96:104].max() > 150


def test_neighbouring_classes_have_colours_far_apart() -> None:
    colours = np.array([class_colour(label) for label in range(200)], int)
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 150
    assert ((colours >= 0) & (colours <= 255)).all()


def test_a_label_stands_above_the_box_and_says_what_it_is() -> None:
    image = blank()
    cat, dog = (draw_detections(image, found([40, 60, 100, 110], label=label)) for label in (0, 1))
    above = slice(36, 58)
    assert changed(image, cat)[above, 40:90].mean() > 0.3
    assert not (changed(image, cat)[above, 40:90] == changed(image, dog)[above, 40:90]).all()
    low = draw_detections(image, found([40, 60, 100, 110], score=0.12))
    assert changed(cat[above], low[above]).any()  # the score is written too


@pytest.mark.parametrize("box", [[0, 0, 30, 30], [150, 0, 160, 8], [-20, -20, 500, 500], [155, 115, 160, 120]])
def test_labels_at_the_border_stay_in_the_picture(box: list[float]) -> None:
    image = blank()
    free = draw_detections(image, found([40, 60, 100, 110]))
    plate = int((free[36:58] == class_colour(0)).all(axis=2).sum())
    drawn = draw_detections(image, found(box))
    assert int((drawn == class_colour(0)).all(axis=2).sum()) >= plate


@pytest.mark.parametrize("box", [[200, 10, 300, 50], [-50, 10, -5, 50], [50, 50, 20, 20], [30, 30, 30, 60]])
def test_boxes_outside_the_picture_or_without_area_are_left_out(box: list[float]) -> None:
    image = blank()
    np.testing.assert_array_equal(draw_detections(image, found(box)), image)
    np.testing.assert_array_equal(draw_boxes(image, [box]), image)


def test_the_best_detection_lies_on_top() -> None:
    both = Detections.ordered([[40, 60, 100, 110], [40, 60, 100, 110]], [0.9, 0.2], [0, 1], NAMES)
    assert draw_detections(blank(), both)[85, 40].tolist() == list(class_colour(0))
    swapped = Detections.ordered([[40, 60, 100, 110], [40, 60, 100, 110]], [0.2, 0.9], [0, 1], NAMES)
    assert draw_detections(blank(), swapped)[85, 40].tolist() == list(class_colour(1))


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, int, int, int]] | None]:
    """Of every label drawn: which of its sizes it has, and its rectangle; None for one left out."""
    seen: list[tuple[int, tuple[int, int, int, int]] | None] = []

    class Spy(LabelPlaces):
        def place(self, box: Any, sizes: Any) -> tuple[int, int, int] | None:
            answer = super().place(box, sizes)
            if answer is None:
                seen.append(None)
            else:
                choice, left, top = answer
                seen.append((choice, (left, top, left + sizes[choice][0], top + sizes[choice][1])))
            return answer

    monkeypatch.setattr("inception_rcnn.structures.drawing.LabelPlaces", Spy)
    return seen


LONG_NAMES = ("cat", "dining table", "traffic light", "person", "hair drier")


def scattered(image: NDArray[np.uint8], count: int, seed: int, largest: float = 0.5) -> Detections:
    """Boxes all over a picture, some cut by its border."""
    rng = np.random.default_rng(seed)
    extent = np.array(image.shape[1::-1])
    corner, size = rng.uniform(-0.01, 0.95, (count, 2)) * extent, rng.uniform(0.02, largest, (count, 2)) * extent
    labels = rng.integers(0, len(LONG_NAMES), count)
    return Detections.ordered(np.hstack([corner, corner + size]), rng.random(count), labels, LONG_NAMES)


@pytest.mark.parametrize(("count", "least"), [(1, 1), (5, 5), (12, 12), (100, 80)])
@pytest.mark.parametrize("seed", range(3))
def test_labels_on_photographs_can_all_be_read(placed: list[Any], count: int, least: int, seed: int) -> None:
    """None is covered by another label or a box, all are in the picture; up to a dozen none is left out or smaller."""
    for image in (data.coffee(), data.astronaut()):
        placed.clear()
        detections = scattered(image, count, seed)
        drawn = draw_detections(image, detections)
        there = [one for one in placed if one is not None]
        assert len(there) >= least
        covered = np.zeros(image.shape[:2], int)
        for _, (x1, y1, x2, y2) in there:
            assert 0 <= x1 < x2 <= image.shape[1] and 0 <= y1 < y2 <= image.shape[0]
            covered[y1:y2, x1:x2] += 1
        assert covered.max() == 1
        if count <= 12:
            assert {choice for choice, _ in there} == {0}
        for one, label in zip(placed, detections.labels.tolist(), strict=True):
            if one is None:
                continue
            plate = drawn[one[1][1] : one[1][3], one[1][0] : one[1][2]]
            edges = np.concatenate([plate[0], plate[-1], plate[:, 0], plate[:, -1]])
            assert (edges == class_colour(label)).all()  # nothing was drawn over its margin


def test_a_picture_of_64_pixels_has_small_labels_or_none(placed: list[Any]) -> None:
    image = np.ascontiguousarray(data.chelsea()[100:228:2, 200:328:2])
    draw_detections(image, scattered(image, 30, 0))
    choices = [None if one is None else one[0] for one in placed]
    assert len(choices) == 30 and choices.count(None) < 28
    assert any(choice is not None and choice > 0 for choice in choices)
    for _, (x1, y1, x2, y2) in filter(None, placed):
        assert 0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 64


def test_a_label_that_fits_in_no_way_is_left_out_and_its_box_is_drawn(placed: list[Any]) -> None:
    image = blank(24, 24)
    names = ("a name that is far too long",)
    drawn = draw_detections(image, Detections.ordered([[4, 4, 20, 20]], [0.5], [0], names))
    assert placed == [None]
    assert drawn[12, 4].tolist() == list(class_colour(0)) and not changed(image, drawn)[8:16, 8:16].any()


def test_a_name_of_several_lines_is_written_on_one() -> None:
    box, blanks = [[40, 60, 100, 110]], blank()
    drawn = [draw_detections(blanks, Detections.ordered(box, [0.5], [0], (name,))) for name in ("a\n b", "a b")]
    assert np.array_equal(*drawn)


def test_the_line_width_is_the_callers() -> None:
    widths = [
        int(
            (draw_detections(blank(), found([40, 60, 100, 110]), line_width=n)[85, 38:70] == class_colour(0))
            .all(1)
            .sum()
        )
        for n in (1, 3, 8)
    ]
    assert widths == [1, 3, 8]
    with pytest.raises(InputError, match="line_width should be at least 1"):
        draw_detections(blank(), found([40, 60, 100, 110]), line_width=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (3, 2), (2000, 20)])
def test_odd_pictures_are_drawn_on_too(height: int, width: int) -> None:
    image = blank(height, width)
    drawn = draw_detections(image, found([0, 0, width, height]), line_width=5)
    assert drawn.shape == image.shape
    assert changed(image, drawn).any()


def test_nothing_found_nothing_drawn() -> None:
    image = blank()
    drawn = draw_detections(image, Detections.empty(NAMES))
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_highlighted_boxes_look_different_and_lie_on_top() -> None:
    image, boxes = blank(), [[10, 10, 50, 50], [60, 10, 100, 50], [10, 10, 50, 50]]
    plain = draw_boxes(image, boxes)
    by_mask = draw_boxes(image, boxes, highlight=[True, False, False])
    np.testing.assert_array_equal(by_mask, draw_boxes(image, boxes, highlight=[0]))
    assert by_mask[30, 10].tolist() != plain[30, 10].tolist()
    assert by_mask[30, 60].tolist() == plain[30, 60].tolist()
    np.testing.assert_array_equal(draw_boxes(image, boxes, highlight=np.zeros(3, bool)), plain)


@pytest.mark.parametrize(
    ("image", "boxes", "highlight", "text"),
    [
        (np.zeros((4, 4), np.uint8), [[0, 0, 1, 1]], None, "image should be a uint8 array"),
        (blank(), [0, 0, 1, 1], None, "boxes should have shape"),
        (blank(), [[0, 0, 1, 1]], [True, False], "mask should have shape"),
        (blank(), [[0, 0, 1, 1]], [1], "positions should be in"),
    ],
)
def test_wrong_arguments_are_named(image: Any, boxes: Any, highlight: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        draw_boxes(image, boxes, highlight=highlight)


def test_a_picture_goes_beside_its_image_and_a_png_stays_one(tmp_path: Path) -> None:
    images = [tmp_path / "a.webp", tmp_path / "b.PNG"]
    names = [picture.name for _, picture in picture_files(images, "detections")]
    assert names == ["a-detections.jpg", "b-detections.png"]


def test_the_images_of_a_folder_are_taken_in_order_and_its_pictures_go_into_a_sub_folder(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "a.xml", "Thumbs.db", ".DS_Store", "._b.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "detections").mkdir()  # of an earlier call
    jobs = picture_files([tmp_path], "detections")
    assert [source.name for source, _ in jobs] == ["a.PNG", "b.jpg"]
    assert {picture.parent for _, picture in jobs} == {tmp_path / "detections"}


def test_pictures_that_were_drawn_are_not_taken_for_photographs(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    for name in ("a-detections.jpg", "any name.png"):
        write_picture(tmp_path / name, pixels)
    assert [is_own_picture(path) for path in sorted(tmp_path.iterdir())] == [True, False, True]
    assert [source.name for source, _ in picture_files([tmp_path], "boxes")] == ["a.jpg"]
    named = picture_files([tmp_path / "any name.png"], "boxes")  # whoever names one means it
    assert [source.name for source, _ in named] == ["any name.png"]
    assert not is_own_picture(tmp_path) and not is_own_picture(tmp_path / "none.jpg")


def test_equal_stems_in_one_output_folder_are_numbered(tmp_path: Path) -> None:
    images = [Path("x/a.jpg"), Path("y/a.jpg"), Path("y/a.webp")]
    names = [picture.name for _, picture in picture_files(images, "boxes", tmp_path)]
    assert names == ["a-boxes.jpg", "a-boxes-2.jpg", "a-boxes-3.jpg"]


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in"):
        picture_files([tmp_path], "boxes")


def test_a_picture_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for name, kind in (("new/a.png", "PNG"), ("new/a.jpg", "JPEG")):
        write_picture(tmp_path / name, pixels)
        with Image.open(tmp_path / name) as written:
            assert (written.format, written.size) == (kind, (30, 20))
    with Image.open(tmp_path / "new/a.png") as written:
        assert (np.asarray(written) == pixels).all()


def test_a_picture_too_long_for_jpeg_is_refused_by_name(tmp_path: Path) -> None:
    pixels = np.zeros((1, 65_501, 3), np.uint8)
    with pytest.raises(ImageError, match=r"a.jpg cannot be a JPEG: 65501 x 1 pixels, at most 65500 a side"):
        write_picture(tmp_path / "a.jpg", pixels)
    assert not (tmp_path / "a.jpg").exists()
    write_picture(tmp_path / "a.png", pixels)


def test_what_is_no_picture_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="uint8"):
        write_picture(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    assert not (tmp_path / "a.png").exists()


def test_a_ranking_is_drawn_beside_the_picture() -> None:
    image = np.full((100, 200, 3), 50, np.uint8)
    sheet = draw_ranking(image, ["first", "second " * 40, "third"], [1.0, 0.25, 0.0])
    height, width = sheet.shape[:2]
    assert (height, width) == (3 * 60 + 32, 600)
    assert (sheet[:100, :200] == 50).all() and (sheet[100:, :200] == 255).all()
    blue = (sheet == (66, 133, 244)).all(axis=2).sum(axis=1)
    left, right = 216, 584
    bars = [int(blue[16 + 60 * row + 34]) for row in range(3)]
    assert bars == [right - left + 1, round(0.25 * (right - left)) + 1, 0]
    assert (sheet[:, -10:] == 255).all(), "a long name stays inside"
    assert draw_ranking(np.zeros((2000, 1000, 3), np.uint8), [], []).shape == (480, 640, 3)


def test_a_ranking_that_does_not_fit_is_refused() -> None:
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(InputError, match=r"scores should be in 0\.\.1, one for each of 1 names, got \[0\.5, 0\.5\]"):
        draw_ranking(image, ["a"], [0.5, 0.5])
    with pytest.raises(InputError, match=r"scores should be in 0\.\.1"):
        draw_ranking(image, ["a"], [1.5])
