"""Small valid files, in all formats, that are then made wrong: images, a data set, its objects; and words to put in."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

SIDE: Final = 24
"""Of the photographs in the small data sets, in pixels; their height is three quarters of it."""

Read = Callable[[bytes], object]
"""What reads one input."""

JSON_TOKENS: Final = (
    *(b"[" * 100_000, b'{"a":' * 50_000, b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"null", b"[]", b"{}", b'""'),
    *(b'"\\ud800"', b'"\\u0000"', b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"//", b"true", b"1_0", b'"id":1,', b"\n"),
)
TEXT_TOKENS: Final = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\n\n",
        b"\t",
        b"\x1b[2J",
        b"\xe2\x80\xa8",
        b"\x85",
        b"\x0b",
        b"nan",
    ),
    *(
        b"inf",
        b"1e999",
        b"-1",
        b"9" * 5000,
        b"0x10",
        b"1_0",
        b"\xd9\xa1",
        b"#",
        b'"',
        b"'",
        b"../../etc/passwd",
        b"a" * 5000,
    ),
)


def photograph(width: int = SIDE, height: int = SIDE * 3 // 4) -> Image.Image:
    """Return scikit-image's cat, small."""
    from skimage import data

    return Image.fromarray(data.chelsea()).resize((width, height))


def small_truth() -> dict[str, Any]:
    """Return three photographs with five objects of two classes, as COCO has them."""
    height = SIDE * 3 // 4
    boxes = [[1, 2, 10, 9], [4.5, 3, 12.25, 8], [0, 0, SIDE, height], [2, 2, 3, 3], [8, 1, 9, 9]]
    return {
        "images": [{"id": k, "file_name": f"{k}.png", "width": SIDE, "height": height} for k in (1, 2, 3)],
        "annotations": [
            {"id": k, "image_id": 1 + k % 3, "category_id": 1 + 2 * (k % 2), "bbox": box, "area": box[2] * box[3]}
            | {"iscrowd": int(k == 4), "segmentation": [[1, 1, 5, 1, 5, 5]]}
            for k, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 3, "name": "dog"}],
    }


def small_dataset(folder: Path, format: str = "coco", split: str = "val") -> Path:
    """Return the folder of a small data set in a format, written by the package."""
    from inception_rcnn.datasets import CocoDataset, write_dataset
    from inception_rcnn.datasets.writing import WithoutIgnored

    first = folder / "first"
    (first / split).mkdir(parents=True)
    for k in (1, 2, 3):
        photograph().save(first / split / f"{k}.png")
    (first / f"{split}.json").write_text(json.dumps(small_truth()))
    if format == "coco":
        return first
    dataset = CocoDataset(first, split)
    write_dataset(format, WithoutIgnored(dataset, [0, 1, 2]), folder / format, split)
    return folder / format


def image_files() -> list[bytes]:
    """Return small images of every format that is read, in several modes."""
    image = photograph()
    exif = Image.Exif()
    exif[0x0112] = 6
    ways: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (image, "JPEG", {"exif": exif}),
        (image, "JPEG", {"progressive": True}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "PNG", {"exif": exif}),
        (image.convert("RGBA"), "PNG", {}),
        (image.convert("L"), "PNG", {"transparency": 3}),
        (image.convert("P"), "PNG", {}),
        (image.convert("1"), "PNG", {}),
        (Image.fromarray((np.arange(SIDE * SIDE, dtype=np.uint16) * 99).reshape(SIDE, SIDE)), "PNG", {}),
        (image, "PNG", {"save_all": True, "append_images": [image.rotate(90)]}),
        (image.convert("P"), "GIF", {"save_all": True, "append_images": [image.rotate(90).convert("P")]}),
        (image, "WEBP", {}),
        (image.convert("RGBA"), "WEBP", {"lossless": True, "save_all": True, "append_images": [image]}),
        (image, "BMP", {}),
        (image.convert("P"), "BMP", {}),
        (image, "PPM", {}),
        (image, "TIFF", {"compression": "tiff_lzw"}),
        (image, "TIFF", {"compression": "jpeg"}),
        (image.convert("F"), "TIFF", {}),
        (image, "MPO", {"save_all": True, "append_images": [image]}),
        (image, "JPEG2000", {}),
        (image, "AVIF", {}),
    ]
    from inception_rcnn.structures.images import readable_formats

    made = []
    for picture, kind, options in ways:
        if kind == "MPO" or kind in readable_formats():
            buffer = io.BytesIO()
            picture.save(buffer, kind, **options)
            made.append(buffer.getvalue())
    return made


def truth_table() -> Any:
    """Return the objects of the small data set."""
    from inception_rcnn.structures import GroundTruthTable

    truth = small_truth()
    rows = truth["annotations"]
    box = np.array([one["bbox"] for one in rows], np.float64)
    box[:, 2:] += box[:, :2]
    return GroundTruthTable(
        class_names=("cat", "dog"),
        image_ids=(1, 2, 3),
        image=np.array([one["image_id"] - 1 for one in rows]),
        label=np.array([one["category_id"] // 3 for one in rows]),
        box=box,
        ignore=np.zeros(len(rows), bool),
        image_names=("1", "2", "3"),
        sizes=((SIDE, SIDE * 3 // 4),) * 3,
        category_ids=(1, 3),
    )
