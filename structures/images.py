"""Any picture -> (H, W, 3) uint8 RGB, upright. The rest of the project knows no other kind."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from inception_rcnn.structures.errors import ImageError, InputError
from inception_rcnn.structures.files import foreign_kind


@runtime_checkable
class BinaryFile(Protocol):
    """An open file of bytes, such as `open(path, "rb")`, `io.BytesIO` or a member of an archive."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many of the next bytes, none at the end."""


class TorchTensor(Protocol):
    """What is asked of a tensor of torch, which is not imported for it."""

    @property
    def ndim(self) -> int:
        """The number of its dimensions."""

    def detach(self) -> Any:
        """Return it without its gradient."""

    def is_floating_point(self) -> bool:
        """Return whether it holds fractions."""


ImageSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Image.Image | np.ndarray | TorchTensor
)
"""What `load_image` reads."""

# Pillow opens many more, and goes by a file's first bytes, not by its name: what begins with "%!PS" would be handed to
# Ghostscript, a program, whatever it is called. These are decoded in the process. The first five Pillow knows at once;
# to look for any other it loads all of its readers.
_FORMATS: Final = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000")
_FORMATS_IN_WORDS: Final = "JPEG, PNG, BMP, GIF, PPM, WebP, TIFF, AVIF, JPEG 2000 and MPO"  # which begins as a JPEG

IMAGE_ENDINGS: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".webp", ".avif"),
    *(".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
)
"""How the names of image files end, in lower case."""

_AVIF_STARTS = (b"ftypavif", b"ftypavis")  # behind four bytes of length
_ARRAY_CAST = "array.astype(np.uint8)"
_TENSOR_CAST = "tensor.to(torch.uint8)"
_BLOCK = 1 << 20  # bytes read from an open file at a time
_JPEG_END = b"\xff\xd9"
_FILLINGS = (b"", b"\xaa" * 64, b"\x55" * 64, b"\x0f\xf0\x33" * 30)  # which no decoder takes for the same pixels
_MIXED_AT_ONCE = 1 << 20  # pixels
_TWELVE_BITS = 4095
_DARK = 16  # of 255; where the largest fraction is between 1 and this, it is neither 0..1 nor 0..255
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|file):/")  # a path has lost one of two slashes
_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # EXIF orientation -> what brings the picture upright; 1 already is
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(
    source: ImageSource, *, max_pixels: int = 200_000_000, max_bytes: int = 500_000_000
) -> NDArray[np.uint8]:
    """Return the picture as uint8 RGB (H, W, 3), upright and C-contiguous.

    EXIF orientation is applied, grey is repeated three times, transparency is laid over white, CMYK and palettes are
    converted, 16 bits a channel are divided by 257; 12 in the 16 of a grey file are stretched. Of an animation the
    first frame is taken. Colour profiles are ignored, as ImageNet's networks were trained without them.

    Args:
        source: A path, the bytes of a file, or a file opened for reading bytes, which is read to its end and stays
            open; JPEG, JPEG 2000, MPO, PNG, WebP, AVIF, BMP, GIF, TIFF or PPM, whatever its name.
            A PIL image, of any format: it is open already.
            An array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA of uint8, uint16, bool, or float in 0..1. One
            that is right already comes back as it is, not copied.
            A torch tensor as torchvision has images, channels first: (3, H, W) RGB, (1, H, W) or (4, H, W) RGBA of
            uint8, or float in 0..1, on any device.
        max_pixels: Larger pictures are refused before they are decoded. Pillow has a limit of its own beside it, twice
            `PIL.Image.MAX_IMAGE_PIXELS`.
        max_bytes: Larger files are refused before they are read, an open one when so much of it was read.

    Raises:
        ImageError: The picture is missing, damaged, cut off, too large, or of a kind not listed here.

    >>> load_image(np.zeros((2, 3), bool)).shape
    (2, 3, 3)
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pillow(source, f"the PIL image ({source.mode}, {source.size})", max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        name = f"the image of {len(source)} bytes"
        _check_file_size(len(source), name, max_bytes)
        return _from_file(io.BytesIO(source), name, max_pixels)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(source, max_pixels, max_bytes)
    if _is_tensor(source):
        return _from_tensor(source)
    if isinstance(source, BinaryFile):
        return _from_open_file(source, max_pixels, max_bytes)
    raise ImageError(
        f"cannot read an image from {type(source).__module__}.{type(source).__qualname__}; "
        "give a path, bytes, an open file, a PIL image, a NumPy array (H, W, 3) or a torch tensor (3, H, W)"
    )


def is_one_image(source: object) -> TypeGuard[ImageSource]:
    """Return whether something is a single image, readable or not, rather than several.

    >>> is_one_image("cat.jpg"), is_one_image(np.zeros((4, 6, 3))), is_one_image([np.zeros((4, 6, 3))])
    (True, True, False)
    """
    if isinstance(source, np.ndarray) or _is_tensor(source):
        return int(source.ndim) < 4
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, BinaryFile)
    return isinstance(source, kinds)


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the images in a folder, known by how their names end, in the order of their names.

    Hidden files and sub-folders are left out.

    Raises:
        OSError: The folder cannot be read.
    """
    visible = (path for path in Path(folder).iterdir() if not path.name.startswith("."))
    return sorted(path for path in visible if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())


def readable_formats() -> tuple[str, ...]:
    """Return which of Pillow's readers `load_image` lets see a file, by their names there."""
    return _FORMATS if features.check("avif") else tuple(one for one in _FORMATS if one != "AVIF")


def page_count(path: str | os.PathLike[str]) -> int:
    """Return how many pages or frames an image file has, of which `load_image` reads the first; 1 if it has no images.

    >>> page_count("none.tif")
    1
    """
    if not os.path.isfile(path):  # a pipe that nobody writes to would be waited for
        return 1
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # whatever is wrong with it, `load_image` says it
        return 1


def load_page(path: str | os.PathLike[str], page: int, *, max_pixels: int = 200_000_000) -> NDArray[np.uint8]:
    """Return a page of a file that has several, such as a TIFF, or a frame of an animation, as `load_image` does.

    Args:
        path: The file.
        page: Counted from 1.
        max_pixels: As for `load_image`.

    Raises:
        ImageError: There is no such page, or it cannot be read.
    """
    name = f"{os.fspath(path)}, page {page}"
    try:
        image = Image.open(path, formats=readable_formats())
    except Exception:  # the same is said of it as of any other file
        return load_image(path, max_pixels=max_pixels)
    with image:
        try:
            image.seek(page - 1)
        except Exception as error:  # as of damaged headers
            raise ImageError(f"{name}: there is no such page, or it is damaged: {_reason(error)}") from error
        return _from_pillow(image, name, max_pixels)


def resize_image(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return the picture as uint8 (height, width, 3), resized by antialiased bicubic interpolation.

    Selective search works on such an image; the region warp and MultiBox's input are resampled by their own functions.

    Args:
        image: uint8 RGB (H, W, 3).
        width: Of the result, in pixels, at least 1.
        height: Of the result, in pixels, at least 1.

    Raises:
        InputError: The picture is not uint8 (H, W, 3), or a side is below 1.

    >>> resize_image(np.full((4, 6, 3), 7, np.uint8), width=3, height=2).tolist()[0]
    [[7, 7, 7], [7, 7, 7], [7, 7, 7]]
    """
    check_rgb(image)
    if width < 1 or height < 1:
        raise InputError(f"width and height should be at least 1 pixel, got {width} and {height}")
    if (height, width) == image.shape[:2]:
        return image.copy()
    resized = Image.fromarray(image).resize((int(width), int(height)), Image.Resampling.BICUBIC)
    return np.array(resized)


def stretch(image: NDArray[np.uint8], window: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """Return a window of the picture as uint8 (side, side, 3), each pixel a mean over what it covers.

    Args:
        image: uint8 RGB (H, W, 3).
        window: (4,) x1 y1 x2 y2 in pixels of the picture, inside it; fractions are taken as such.
        side: Of the result, in pixels.

    >>> stretch(np.full((4, 6, 3), 7, np.uint8), np.array([0, 0, 6, 4.0]), side=1).tolist()
    [[[7, 7, 7]]]
    """
    x1, y1, x2, y2 = window.tolist()
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=(x1, y1, x2, y2))
    return np.asarray(resized)


def check_rgb(image: NDArray[np.uint8], name: str = "image") -> None:
    """Raise if `image` is not an image as the project carries it.

    Raises:
        InputError: It is not a uint8 array (H, W, 3) with at least one pixel; the text names `load_image`.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(f"{name} should be a uint8 array (H, W, 3), got {type(image).__name__}; use load_image(...)")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            f"{name} should be a uint8 array (H, W, 3), got {image.dtype} {image.shape}; use load_image(...)"
        )


def _from_path(path: str | os.PathLike[str], max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    name = os.fspath(path)
    try:
        if os.path.isdir(name):
            raise ImageError(f"{name} is a folder, not an image; give the path of one file (stream takes folders)")
        if os.path.exists(name) and not os.path.isfile(name):
            raise ImageError(f"{name} is not a regular file; read it yourself and give its bytes")
        with open(name, "rb") as file:
            _check_file_size(os.fstat(file.fileno()).st_size, name, max_bytes)
            return _from_file(file, name, max_pixels)
    except FileNotFoundError as error:
        if "://" in name or _ADDRESS.match(name):
            raise ImageError(
                f"{name} is an address, not a file; download it, and give its bytes or its path"
            ) from error
        raise ImageError(f"{name} does not exist; check the path (now in {os.getcwd()})") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name} cannot be opened: {error}") from error


def _from_open_file(file: BinaryFile, max_pixels: int, max_bytes: int) -> NDArray[np.uint8]:
    """Return the picture in what is left to read of a file; one that cannot be wound back will do."""
    given = getattr(file, "name", None)
    name = given if isinstance(given, str) else f"the open {type(file).__qualname__}"
    content = bytearray()
    try:
        while len(content) <= max_bytes and (block := file.read(_BLOCK)):
            content += block
    except (TypeError, UnicodeDecodeError) as error:
        raise ImageError(f"{name} gives text, not bytes ({error}); open it with mode 'rb'") from error
    except Exception as error:  # closed files, archives and connections each raise their own
        raise ImageError(f"{name} cannot be read: {_reason(error)}") from error
    if not content:
        raise ImageError(f"{name} has nothing left to read; wind it back with seek(0), if it was read before")
    if len(content) > max_bytes:
        raise ImageError(f"{name} has more than max_bytes={max_bytes} bytes; raise the limit if you trust it")
    return _from_file(io.BytesIO(content), name, max_pixels)


def _from_file(file: BinaryIO, name: str, max_pixels: int) -> NDArray[np.uint8]:
    formats = readable_formats()
    if "AVIF" not in formats and file.read(12)[4:] in _AVIF_STARTS:
        raise ImageError(f"{name} is an AVIF, which this Pillow was built without; pip install 'pillow>=11.3'")
    try:
        image = Image.open(file, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} has too many pixels for Pillow: {error} "
            "If you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS and max_pixels."
        ) from error
    except UnidentifiedImageError as error:
        file.seek(0)
        kind = foreign_kind(file.read(64))
        if kind is not None:
            raise ImageError(f"{name} is {kind}") from error
        raise ImageError(f"{name} is none of {_FORMATS_IN_WORDS}; convert it to one of them") from error
    except Exception as error:  # Pillow's readers raise a dozen types on damaged headers: struct.error, SyntaxError ...
        raise ImageError(f"{name} is damaged: {_reason(error)}; replace the file") from error
    with image:
        try:
            return _from_pillow(image, name, max_pixels)
        except ImageError:
            whole = _with_its_end(file) if image.format == "JPEG" else None
            if whole is None:
                raise
            with Image.open(whole, formats=formats) as mended:
                return _from_pillow(mended, name, max_pixels)


def _with_its_end(file: BinaryIO) -> BinaryIO | None:
    """Return a JPEG that lacks nothing but its end, with that; None if pixels are missing or it is damaged otherwise.

    Where all pixels are there, what stands behind them does not matter; where some are missing, it is taken for them.
    """
    file.seek(0)
    data = file.read()
    frame = data.find(b"\xff\xc0")  # one pass over the pixels; in a progressive file, passes may be missing
    channels = data[frame + 9 : frame + 10]
    scan = b"\xff\xda" + bytes((0, 6 + 2 * channels[0])) + channels if frame >= 0 and channels else b""
    if not scan or scan not in data or data.endswith(_JPEG_END):
        return None
    seen = []
    for filling in _FILLINGS:
        try:
            with Image.open(io.BytesIO(data + filling + _JPEG_END), formats=("JPEG",)) as image:
                seen.append(image.tobytes())
        except Exception:  # as in reading any other
            return None
    return io.BytesIO(data + _JPEG_END) if len(set(seen)) == 1 else None


def _from_pillow(image: Image.Image, name: str, max_pixels: int) -> NDArray[np.uint8]:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height} pixels, more than max_pixels={max_pixels}; "
            "make it smaller, or raise the limit if you trust the file"
        )
    try:
        image.load()
    except MemoryError as error:
        raise ImageError(f"{name} ({width} x {height}) does not fit into memory; make it smaller") from error
    except Exception as error:  # as above: OSError, SyntaxError, EOFError, zlib.error, ValueError, IndexError ...
        raise ImageError(f"{name} is damaged or cut off: {_reason(error)}; replace the file") from error
    try:
        upright = _upright(image)
        return np.ascontiguousarray(_to_rgb(upright, name))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name} has mode {image.mode}, which cannot become RGB: {_reason(error)}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned and mirrored as its EXIF orientation says; damaged EXIF data count as none."""
    try:
        step = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF is written by cameras; a bad tag is no reason to refuse good pixels
        return image
    return image if step is None else image.transpose(step)


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Return the pixels as uint8 (H, W, 3), whatever the mode."""
    if image.mode.startswith("I;16"):
        return _from_sixteen_bits(np.asarray(image).astype(np.uint16), name)
    if image.mode in ("I", "F"):
        return _from_numbers(np.asarray(image), name)
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _from_numbers(pixels: NDArray[np.int32] | NDArray[np.float32], name: str) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3) for one channel of 32 bits: whole numbers as 16 bits, fractions as 0..1 or 0..255."""
    if pixels.dtype.kind == "f":
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and (high <= 1 or _DARK < high <= 255)):  # NaN fails here too
            raise ImageError(
                f"{name} has fractions {low:g}..{high:g}, expected 0..1 or 0..255; save it with 8 bits a channel"
            )
        return _from_array(pixels if high <= 1 else np.rint(pixels).astype(np.uint8), name)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ImageError(
            f"{name} has 32-bit values {pixels.min()}..{pixels.max()}, expected 0..65535; scale it to 16 bits first"
        )
    return _from_sixteen_bits(pixels.astype(np.uint16), name)


def _from_sixteen_bits(pixels: NDArray[np.uint16], name: str) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3) for one channel of a file; 12 bits of a camera, written into 16, are stretched."""
    if 255 < pixels.max() <= _TWELVE_BITS:
        pixels = (pixels.astype(np.uint32) * 65535 // _TWELVE_BITS).astype(np.uint16)
    return _from_array(pixels, name)


def _is_tensor(source: object) -> TypeGuard[TorchTensor]:
    """Return whether something is a tensor of torch, or of a kind derived from it."""
    return any((kind.__module__, kind.__name__) == ("torch", "Tensor") for kind in type(source).__mro__)


def _from_tensor(tensor: TorchTensor) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3) for a tensor of one of the shapes and types `load_image` lists."""
    try:
        local = tensor.detach().cpu()
        # NumPy has no bfloat16; float32 holds all of it, and more than enough of float64.
        planes: NDArray[Any] = (local.float() if tensor.is_floating_point() else local).numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantized, or without data
        raise ImageError(f"the image tensor cannot become an array: {_reason(error)}") from error
    if planes.ndim != 3 or planes.shape[0] not in (1, 3, 4):
        last = planes.ndim == 3 and planes.shape[2] in (1, 3, 4)
        hint = "; channels come first, use tensor.permute(2, 0, 1)" if last else ""
        hint = "; give one image at a time" if planes.ndim == 4 else hint
        raise ImageError(
            f"the image tensor should have shape (3, H, W), (1, H, W) or (4, H, W), got {planes.shape}{hint}"
        )
    if planes.shape[2] in (1, 3, 4):
        raise ImageError(
            f"the image tensor of shape {planes.shape} may have its channels first or last; "
            "give an array instead: channels come last there"
        )
    return _from_array(np.moveaxis(planes, 0, -1), "the image tensor", _TENSOR_CAST)


def _from_array(
    array: NDArray[np.generic], name: str = "the image array", cast: str = _ARRAY_CAST
) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3) for an array of one of the shapes and types `load_image` lists."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        planar = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; channels come last, use np.moveaxis(array, 0, -1)" if planar else ""
        raise ImageError(f"{name} should have shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {array.shape}{hint}")
    if array.size == 0:
        raise ImageError(f"{name} has no pixels: its shape is {array.shape}")
    pixels = _to_bytes(array, name, cast)
    if pixels.shape[2] == 4:
        return _over_white(pixels)
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels)


def _to_bytes(array: NDArray[np.generic], name: str, cast: str) -> NDArray[np.uint8]:
    """Return the values scaled to 0..255; `cast` is what an error tells to do with values that are so already."""
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # to the nearest
    if array.dtype.kind != "f":
        raise ImageError(
            f"{name} should be uint8, uint16, bool, or float in 0..1, got {array.dtype}; "
            f"if its values are 0..255, use {cast}"
        )
    numbers = array.astype(np.float64)
    low, high = numbers.min(), numbers.max()
    if not (low >= 0 and high <= 1):  # NaN fails here too
        raise ImageError(
            f"{name} of {array.dtype} should be in 0..1, got {low:g}..{high:g}; if its values are 0..255, use {cast}"
        )
    return np.rint(numbers * 255).astype(np.uint8)


def _over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3): (H, W, 4) laid over white, rounded to the nearest."""
    laid = np.empty((*rgba.shape[:2], 3), np.uint8)
    # Some rows at a time: the numbers that it is computed with would take ten times the picture's memory.
    step = max(_MIXED_AT_ONCE // max(rgba.shape[1], 1), 1)
    for top in range(0, len(rgba), step):
        part = rgba[top : top + step]
        alpha = part[:, :, 3:].astype(np.uint32)
        mixed = part[:, :, :3] * alpha + 255 * (255 - alpha)
        laid[top : top + step] = (mixed + 127) // 255
    return laid


def _check_file_size(size: int, name: str, max_bytes: int) -> None:
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes); download or copy it again")
    if size > max_bytes:
        raise ImageError(f"{name} has {size} bytes, more than max_bytes={max_bytes}; raise the limit if you trust it")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
