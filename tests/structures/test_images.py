"""Every kind of picture becomes the same upright RGB array, and every damaged one a clear error."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageFile

from inception_rcnn.structures import ImageError, InputError, check_rgb, load_image, resize_image
from inception_rcnn.structures.images import page_count, stretch

RED, GREEN, BLUE, WHITE, BLACK, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (90, 90, 90)


def picture() -> NDArray[np.uint8]:
    """A (32, 48, 3) picture of six blocks that differ in every way it can be turned or mirrored."""
    blocks = np.array([[RED, GREEN, BLUE], [WHITE, BLACK, GREY]], np.uint8)
    return blocks.repeat(16, axis=0).repeat(16, axis=1)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(pixels: NDArray[Any]) -> bytes:
    """A PNG by OpenCV, which writes 16 bits for each channel; it takes blue first."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    done, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[:, :, order[pixels.shape[2]]])
    assert done
    return data.tobytes()


# What EXIF says: which visual edge the first stored row and the first stored column are.
# For each value: the upright pixel (row, column) that is stored at row r, column c; h and w are the upright sides.
STORED: dict[int, Callable[[int, int, int, int], tuple[int, int]]] = {
    1: lambda r, c, h, w: (r, c),  # row 0 top, column 0 left
    2: lambda r, c, h, w: (r, w - 1 - c),  # top, right
    3: lambda r, c, h, w: (h - 1 - r, w - 1 - c),  # bottom, right
    4: lambda r, c, h, w: (h - 1 - r, c),  # bottom, left
    5: lambda r, c, h, w: (c, r),  # left, top
    6: lambda r, c, h, w: (c, w - 1 - r),  # right, top
    7: lambda r, c, h, w: (h - 1 - c, w - 1 - r),  # right, bottom
    8: lambda r, c, h, w: (h - 1 - c, r),  # left, bottom
}


def as_stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    height, width = upright.shape[:2]
    rows, columns = (height, width) if orientation <= 4 else (width, height)
    stored = np.empty((rows, columns, 3), np.uint8)
    for r in range(rows):
        for c in range(columns):
            stored[r, c] = upright[STORED[orientation](r, c, height, width)]
    return stored


def with_orientation(orientation: object, kind: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = as_stored(picture(), orientation if isinstance(orientation, int) and orientation in STORED else 1)
    return encode(Image.fromarray(stored), kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_every_exif_orientation_comes_out_upright(orientation: int, kind: str, options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(load_image(with_orientation(orientation, kind, **options)), picture())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_of_a_jpeg_comes_out_upright(orientation: int) -> None:
    image = load_image(with_orientation(orientation, "JPEG", quality=95, subsampling=0))
    assert image.shape == (32, 48, 3)
    inner = (slice(4, None, 16), slice(4, None, 16))  # away from the edges, where JPEG rings
    assert np.abs(image[inner].astype(int) - picture()[inner]).max() <= 12


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_exif_orientation_that_means_nothing_changes_nothing(orientation: int) -> None:
    np.testing.assert_array_equal(load_image(with_orientation(orientation, "PNG")), picture())


def test_damaged_exif_data_do_not_spoil_good_pixels() -> None:
    data = encode(Image.fromarray(picture()), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff garbage")
    np.testing.assert_array_equal(load_image(data), picture())


def test_a_pil_image_is_turned_upright_too() -> None:
    with Image.open(io.BytesIO(with_orientation(6, "PNG"))) as image:
        np.testing.assert_array_equal(load_image(image), picture())


def test_path_text_bytes_file_tensor_and_pil_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "ä picture.png"
    path.write_bytes(png(picture()))
    data = path.read_bytes()
    sources: list[Any] = [path, str(path), data, bytearray(data), memoryview(data), Image.open(path), picture()]
    sources += [open(path, "rb"), io.BytesIO(data), torch.from_numpy(picture()).permute(2, 0, 1)]  # noqa: SIM115
    for source in sources:
        image = load_image(source)
        np.testing.assert_array_equal(image, picture())
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert image.flags.writeable
    sources[-3].close()


GREYS = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([pixels] * 3, axis=2)


def test_one_bit() -> None:
    bits = np.eye(9, dtype=bool)
    expected = grey(np.where(bits, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(bits), "PNG")), expected)
    np.testing.assert_array_equal(load_image(bits), expected)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_grey(kind: str) -> None:
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(GREYS), kind)), grey(GREYS))


def test_grey_with_alpha_lies_over_white() -> None:
    grey, alpha = np.full((1, 3), 100, np.uint8), np.array([[0, 255, 51]], np.uint8)
    image = load_image(encode(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG"))
    assert image[0].tolist() == [[255] * 3, [100] * 3, [224] * 3]  # 100 * 0.2 + 255 * 0.8


def test_colour_with_alpha_lies_over_white() -> None:
    values = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 100, 200, 102]]], np.uint8)
    expected = [[255, 0, 0], [255, 255, 255], [153, 193, 233]]  # 40 % of it and 60 % white
    assert load_image(png(values))[0].tolist() == expected
    assert load_image(values)[0].tolist() == expected
    assert load_image(Image.fromarray(values))[0].tolist() == expected


def test_premultiplied_alpha_lies_over_white() -> None:
    image = Image.fromarray(np.array([[[255, 0, 0, 255], [0, 0, 0, 0]]], np.uint8)).convert("RGBa")
    assert load_image(image)[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    return image


def test_palette() -> None:
    assert load_image(encode(palette_image(), "PNG"))[0].tolist() == [list(RED), list(GREEN), list(BLUE)]
    assert load_image(encode(palette_image(), "GIF"))[0].tolist() == [list(RED), list(GREEN), list(BLUE)]


def test_palette_with_one_transparent_colour() -> None:
    image = load_image(encode(palette_image(), "PNG", transparency=1))
    assert image[0].tolist() == [list(RED), list(WHITE), list(BLUE)]


def test_palette_with_an_alpha_for_each_colour() -> None:
    image = load_image(encode(palette_image(), "PNG", transparency=bytes([255, 0, 102])))
    assert image[0].tolist() == [list(RED), list(WHITE), [153, 153, 255]]


def test_colour_with_one_transparent_colour() -> None:
    image = Image.fromarray(np.array([[RED, GREEN]], np.uint8))
    assert load_image(encode(image, "PNG", transparency=GREEN))[0].tolist() == [list(RED), list(WHITE)]


def test_grey_with_one_transparent_grey() -> None:
    image = Image.fromarray(np.array([[10, 20]], np.uint8))
    assert load_image(encode(image, "PNG", transparency=20))[0].tolist() == [[10] * 3, list(WHITE)]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow make red
    image = load_image(encode(inks, kind))
    assert image.shape == (16, 16, 3)
    assert np.abs(image[8, 8].astype(int) - RED).max() <= 3


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_other_colour_spaces(mode: str) -> None:
    image = load_image(Image.fromarray(picture()).convert(mode))
    assert np.abs(image.astype(int) - picture()).max() <= 3


SIXTEEN = np.array([[0, 128, 129, 257, 25700, 65278, 65535]], np.uint16)
EIGHT = [0, 0, 1, 1, 100, 254, 255]  # to the nearest of v / 257


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_file(kind: str) -> None:
    image = Image.fromarray(SIXTEEN)
    assert image.mode == "I;16"
    np.testing.assert_array_equal(load_image(encode(image, kind))[0], np.stack([EIGHT] * 3, axis=1))


def test_sixteen_bit_colour_file() -> None:
    values = np.array([[[0, 25700, 65535], [65535, 12850, 257]]], np.uint16)
    assert load_image(png(values))[0].tolist() == [[0, 100, 255], [255, 50, 1]]


def test_sixteen_bit_grey_with_the_high_byte_first() -> None:
    image = Image.frombytes("I;16B", (7, 1), SIXTEEN.astype(">u2").tobytes())
    assert load_image(image)[0, :, 0].tolist() == EIGHT


def test_thirty_two_bit_whole_numbers_count_as_sixteen_bits() -> None:
    assert load_image(Image.fromarray(SIXTEEN.astype(np.int32)))[0, :, 0].tolist() == EIGHT
    with pytest.raises(ImageError, match=r"32-bit values 0..70000, expected 0..65535"):
        load_image(Image.fromarray(np.array([[0, 70000]], np.int32)))


def test_fractions_in_a_file_count_from_zero_to_one() -> None:
    fractions = Image.fromarray(np.array([[0, 0.5, 1]], np.float32))
    assert load_image(encode(fractions, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(ImageError, match=r"has fractions 0..2, expected 0..1 or 0..255; save"):
        load_image(encode(Image.fromarray(np.array([[0, 2]], np.float32)), "TIFF"))
    with pytest.raises(ImageError, match=r"has fractions nan..nan, expected"):
        load_image(encode(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF"))
    bytes_as_fractions = Image.fromarray(np.array([[0, 99.6, 255]], np.float32))
    assert load_image(encode(bytes_as_fractions, "TIFF"))[0, :, 0].tolist() == [0, 100, 255]


def test_twelve_bits_in_sixteen_are_not_black() -> None:
    twelve = np.array([[0, 2048, 4095]], np.uint16)
    assert load_image(encode(Image.fromarray(twelve), "PNG"))[0, :, 0].tolist() == [0, 128, 255]
    assert load_image(twelve)[0, :, 0].tolist() == [0, 8, 16]  # an array is what its type says
    sixteen = np.array([[0, 2048, 4096]], np.uint16)
    assert load_image(encode(Image.fromarray(sixteen), "PNG"))[0, :, 0].tolist() == [0, 8, 16]


@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_jpeg_without_its_end_has_all_its_pixels_and_a_cut_one_has_not(subsampling: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (75, 93, 3), np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", quality=90, subsampling=subsampling)
    assert np.array_equal(load_image(data[:-2]), load_image(data))
    for cut in (6, 20, 300):
        with pytest.raises(ImageError, match="damaged or cut off"):
            load_image(data[:-cut])
    passes = encode(Image.fromarray(noise), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="damaged or cut off"):
        load_image(passes[:-2])


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(data)[0, 0].tolist() == list(RED)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.bool_, np.float16, np.float32, np.float64])
def test_every_listed_array_comes_out_white_when_it_is_white(shape: tuple[int, ...], dtype: Any) -> None:
    kind = np.dtype(dtype).kind
    white = np.full(shape, np.iinfo(dtype).max if kind == "u" else 1, dtype)
    image = load_image(white)
    np.testing.assert_array_equal(image, np.full((4, 5, 3), 255, np.uint8))
    assert image.dtype == np.uint8


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5).map(lambda s: (*s, 3))))
def test_bytes_as_fractions_or_as_sixteen_bits_are_the_same_picture(pixels: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(load_image(pixels / 255), pixels)
    np.testing.assert_array_equal(load_image((pixels / np.float32(255)).astype(np.float32)), pixels)
    np.testing.assert_array_equal(load_image(pixels.astype(np.uint16) * 257), pixels)


def test_an_array_that_is_right_is_not_copied_and_others_are_not_changed() -> None:
    right = picture()
    assert load_image(right) is right or np.shares_memory(load_image(right), right)
    turned = np.asfortranarray(picture())
    image = load_image(turned)
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, picture())
    see_through = np.full((2, 2, 4), 7, np.uint8)
    load_image(see_through)
    assert (see_through == 7).all()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (np.zeros((3, 8, 9), np.uint8), r"got \(3, 8, 9\); channels come last, use np.moveaxis"),
        (np.zeros((8, 9, 2), np.uint8), r"got \(8, 9, 2\)$"),
        (np.zeros(8, np.uint8), r"got \(8,\)"),
        (np.zeros((1, 8, 9, 3), np.uint8), r"got \(1, 8, 9, 3\)"),
        (np.zeros((0, 9, 3), np.uint8), "no pixels"),
        (np.zeros((8, 9, 3), np.int64), r"got int64; .*astype\(np.uint8\)"),
        (np.full((8, 9), 255.0), r"of float64 should be in 0..1, got 255..255"),
        (np.full((8, 9), -0.1), "got -0.1"),
        (np.full((8, 9), np.nan), "got nan..nan"),
        (np.zeros((8, 9), complex), "got complex128"),
        (np.array([["a"]]), "got <U1"),
        (None, "cannot read an image from builtins.NoneType"),
        (7, "cannot read an image from builtins.int"),
        ([[0, 0], [0, 0]], "from builtins.list"),
    ],
)
def test_what_is_no_picture_is_named(wrong: Any, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        load_image(wrong)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.jpg does not exist"):
        load_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match=r"https://a\.b/cat\.jpg is an address, not a file; download it"):
        load_image("https://a.b/cat.jpg")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_instead_of_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    other_end = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)  # so that opening it never waits, only reading
    try:
        with pytest.raises(ImageError, match="not a regular file"):
            load_image(tmp_path / "pipe")
    finally:
        os.close(other_end)


def test_a_name_no_system_accepts() -> None:
    with pytest.raises(ImageError, match="cannot be opened"):
        load_image("a\0b.jpg")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"once upon a time\n" * 20, "is none of JPEG"),
        (b"\x89PNG\r\n\x1a\n", "is none of JPEG|is damaged"),
        (b"\xff\xd8\xff\xe0", "is none of JPEG|is damaged"),
    ],
)
def test_files_that_are_no_pictures(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=text) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ImageError, match=f"the image of {len(content)} bytes"):
        load_image(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_picture_that_is_cut_off_is_an_error_and_not_half_grey(tmp_path: Path, kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    path = tmp_path / f"photo.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(path) in str(caught.value)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def test_a_header_that_promises_a_huge_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="too many pixels"):
        load_image(bomb(60_000, 60_000))


def test_the_pixel_limit_is_the_callers_and_is_looked_at_before_decoding() -> None:
    with pytest.raises(ImageError, match=r"100 x 100 = 10000 pixels, more than max_pixels=9999"):
        load_image(bomb(100, 100), max_pixels=9999)
    with pytest.raises(ImageError, match="damaged or cut off"):  # the limit is not passed, so it is decoded
        load_image(bomb(100, 100), max_pixels=10_000)
    assert load_image(picture()).size == load_image(png(picture()), max_pixels=32 * 48).size
    with pytest.raises(ImageError, match="max_pixels=10"):
        load_image(Image.fromarray(picture()), max_pixels=10)


def test_the_byte_limit_is_the_callers(tmp_path: Path) -> None:
    data = png(picture())
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert load_image(path, max_bytes=len(data)).shape == load_image(data, max_bytes=len(data)).shape
    for source in (path, data):
        with pytest.raises(ImageError, match=f"more than max_bytes={len(data) - 1}"):
            load_image(source, max_bytes=len(data) - 1)


@given(st.data())
def test_no_damage_raises_anything_but_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]))
    content = bytearray(with_orientation(6, kind) if kind != "GIF" else encode(palette_image(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = load_image(bytes(content), max_pixels=10_000)
    except ImageError as error:
        assert f"the image of {len(content)} bytes" in str(error)
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


def test_a_reader_that_fails_in_an_unusual_way_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(ImageError, match="does not fit into memory"):
        load_image(encode(Image.fromarray(picture()), "BMP"))


def test_resize_gives_width_and_height_in_that_order() -> None:
    image = resize_image(picture(), width=24, height=64)
    assert image.shape == (64, 24, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


def test_resize_keeps_flat_areas_and_positions() -> None:
    small = resize_image(picture(), width=12, height=8)
    centres = small[2::4, 2::4]
    assert np.abs(centres.astype(int) - [[RED, GREEN, BLUE], [WHITE, BLACK, GREY]]).max() <= 20


def test_resize_averages_fine_patterns_instead_of_picking_pixels() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, width=8, height=8)
    assert np.abs(small[:, 2:-2].astype(int) - 127).max() <= 2


def test_resize_to_the_same_size_is_a_copy() -> None:
    image = picture()
    same = resize_image(image, 48, 32)
    np.testing.assert_array_equal(same, image)
    assert not np.shares_memory(same, image)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5)])
def test_resize_refuses_sides_below_one(width: int, height: int) -> None:
    with pytest.raises(InputError, match="at least 1 pixel"):
        resize_image(picture(), width, height)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), "a.jpg"],
)
def test_only_uint8_rgb_travels_between_rooms(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"the crop should be a uint8 array \(H, W, 3\), got .*use load_image"):
        check_rgb(wrong, "the crop")
    with pytest.raises(InputError, match="image should be a uint8 array"):
        resize_image(wrong, 2, 2)


def test_the_window_is_stretched_to_the_square() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[10:20, 20:60] = 200
    inside = stretch(image, np.array([20.0, 10.0, 60.0, 20.0]), 16)
    assert inside.shape == (16, 16, 3) and inside.dtype == np.uint8
    assert (inside[2:14, 2:14] == 200).all() and inside.min() > 130  # neighbours of the window shine in at its border
    whole = stretch(image, np.array([0.0, 0.0, 80.0, 40.0]), 16)
    assert whole[5:7, 5:11].min() > 150 and whole[9:].max() == 0 and whole[:, 14:].max() == 0


def test_every_pixel_covered_counts_when_a_window_is_made_smaller() -> None:
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[:, ::2] = 200  # stripes that picking single pixels would turn into one colour
    small = stretch(fine, np.array([0.0, 0.0, 64.0, 64.0]), 8)
    assert small.min() > 90 and small.max() < 110


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer, not the file itself"),
        (b"\n<!DOCTYPE html><html>", "a web page, not the file itself"),
        (b"\0\0\0\x18ftypheic" + bytes(60), "a HEIC; convert it"),
        (b"\0\0\0\x18ftypisom" + bytes(60), "a video; write its frames"),
        (b"RIFF\0\0\0\0AVI LIST" + bytes(60), "a video; write its frames"),
        (b"%PDF-1.4" + bytes(60), "a PDF"),
        (b"<annotation>", "XML"),
        (b"nothing that is known", "is none of JPEG"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    for source in (tmp_path / "a.jpg", content):
        with pytest.raises(ImageError, match=text):
            load_image(source)


def test_an_address_is_called_one_though_a_path_has_lost_a_slash() -> None:
    for source in ("https://example.org/a.jpg", Path("https://example.org/a.jpg")):
        with pytest.raises(ImageError, match="is an address, not a file; download it"):
            load_image(source)


def test_pages_are_counted(tmp_path: Path) -> None:
    pages = [Image.new("L", (8, 6), shade) for shade in (0, 90, 200)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "b.png")
    assert [page_count(tmp_path / name) for name in ("a.tif", "b.png", "none.tif")] == [3, 1, 1]
