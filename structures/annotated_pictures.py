"""Annotated pictures as files: what each is called, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.structures.errors import InputError
from inception_rcnn.structures.files import write_whole
from inception_rcnn.structures.images import check_rgb


def picture_files(images: Sequence[Path], word: str, output: Path | None = None) -> list[tuple[Path, Path]]:
    """Return each image with the file its annotated picture goes to; no file is named twice.

    Args:
        images: Images, or folders, of which every regular file is taken, whatever its name, in alphabetical order.
        word: What the picture shows: `photo.webp` becomes `photo-<word>.jpg`; a PNG stays a PNG.
        output: Folder for all pictures; None puts them beside their images, those of a folder into its sub-folder
            `<word>`, so that a second call does not take them for images.

    Raises:
        InputError: There is no file in the folders.
    """
    named: dict[Path, Path] = {}  # picture: image
    for path in images:
        sources = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        folder = output or (path / word if path.is_dir() else path.parent)
        for source in sources:
            suffix = ".png" if source.suffix.lower() == ".png" else ".jpg"
            picture, number = folder / f"{source.stem}-{word}{suffix}", 2
            while picture in named:  # a.jpg and a.webp, or two folders' photographs in one output folder
                picture, number = folder / f"{source.stem}-{word}-{number}{suffix}", number + 1
            named[picture] = source
    if not named:
        raise InputError(f"no files in {', '.join(str(path) for path in images)}; give images or a folder with images")
    return [(source, picture) for picture, source in named.items()]


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Put the picture into a file, whole or not at all; its folder is made if need be.

    Args:
        path: *.png, or anything else for JPEG.
        pixels: uint8 RGB (H, W, 3).

    Raises:
        InputError: The pixels have another shape or type.
        OSError: The file cannot be written.
    """
    check_rgb(pixels, "pixels")
    buffer = BytesIO()
    kind = "PNG" if path.suffix == ".png" else "JPEG"
    Image.fromarray(pixels).save(buffer, kind, quality=92)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())
