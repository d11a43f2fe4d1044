"""The readers of arrays and settings: stored proposals and detections, checkpoints, others' weights, TOML, archives."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from mutations import Mutator
from small_files import JSON_TOKENS, SIDE, TEXT_TOKENS, Read, photograph, truth_table

_ARRAY_TOKENS: Final = (
    *JSON_TOKENS,
    b"\xff" * 8,
    b'"F64"',
    b'"BF16"',
    b'"F8_E4M3"',
    b'"I4"',
    b'"data_offsets":[0,4]',
    b'"shape":[-1]',
)


def stored_proposals(folder: Path) -> tuple[Mutator, Read]:
    from inception_rcnn.proposals.stored import StoredProposals, read_stored_proposals, write_stored_proposals
    from inception_rcnn.structures import Proposals

    path = folder / "proposals.safetensors"
    some = Proposals(np.array([[0, 0, 9, 9], [1, 1, 5, 6.5]], np.float32), np.array([0.9, 0.5], np.float32))
    stored = StoredProposals(
        settings={"method": "selective-search", "seed": 0},
        image_ids=(1, 2),
        checksums=("ab" * 32,) * 2,
        proposals=(some, some[:1]),
        code="0",
    )
    write_stored_proposals(path, stored)

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return [list(one) for one in read_stored_proposals(path).proposals]

    return Mutator([path.read_bytes()], _ARRAY_TOKENS, rebuilt=_rebuilt_array_file), read


def stored_detections(folder: Path) -> tuple[Mutator, Read]:
    from inception_rcnn.datasets.detections import read_detections
    from inception_rcnn.datasets.detections.stored import StoredDetections, write_stored_detections
    from inception_rcnn.structures import Detections, Proposals

    path = folder / "found.safetensors"
    size = (SIDE, SIDE * 3 // 4)
    some = Detections(
        np.array([[0, 0, 9, 9], [1, 1, 5, 6]], np.float32),
        np.array([0.9, 0.5], np.float32),
        np.array([0, 1]),
        ("cat", "dog"),
        size,
    )
    regions = Proposals(some.boxes, some.scores)
    stored = StoredDetections(
        settings={"weights": ["ab"]},
        class_names=("cat", "dog"),
        runs=("mean",),
        image_ids=(1, 2, 3),
        checksums=("ab" * 32,) * 3,
        found=((some,),) * 3,
        proposals=(regions,) * 3,
        seconds={"network": 0.5},
        unread=((3, "is damaged"),),
    )
    write_stored_detections(path, stored)
    truth = truth_table()

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return read_detections(path, truth, "coco", skip_unknown=True)

    return Mutator([path.read_bytes()], _ARRAY_TOKENS, rebuilt=_rebuilt_array_file), read


def checkpoints(folder: Path) -> tuple[Mutator, Read]:
    """Region classifiers and MultiBox networks: the descriptions of the shipped ones over few small arrays."""
    from inception_rcnn.detector.checkpoints import (
        KIND,
        read_classifier_description,
        read_proposal_settings,
        read_region_network,
    )
    from inception_rcnn.proposals.network import checkpoints as multibox
    from inception_rcnn.structures.array_file import read_array_description, write_array_file

    shipped = Path(multibox.__file__).parent.parent / "weights"
    classifiers = Path(multibox.__file__).parent.parent.parent / "detector" / "weights"
    path, valid = folder / "model.safetensors", []
    for source in (
        classifiers / "coco.safetensors",
        classifiers / "coco-mini.safetensors",
        next(shipped.glob("*.safetensors")),
    ):
        said = read_array_description(source)
        said["seen"] = [{**one, "checksums": "AAAAAAAAAAE=", "photographs": 1} for one in said.get("seen", ())][:1]
        write_array_file(
            path, said["kind"], said, {"classifier.bias": np.zeros(81, np.float16), "x": np.ones((2, 2), np.int8)}
        )
        valid.append(path.read_bytes())

    def read(data: bytes) -> object:
        path.write_bytes(data)
        if f'"kind\\": \\"{KIND}'.encode() not in data[:65536]:
            return multibox.read_start(path)
        said = read_classifier_description(path)
        read_proposal_settings(path, said)
        return read_region_network(path)

    return Mutator(valid, _ARRAY_TOKENS, rebuilt=_rebuilt_array_file), read


def plans(folder: Path) -> tuple[Mutator, Read]:
    """TOML: the file of an ensemble, and the plan of one to be trained."""
    from inception_rcnn.detector.ensemble_file import read_ensemble_file
    from inception_rcnn.tools.train_ensemble import read_plan

    path = folder / "x.toml"

    def read(data: bytes) -> object:
        path.write_bytes(data[1:])
        return read_plan(path, folder) if data[:1] == b"p" else read_ensemble_file(path)

    ensemble = (
        b'members = ["coco", "large.safetensors"]\nscore_threshold = 0.2\niou_threshold = 0.3\nmax_proposals = 300\n'
    )
    ensemble += b"objectness_power = 1.0\nscore_calibration = { slope = 1.4, offset = 0.2 }\n"
    plan = b'data = ["voc:x"]\niterations = 100\nseed = 1\n[members.first]\nseed = 2\n[members.second]\nflip = true\n'
    plan += b"learning-rate = 0.01\n"
    tokens = (
        b"[" * 5000,
        b"{a=" * 2000,
        b"a." * 3000 + b"b = 1\n",
        b"[[members]]",
        b"[members.'../x']",
        b"1979-05-27T07:32:00Z",
    )
    tokens += (b'"""', b"'''", b"0x", b"inf", b"nan", b'"\\ud800"', b'"\\U0001F600"', b"= ", b"#")
    return Mutator([b"e" + ensemble, b"p" + plan], (*tokens, *TEXT_TOKENS)), read


def other_weights(folder: Path) -> tuple[Mutator, Read]:
    """Weights of other programs: .npz, .caffemodel and plain .safetensors."""
    import safetensors.numpy

    from inception_rcnn.backbones.weight_formats.caffe import read_npz
    from inception_rcnn.backbones.weight_formats.caffemodel import read_caffemodel
    from inception_rcnn.backbones.weight_formats.torchvision import is_plain, read_plain

    arrays = {"conv1/7x7_s2/weight": np.ones((2, 3, 2, 2), np.float32), "conv1/7x7_s2/bias": np.zeros(2, np.float32)}
    files = {b"n": folder / "x.npz", b"c": folder / "x.caffemodel", b"s": folder / "x.safetensors"}
    np.savez(files[b"n"], **arrays)
    plain = files[b"n"].read_bytes()
    np.savez_compressed(files[b"n"], **arrays)
    blob = b"\x08\x01\x10\x01\x18\x01\x20\x02\x2d" + struct.pack("<f", 1.0) + b"\x2d" + struct.pack("<f", 2.0)
    layer = b"\x0a\x05conv1" + b"\x3a" + bytes([len(blob)]) + blob
    caffe = b"\xa2\x06" + bytes([len(layer)]) + layer
    files[b"s"].write_bytes(safetensors.numpy.save(arrays))
    valid = [b"n" + plain, b"n" + files[b"n"].read_bytes(), b"c" + caffe, b"s" + files[b"s"].read_bytes()]
    files[b"c"].write_bytes(b"")

    def read(data: bytes) -> object:
        path = files.get(data[:1], files[b"c"])
        path.write_bytes(data[1:])
        if path == files[b"s"]:
            return is_plain(path), read_plain(path)
        return read_npz(path) if path == files[b"n"] else read_caffemodel(path)

    tokens = (
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"PK\x05\x06",
        b"\x93NUMPY\x01\x00",
        b"'descr': '|O'",
        b"'shape': (999999999999,)",
        b"(1,)*9",
    )
    tokens += (b"\x80" * 12, b"\xff" * 9 + b"\x01", b"'<f8'", b"'fortran_order': True", *_ARRAY_TOKENS)
    return Mutator(valid, tokens), read


def archives(folder: Path) -> tuple[Mutator, Read]:
    """What `detect --engine` reads: a list, Parquet with the bytes of images, pieces, and the results of a run."""
    import pyarrow
    import pyarrow.parquet

    from inception_rcnn.datasets.archive.manifest import PIECES, drafted
    from inception_rcnn.datasets.archive.shards import (
        RUN,
        FoundInPhotograph,
        RunDescription,
        outdated_pieces,
        read_entries,
        shard_name,
        write_shard,
    )
    from inception_rcnn.datasets.archive.sources import pieces_of
    from inception_rcnn.datasets.archive.storage import Location

    results, run = Location(str(folder / "results")), RunDescription({"seed": 0}, ("cat", "dog"), "coco", 1, 2)
    places = {b"l": folder / "list.txt", b"p": folder / "set.parquet"}
    places |= {b"r": folder / "results" / RUN, b"j": folder / "results" / PIECES}
    places |= {b"s": folder / "results" / shard_name(0)}
    for name in ("a.png", "b.png"):
        photograph().save(folder / name)
    places[b"l"].write_text("# photographs\na.png\nb.png\n")
    images = [(folder / name).read_bytes() for name in ("a.png", "b.png")]
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a", "b"], "image": images}), places[b"p"])
    boxes, scores = np.array([[0, 0, 9, 9], [1, 1, 5, 6]], np.float32), np.array([0.9, 0.5], np.float32)
    rows = [FoundInPhotograph("a.png", "ab" * 32, (SIDE, SIDE), boxes, scores, ("cat", "dog"))]
    run.write(results)
    write_shard(results, 0, [*rows, FoundInPhotograph.failed("b.png", None, "is damaged")], run)
    with drafted(pieces_of(str(places[b"l"]), 2)) as draft:
        draft.write(results)
        manifest = draft.in_folder(results)
    kept = {path: path.read_bytes() for path in places.values()}

    def read(data: bytes) -> object:
        path = places.get(data[:1], places[b"s"])
        path.write_bytes(data[1:])
        try:
            if path in (places[b"l"], places[b"p"]):
                return [list(piece.photographs()) for piece in pieces_of(str(path), 2)]
            if path == places[b"j"]:
                return list(manifest.piece(0).photographs())
            return outdated_pieces(results, [""]), list(read_entries(results))
        finally:
            path.write_bytes(kept[path])

    tokens = (
        b"PAR1",
        b"ARROW:schema",
        b"\x15\x00",
        b"\x28\xb5\x2f\xfd",
        b"\xff" * 5,
        b'"pieces": 1e9',
        b'"files": [0]',
    )
    valid = [mark + kept[path] for mark, path in places.items()]
    return Mutator(valid, (*tokens, *JSON_TOKENS, *TEXT_TOKENS)), read


def _rebuilt_array_file(data: bytes, chance: random.Random, change: Callable[[bytes], bytes]) -> bytes:
    """Return an array file of which one part was changed; length and checksum are right, so that the rest is read."""
    length = int(struct.unpack("<Q", data[:8])[0])
    header, arrays = json.loads(data[8 : 8 + length]), data[8 + length :]
    text = header["__metadata__"].pop("inception_rcnn").encode()
    which = chance.random()
    if which < 0.6:
        text = change(text)
    elif which < 0.8:
        arrays = change(arrays)
    spans = json.dumps(header).encode()
    if which >= 0.8:
        spans = change(spans)
    digest = sha256(arrays).hexdigest()
    try:
        described = json.loads(text)
        if isinstance(described, dict) and "data_sha256" in described:
            text = json.dumps({**described, "data_sha256": digest}).encode()
    except (ValueError, RecursionError):
        pass
    inner = json.dumps(text.decode("utf-8", "replace")).encode()
    packed = spans.replace(b'"__metadata__": {}', b'"__metadata__": {"inception_rcnn": ' + inner + b"}", 1)
    return struct.pack("<Q", len(packed)) + packed + arrays
