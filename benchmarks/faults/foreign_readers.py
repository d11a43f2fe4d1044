"""The readers of foreign files: for each some valid files, written by the package itself, and what reads one.

A reader gets bytes, puts them where such a file lies, and reads all of it. What it raises is for the caller to judge.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from array_readers import archives, checkpoints, other_weights, plans, stored_detections, stored_proposals
from mutations import PATHS, Mutator
from small_files import (
    JSON_TOKENS,
    SIDE,
    TEXT_TOKENS,
    Read,
    image_files,
    photograph,
    small_dataset,
    small_truth,
    truth_table,
)

MOST_PIXELS: Final = 10_000_000
"""Of an image: the limit that `load_image` is given."""


@dataclass(frozen=True)
class Reader:
    """One kind of foreign file.

    Args:
        name: Of the kind.
        mutator: Makes inputs.
        read: Reads one.
    """

    name: str
    mutator: Mutator = field(repr=False)
    read: Read = field(repr=False)


def make_reader(name: str, folder: Path) -> Reader:
    """Return a reader by its name, with an empty folder of its own to work in.

    Raises:
        KeyError: There is none of the name.
    """
    mutator, read = READERS[name](folder)
    return Reader(name, mutator, read)


def _opened(kind: str, root: Path, split: str) -> None:
    """Read a data set as strictly as it is by default, then without what is broken; say what was understood."""
    from inception_rcnn.datasets import open_dataset
    from inception_rcnn.structures import InceptionError

    first: Exception | None = None
    for skip in (True, False):
        try:
            dataset = open_dataset(kind, root, split, skip_broken=skip)
            dataset.ground_truths()
            [dataset.ground_truth(i) for i in range(len(dataset))]
            str(dataset)
        except InceptionError as error:
            first = error
    if first is not None:
        raise first


def _images(folder: Path) -> tuple[Mutator, Read]:
    from inception_rcnn.datasets.reading.headers import read_header
    from inception_rcnn.structures import load_image
    from inception_rcnn.structures.images import page_count

    path = folder / "x"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        read_header(path)
        page_count(path)
        return load_image(path, max_pixels=MOST_PIXELS)

    tokens = (b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda", b"\xff\xe1Exif\0\0II*\0", b"IHDR", b"IDAT", b"IEND", b"acTL")
    tokens += (
        b"fdAT",
        b"eXIf",
        b"tRNS",
        b"PLTE",
        b"GIF89a",
        b"!\xf9\x04",
        b"RIFF",
        b"VP8X",
        b"ANIM",
        b"II*\0",
        b"MM\0*",
    )
    tokens += (
        b"%!PS",
        b"P6 65535 65535 255\n",
        b"P7",
        b"BM",
        b"\0\0\0\x0cjP  ",
        b"ftypavif",
        b"meta",
        b"\xff\xff\xff\xff",
    )
    return Mutator(image_files(), tokens), read


def _coco(folder: Path) -> tuple[Mutator, Read]:
    from inception_rcnn.datasets.coco import coco_ground_truth
    from inception_rcnn.structures import InceptionError

    root = small_dataset(folder)
    path = root / "val.json"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        with contextlib.suppress(InceptionError):
            coco_ground_truth(path)
        return _opened("coco", root, "val")

    return Mutator(
        [path.read_bytes(), json.dumps(small_truth(), indent=1).encode("utf-16")], JSON_TOKENS, as_json=True
    ), read


def _voc(folder: Path) -> tuple[Mutator, Read]:
    root = small_dataset(folder, "voc")
    path = sorted((root / "Annotations").glob("*.xml"))[0]

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return _opened("voc", root, "val")

    polygon = path.read_bytes().replace(b"<difficult>", b"<polygon><pt><x>1</x><y>2</y></pt></polygon><difficult>")
    tokens = (
        b"<object>" * 2000,
        b"</object>",
        b"<bndbox>",
        b"<xmin>",
        b"<a>" * 100_000,
        b"&lt;",
        b"&a;",
        b"&#0;",
        b"&#x1b;",
    )
    tokens += (
        b'<!DOCTYPE x [<!ENTITY a "ha">]>',
        b'<!ENTITY x SYSTEM "file:///etc/passwd">',
        b"<![CDATA[",
        b"]]>",
        b"<!--",
    )
    tokens += (
        b"<?xml version='1.0' encoding='utf-7'?>",
        b"<?xml version='1.0' encoding='utf-16'?>",
        b"<name/>",
        b"<deleted>1",
    )
    return Mutator(
        [path.read_bytes(), polygon], (*tokens, *TEXT_TOKENS, *(one.encode("utf-8", "replace") for one in PATHS))
    ), read


def _ilsvrc(folder: Path) -> tuple[Mutator, Read]:
    """The texts of ILSVRC: the list of a split, the table of classes, a submission, and the list of exceptions."""
    from inception_rcnn.datasets.detections.ilsvrc import read_blacklist, read_ilsvrc_detections

    root = small_dataset(folder, "ilsvrc")
    listed, classes, found = root / "ImageSets" / "DET" / "val.txt", root / "classes.tsv", folder / "found.txt"
    submission = b"".join(b"%d 1 0.%d 1.5 2 10 12.25\n" % (1 + k % 3, 9 - k) for k in range(9))
    kept = {path: path.read_bytes() for path in (listed, classes)}

    def read(data: bytes) -> object:
        kind, text = data[:1], data[1:]
        if kind in (b"s", b"b"):
            found.write_bytes(text)
            return read_ilsvrc_detections(found, [1, 2, 3]) if kind == b"s" else read_blacklist(found)
        path = listed if kind == b"l" else classes
        path.write_bytes(text)
        try:
            return _opened("ilsvrc", root, "val")
        finally:
            path.write_bytes(kept[path])

    valid = [b"l" + kept[listed], b"c" + kept[classes], b"s" + submission, b"b1 n02086646\n3 n02086646\n"]
    return Mutator(valid, TEXT_TOKENS), read


def _yolo(folder: Path) -> tuple[Mutator, Read]:
    """The YAML, and the labels of a photograph."""
    root = small_dataset(folder, "yolo")
    table, labels = root / "data.yaml", sorted((root / "labels").rglob("*.txt"))[0]
    kept = {path: path.read_bytes() for path in (table, labels)}

    def read(data: bytes) -> object:
        path = table if data[:1] == b"y" else labels
        path.write_bytes(data[1:])
        try:
            return _opened("yolo", root, "val")
        finally:
            path.write_bytes(kept[path])

    tokens = (
        b"[" * 5000,
        b"&a [*a]",
        b"a: &a [x]\nb: &b [*a,*a]\n",
        b"!!python/object/apply:os.system ['x']",
        b"<<: *a",
        b"? ",
    )
    tokens += (
        b"names: {0: cat, 5: dog}",
        b"train: ../../../../etc",
        b"train: /",
        b"val: [a, b]",
        b"kpt_shape: [1, 3]",
        b"- ",
    )
    valid = [b"y" + kept[table], b"l" + kept[labels], b"l0 0.5 0.5 0.2 0.2 0.3 0.4 0.7\n1 0.1 0.1 0.1 0.1\n"]
    return Mutator(valid, (*tokens, *TEXT_TOKENS)), read


def _tables(folder: Path) -> tuple[Mutator, Read]:
    """CSV and TSV of labelled photographs, Kaggle's solution, and the log of a training."""
    from inception_rcnn.backbones.training.log import read_log
    from inception_rcnn.datasets.reading.labelled_images import open_labelled_images, open_labelled_part

    val = folder / "Data" / "CLS-LOC" / "val"
    val.mkdir(parents=True)
    photograph().save(val / "a.png")
    places = {b"t": folder / "labels.tsv", b"s": folder / "LOC_val_solution.csv", b"g": folder / "log.csv"}

    def read(data: bytes) -> object:
        path = places.get(data[:1], places[b"t"])
        path.write_bytes(data[1:])
        if data[:1] == b"g":
            return read_log(path)
        images = open_labelled_part(folder, "val") if data[:1] == b"s" else open_labelled_images(path)
        return images.outputs(10, None if images.classes is None else images.classes), images.readable()

    for path in places.values():
        path.write_bytes(b"")
    solution = b"ImageId,PredictionString\na,n02086646 1 2 3 4 \nb,n02086646 1 2 3 4 n02086646 5 6 7 8\n"
    log = b"iteration,seconds,loss\n1,0.5,2.25\n2,0.9,2.0\n"
    valid = [b"tfile\tclass_index\na.png\t3\nsub/b.png\t0\n", b"s" + solution, b"g" + log]
    return Mutator(
        valid, (*TEXT_TOKENS, b",", b"\t", b'"' * 3, b"," * 3000, *(x.encode("utf-8", "replace") for x in PATHS))
    ), read


def _results(folder: Path) -> tuple[Mutator, Read]:
    """Files of detections in COCO's format and as `detect --json` writes them, told apart as `eval_map` does."""
    from inception_rcnn.datasets.detections import read_detections

    truth, path = truth_table(), folder / "found.json"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return read_detections(path, truth, "coco", skip_unknown=bool(len(data) % 2))

    results = [
        {"image_id": 1 + k % 3, "category_id": 1 + 2 * (k % 2), "bbox": [k, 1.5, 8, 9], "score": 0.9 - k / 10}
        for k in range(5)
    ]
    found = [
        {"label": "cat", "score": 0.9, "box": [1.0, 2.0, 9.0, 9.5]},
        {"label": "dog", "score": 0.5, "box": [0.0, 0.0, 4.0, 4.0]},
    ]
    entries = [
        {"image": f"{k}.png", "width": SIDE, "height": SIDE * 3 // 4, "detections": found, "sha256": None}
        for k in (1, 2, 3)
    ]
    header = {"format": "inception-rcnn detections", "version": 1, "settings": {}}
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in (header, *entries))
    return Mutator([json.dumps(results).encode(), json.dumps(entries).encode(), lines], JSON_TOKENS, as_json=True), read


def _result_texts(folder: Path) -> tuple[Mutator, Read]:
    """Files of detections as text: VOC's of a class, and a folder with one for each photograph, YOLO's or mAP's."""
    from inception_rcnn.datasets.detections import read_detections

    truth, voc, each = truth_table(), folder / "comp3_det_val_cat.txt", folder / "each"
    each.mkdir()
    voc.write_bytes(b"")
    (each / "1.txt").write_bytes(b"")

    def read(data: bytes) -> object:
        of_class = data[:1] == b"v"
        (voc if of_class else each / "1.txt").write_bytes(data[1:])
        return read_detections(voc if of_class else each, truth, "voc", skip_unknown=True)

    valid = [
        b"v1 0.9 1 2 9 9.5\n2 0.5 1 1 4 4\n",
        b"y0 0.5 0.5 0.25 0.25 0.9\n1 0.1 0.1 0.1 0.1 0.5\n",
        b"mcat 0.9 1 2 9 9\ndog 0.5 1 1 4 4\n",
    ]
    return Mutator(valid, TEXT_TOKENS), read


def _truth_lines(folder: Path) -> tuple[Mutator, Read]:
    """The package's own file of objects, JSON Lines."""
    from inception_rcnn.datasets.ground_truth_file import read_ground_truth, write_ground_truth

    path = folder / "truth.jsonl"
    write_ground_truth(path, truth_table())

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return read_ground_truth(path)

    return Mutator([path.read_bytes()], JSON_TOKENS, as_json=True), read


def _packed(folder: Path) -> tuple[Mutator, Read]:
    """Files packed by gzip: of objects, of detections, of ILSVRC's text."""
    from inception_rcnn.datasets.detections import read_detections
    from inception_rcnn.datasets.ground_truth_file import read_ground_truth, write_ground_truth

    truth = truth_table()
    places = {b"t": folder / "truth.jsonl.gz", b"d": folder / "found.json.gz", b"i": folder / "found.txt.gz"}
    write_ground_truth(places[b"t"], truth)
    found = json.dumps([{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}]).encode()
    contents = [
        b"t" + places[b"t"].read_bytes(),
        b"d" + gzip.compress(found),
        b"i" + gzip.compress(b"1 1 0.5 1 1 5 5\n"),
    ]
    for path in places.values():
        path.write_bytes(b"")

    def read(data: bytes) -> object:
        path = places.get(data[:1], places[b"d"])
        path.write_bytes(data[1:])
        if path == places[b"t"]:
            return read_ground_truth(path)
        return read_detections(path, truth, "coco" if path == places[b"d"] else "ilsvrc", skip_unknown=True)

    bombs = (gzip.compress(b" " * 10**7), gzip.compress(gzip.compress(b"[" * 10**6)), b"\x1f\x8b\x08\x08" + b"a" * 5000)

    def rebuilt(data: bytes, chance: random.Random, change: Callable[[bytes], bytes]) -> bytes:
        return data[:1] + gzip.compress(change(gzip.decompress(data[1:])), compresslevel=1)

    return Mutator(contents, (*bombs, b"\x1f\x8b", b"\x1f\x8b\x08\0"), rebuilt=rebuilt), read


def _server(folder: Path) -> tuple[Mutator, Read]:
    """A request to `serve`: its headers and its body; the detector behind it reads the photograph and finds nothing."""
    from typing import cast

    from fastapi.testclient import TestClient

    from inception_rcnn.detector import Detector
    from inception_rcnn.detector.server.app import ServerSettings, create_app
    from inception_rcnn.structures import Detections, InputError

    class Nothing:
        def __call__(self, image: np.ndarray) -> Detections:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("cat",))

    settings = ServerSettings(max_pixels=MOST_PIXELS)
    client = TestClient(create_app({"coco": lambda: cast(Detector, Nothing())}, {}, settings))
    client.__enter__()
    known = (200, 400, 401, 404, 405, 408, 413, 415, 422, 429)

    def read(data: bytes) -> object:
        head, _, body = data.partition(b"\n\n")
        path, *lines = head.split(b"\n")
        headers = [tuple(line.split(b": ", 1)) for line in lines if b": " in line]
        try:
            request = client.build_request(
                "POST", b"/detect?".decode() + path.decode("latin-1"), headers=headers, content=body
            )
        except Exception:  # the client itself will not send this
            return None
        answer = client.send(request)
        if answer.status_code not in known:
            raise AssertionError(f"answered {answer.status_code}: {answer.text[:200]}")
        if answer.status_code != 200:
            raise InputError(str(answer.json()))
        return answer.json()

    heads = (b"model=coco\ncontent-type: image/jpeg\n\n", b"\ncontent-type: multipart/form-data; boundary=x\n\n")
    valid = [heads[0] + one for one in image_files()[:12]] + [heads[1] + b"--x\r\n\r\nabc\r\n--x--"]
    tokens = (
        b"content-length: -1\n",
        b"content-length: 9999999999999999999999\n",
        b"host: evil.example\n",
        b"transfer-encoding: chunked\n",
    )
    tokens += (
        b"model=%00",
        b"model=../..",
        b"&model=",
        b"authorization: Bearer \xff\n",
        b"cookie: inception_rcnn_token=\n",
        b"expect: 100-continue\n",
    )
    return Mutator(valid, tokens), read


READERS: Final[dict[str, Callable[[Path], tuple[Mutator, Read]]]] = {
    "images": _images,
    "COCO annotations": _coco,
    "VOC XML": _voc,
    "ILSVRC text": _ilsvrc,
    "YOLO": _yolo,
    "tables": _tables,
    "COCO results, detect --json": _results,
    "VOC, YOLO, mAP results": _result_texts,
    "objects, JSON Lines": _truth_lines,
    "stored proposals": stored_proposals,
    "stored detections": stored_detections,
    "checkpoints": checkpoints,
    "TOML": plans,
    "npz, caffemodel, safetensors": other_weights,
    "gzip": _packed,
    "archives: lists, Parquet, results": archives,
    "POST /detect": _server,
}
"""What makes each reader, in an empty folder of its own."""


def chosen_readers(words: Sequence[str]) -> list[str]:
    """Return the readers whose names hold one of the words; all for none."""
    return [name for name in READERS if not words or any(word.lower() in name.lower() for word in words)]
