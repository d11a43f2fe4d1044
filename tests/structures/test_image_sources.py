"""What `load_image` is given: open files, torch tensors, and files of formats that it opens or refuses."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, features

from inception_rcnn.structures import ImageError, load_image

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


def encode(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


PNG = encode(Image.fromarray(PIXELS), "PNG")


class Trickle(io.RawIOBase):
    """A connection: a few bytes at a time, and no way back."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._rest.read(min(len(buffer), 100))
        buffer[: len(part)] = part
        return len(part)


def test_a_file_is_read_from_where_it_stands_to_its_end_and_stays_open(tmp_path: Path) -> None:
    file = io.BytesIO(b"a header" + PNG)
    file.seek(8)
    np.testing.assert_array_equal(load_image(file), PIXELS)
    assert not file.closed and file.read() == b""
    np.testing.assert_array_equal(load_image(Trickle(PNG)), PIXELS)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", PNG)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("a.png") as member:
        np.testing.assert_array_equal(load_image(member), PIXELS)
        with pytest.raises(ImageError, match=r"a\.png has nothing left to read; wind it back with seek\(0\)"):
            load_image(member)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    closed = path.open("rb")
    closed.close()
    with pytest.raises(ImageError, match=r"photo\.png cannot be read: .*closed"):
        load_image(closed)
    for text in (path.open(encoding="utf-8"), path.open(encoding="latin-1"), io.StringIO("abc")):
        with text, pytest.raises(ImageError, match=r"gives text, not bytes .*; open it with mode 'rb'"):
            load_image(text)  # type: ignore[arg-type]
    endless = io.BufferedReader(Trickle(bytes(3000)))
    with pytest.raises(ImageError, match="BufferedReader has more than max_bytes=2000 bytes"):
        load_image(endless, max_bytes=2000)
    with pytest.raises(ImageError, match="the open BytesIO is none of JPEG, PNG"):
        load_image(io.BytesIO(b"once upon a time"))


def test_a_tensor_is_read_as_torchvision_has_images() -> None:
    planes = torch.from_numpy(PIXELS).permute(2, 0, 1)
    for tensor in (planes, planes / 255, (planes / 255).double(), (planes / 255).half(), planes.clone()):
        np.testing.assert_array_equal(load_image(tensor), PIXELS)
    rounded = load_image((planes / 255).bfloat16())  # which NumPy does not know
    assert rounded.dtype == np.uint8 and np.abs(rounded.astype(int) - PIXELS).max() <= 1
    learned = torch.nn.Parameter(planes / 255)  # of a class derived from Tensor, and with a gradient
    np.testing.assert_array_equal(load_image(learned), PIXELS)
    np.testing.assert_array_equal(load_image(planes[:1]), PIXELS[:, :, :1].repeat(3, axis=2))
    see_through = torch.cat([planes, torch.full((1, 32, 48), 0, dtype=torch.uint8)])
    assert (load_image(see_through) == 255).all()


def test_a_torchvision_image_is_a_tensor() -> None:
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    np.testing.assert_array_equal(load_image(tv_tensors.Image(Image.fromarray(PIXELS))), PIXELS)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((32, 48, 3), r"got \(32, 48, 3\); channels come first, use tensor.permute\(2, 0, 1\)$"),
        ((1, 3, 32, 48), r"got \(1, 3, 32, 48\); give one image at a time$"),
        ((32, 48), r"got \(32, 48\)$"),
        ((3, 48, 3), r"of shape \(3, 48, 3\) may have its channels first or last; give an array instead"),
        ((3, 0, 48), r"no pixels"),
    ],
)
def test_tensors_of_other_shapes_are_refused_in_one_line(shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(ImageError, match=text) as caught:
        load_image(torch.zeros(shape))
    assert "\n" not in str(caught.value)


def test_tensors_of_other_values_are_refused() -> None:
    with pytest.raises(ImageError, match=r"of float32 should be in 0..1, got 0..255; .* use tensor.to\(torch.uint8\)"):
        load_image(torch.tensor([0.0, 255.0]).expand(3, 8, 2))
    with pytest.raises(ImageError, match=r"got int64; if its values are 0..255, use tensor.to\(torch.uint8\)"):
        load_image(torch.zeros((3, 8, 9), dtype=torch.int64))
    for kind in (torch.zeros((3, 8, 9)).to_sparse(), torch.zeros((3, 8, 9), device="meta")):
        with pytest.raises(ImageError, match="the image tensor cannot become an array"):
            load_image(kind)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000", "MPO", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM"])
def test_every_listed_format_is_opened_whatever_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo.eps"
    path.write_bytes(encode(Image.new("RGB", (16, 8), "white"), kind))
    assert load_image(path).shape == (8, 16, 3) and load_image(path).min() > 250


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA", "PCX", "SGI", "DDS"])
def test_other_formats_that_pillow_knows_are_refused(tmp_path: Path, kind: str) -> None:
    data = encode(Image.new("RGB", (16, 16), "white"), kind)
    assert Image.open(io.BytesIO(data)).format == kind
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    allowed = "JPEG, PNG, BMP, GIF, PPM, WebP, TIFF, AVIF, JPEG 2000 and MPO; convert it to one of them"
    for source in (path, data, io.BytesIO(data)):
        with pytest.raises(ImageError, match=f"is none of {allowed}"):
            load_image(source)


def test_postscript_named_jpg_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")

    def start(*given: Any, **named: Any) -> None:
        raise RuntimeError("Ghostscript is started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    with Image.open(path) as opened, pytest.raises(RuntimeError, match="is started"):  # as Pillow does by itself
        opened.load()
    with pytest.raises(ImageError, match="is none of JPEG"):
        load_image(path)


def test_a_pil_image_of_any_format_stays_what_it_is() -> None:
    with Image.open(io.BytesIO(encode(Image.fromarray(PIXELS), "TGA"))) as image:
        np.testing.assert_array_equal(load_image(image), PIXELS)


def test_a_pillow_without_avif_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(PIXELS), "AVIF")
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(ImageError, match="is an AVIF, which this Pillow was built without; pip install 'pil"):
        load_image(data)
    np.testing.assert_array_equal(load_image(PNG), PIXELS)
