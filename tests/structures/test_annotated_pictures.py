"""Names and contents of annotated pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inception_rcnn.structures import InputError, picture_files, write_picture


def test_a_picture_goes_beside_its_image_and_a_png_stays_one(tmp_path: Path) -> None:
    images = [tmp_path / "a.webp", tmp_path / "b.PNG"]
    names = [picture.name for _, picture in picture_files(images, "detections")]
    assert names == ["a-detections.jpg", "b-detections.png"]


def test_a_folder_is_taken_in_order_and_its_pictures_go_into_a_sub_folder(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.txt"):
        (tmp_path / name).touch()
    (tmp_path / "detections").mkdir()  # of an earlier call
    jobs = picture_files([tmp_path], "detections")
    assert [source.name for source, _ in jobs] == ["a.txt", "b.jpg"]
    assert {picture.parent for _, picture in jobs} == {tmp_path / "detections"}


def test_equal_stems_in_one_output_folder_are_numbered(tmp_path: Path) -> None:
    images = [Path("x/a.jpg"), Path("y/a.jpg"), Path("y/a.webp")]
    names = [picture.name for _, picture in picture_files(images, "boxes", tmp_path)]
    assert names == ["a-boxes.jpg", "a-boxes-2.jpg", "a-boxes-3.jpg"]


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no files in"):
        picture_files([tmp_path], "boxes")


def test_a_picture_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for name, kind in (("new/a.png", "PNG"), ("new/a.jpg", "JPEG")):
        write_picture(tmp_path / name, pixels)
        with Image.open(tmp_path / name) as written:
            assert (written.format, written.size) == (kind, (30, 20))
    with Image.open(tmp_path / "new/a.png") as written:
        assert (np.asarray(written) == pixels).all()


def test_what_is_no_picture_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="uint8"):
        write_picture(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    assert not (tmp_path / "a.png").exists()
