"""Size and orientation from a photograph's header are those that decoding all of it gives."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inception_rcnn.datasets.reading.headers import Header, read_header, upright_box
from inception_rcnn.structures import load_image


def photograph(path: Path, orientation: int | None, size: tuple[int, int] = (40, 20)) -> np.ndarray:
    """Write a dark photograph with one bright box at 4 2 14 8 of the stored pixels; return these."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[2:8, 4:14] = 255
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=100, subsampling=0)
    return pixels


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_size_and_orientation_are_those_of_the_decoded_photograph(
    tmp_path: Path, orientation: int | None, ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    photograph(path, orientation)
    header = read_header(path)
    assert header == Header(40, 20, orientation or 1)
    assert header is not None and load_image(path).shape[:2] == header.upright[::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_turns_as_the_pixels_do(tmp_path: Path, orientation: int) -> None:
    photograph(tmp_path / "a.png", orientation)
    header = read_header(tmp_path / "a.png")
    assert header is not None
    x1, y1, x2, y2 = map(int, upright_box((4, 2, 14, 8), header))
    bright = load_image(tmp_path / "a.png")[:, :, 0] > 128
    expected = np.zeros_like(bright)
    expected[y1:y2, x1:x2] = True
    assert np.array_equal(bright, expected)


@pytest.mark.parametrize("size", [(40, 20), (1, 700), (16383, 3)])
def test_size_of_every_kind_of_webp(tmp_path: Path, size: tuple[int, int]) -> None:
    for number, (mode, options) in enumerate(
        (("RGB", {}), ("RGB", {"lossless": True}), ("RGBA", {"alpha_quality": 9}))
    ):
        path = tmp_path / f"{number}.webp"
        Image.effect_noise(size, 50).convert(mode).save(path, **options)
        assert read_header(path) == Header(*size)


def test_a_long_header_and_a_damaged_one(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", None)
    plain = (tmp_path / "a.jpg").read_bytes()
    comment = b"\xff\xfe" + (5000).to_bytes(2) + b"x" * 4998
    (tmp_path / "long.jpg").write_bytes(plain[:2] + comment + plain[2:])
    assert read_header(tmp_path / "long.jpg") == Header(40, 20)
    for content in (b"", plain[:30], b"no image", io.BytesIO(b"%!PS-Adobe").getvalue()):
        (tmp_path / "bad.jpg").write_bytes(content)
        assert read_header(tmp_path / "bad.jpg") is None
    assert read_header(tmp_path / "nowhere.jpg") is None
