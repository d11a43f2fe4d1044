"""What SECURITY.md promises beyond one room: nothing is unpickled, executed or fetched, nothing leaves its folder.

What belongs to one room, such as images or gzip, is tested there; SECURITY.md says where.
"""

from __future__ import annotations

import ast
import io
import json
import re
import runpy
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from inception_rcnn.datasets import CocoDataset, VocDataset, YoloDataset, open_dataset, write_dataset
from inception_rcnn.datasets.detections import write_detections
from inception_rcnn.datasets.detections.annotation_files import write_voc_annotations, write_yolo_labels
from inception_rcnn.structures import (
    DataFormatError,
    GroundTruthTable,
    ImageError,
    InputError,
    load_image,
)
from inception_rcnn.structures.array_file import read_array_file
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.files import decode_json
from inception_rcnn.tools.detect_outputs import safe_name

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("structures", "datasets", "evaluation", "backbones", "proposals", "detector", "tools", "src")
FORBIDDEN = (  # what runs what is in a file, or asks another machine for one
    *("pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "runpy", "code"),
    *("urllib.request", "http.client", "ftplib", "requests", "httpx", "aiohttp", "urllib3", "botocore", "boto3"),
    *("huggingface_hub", "gdown", "torch.hub", "telnetlib", "xmlrpc", "xml.dom", "xml.sax", "lxml"),
)
ALLOWED = {"pickle.UnpicklingError"}  # which numba raises of its own cache
CALLS = (
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
)
PATHS = (
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\x.png",
    "C:\\x.png",
    "a\0b.png",
    "//host/x.png",
    "~/x.png",
    "a/../../x.png",
)


def names_in(tree: ast.AST) -> tuple[dict[str, str], list[str]]:
    """What each imported name stands for, and the full names of all that is imported."""
    meant, imported = dict[str, str](), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            before = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            imported += [before + one.name for one in node.names]
            meant |= {one.asname or one.name: before + one.name for one in node.names if one.asname or before}
    return meant, imported


def complaints(tree: ast.AST) -> Iterator[str]:
    """What a file does that SECURITY.md says nothing does."""
    meant, imported = names_in(tree)

    def full_name(node: ast.AST) -> str:
        first, dot, rest = ast.unparse(node).partition(".")
        return f"{meant.get(first, first)}{dot}{rest}"

    within = tuple(f"{one}." for one in FORBIDDEN)
    yield from (name for name in imported if name in FORBIDDEN or (name.startswith(within) and name not in ALLOWED))
    yield from (name for name in imported if name.endswith(".*"))  # and nobody knows what
    for node in ast.walk(tree):
        # Whether it is called there or handed on.
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load) and full_name(node) in CALLS:
            yield full_name(node)
        if not isinstance(node, ast.Call):
            continue
        called, given = full_name(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
        if given.get("shell", "False") != "False" or given.get("allow_pickle", "False") != "False":
            yield ast.unparse(node)
        if called == "numpy.load" and given.get("allow_pickle") != "False":
            yield ast.unparse(node)
        if called == "torch.load" and given.get("weights_only") != "True":
            yield ast.unparse(node)
        if called.startswith("yaml.") and called.endswith("load") and "BaseLoader" not in given.get("Loader", ""):
            yield ast.unparse(node)
        if called.endswith("Environment") and given.get("autoescape") != "True":
            yield ast.unparse(node)


def test_nothing_is_unpickled_executed_or_fetched_by_the_source() -> None:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(paths) > 150
    found = {str(path): said for path in paths if (said := list(complaints(ast.parse(path.read_text("utf-8")))))}
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "import marshal",
        "from urllib.request import urlopen",
        "import aiohttp",
        "from botocore.session import Session",
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "from os import *",
        "eval('1')",
        "list(map(eval, texts))",
        "from builtins import eval as e\ne(text)",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "from torch import load\nload(path)",
        "import numpy as np\nnp.load(path)",
        "from numpy import load as read\nread(path, allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "from yaml import safe_load\nsafe_load(text)",
        "subprocess.run(words, shell=True)",
        "subprocess.run(words, shell=asked)",
        "import os\nos.system('ls')",
        "from os import system\nsystem('ls')",
        "from subprocess import getoutput\ngetoutput('ls')",
        "import jinja2\njinja2.Environment()",
    ],
)
def test_each_way_would_be_noticed(line: str) -> None:
    assert list(complaints(ast.parse(line)))


def test_templates_mark_nothing_but_their_own_texts_as_safe() -> None:
    for path in sorted((ROOT / "evaluation" / "report" / "templates").glob("*.html")):
        for marked in re.findall(r"\{\{([^{}]*)\|\s*safe", path.read_text("utf-8")):
            assert re.fullmatch(r"\s*'[^']*'\s*", marked), (path, marked)
        assert "autoescape false" not in path.read_text("utf-8")
    page = (ROOT / "detector" / "server" / "page" / "page.js").read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page)


def test_a_photograph_is_looked_at_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from inception_rcnn.detector import load_detector

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked the network")

    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    with pytest.raises(AssertionError, match="asked the network"):
        socket.create_connection(("127.0.0.1", 9))
    found = load_detector("coco", "cpu", max_proposals=20, runtime="torch")(data.chelsea())
    assert len(found.class_names) == 80


def truth_with(**change: Any) -> dict[str, Any]:
    """COCO's truth of one photograph and one object, with other values."""
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 20, **change.get("image", {})}
    thing = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 9], "area": 90, "iscrowd": 0}
    return {"images": [image], "annotations": [thing], "categories": [{"id": 1, "name": change.get("name", "cat")}]}


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """The folder of a data set, beside a photograph and a text that are none of its business."""
    root = tmp_path / "in" / "set"
    (root / "val").mkdir(parents=True)
    for path in (root / "val" / "a.png", tmp_path / "x.png", tmp_path / "in" / "x.png"):
        Image.new("RGB", (40, 20)).save(path)
    return root


@pytest.mark.parametrize("name", PATHS)
def test_no_name_in_a_file_leads_out_of_the_data_set(data_set: Path, name: str) -> None:
    (data_set / "val.json").write_text(json.dumps(truth_with(image={"file_name": name})))
    with pytest.raises(DataFormatError, match=r"leads out|is missing"):
        CocoDataset(data_set, "val")
    (data_set / "val.json").unlink()
    shown = name.replace("\0", "&#x20;")
    voc = f"<annotation><filename>{shown}</filename><folder>{shown}</folder><path>{shown}</path></annotation>"
    (data_set / "Annotations").mkdir()
    (data_set / "Annotations" / "b.xml").write_text(voc)
    with pytest.raises(DataFormatError, match="photograph is missing"):
        VocDataset(data_set)
    (data_set / "classes.txt").write_text("cat\n")
    (data_set / "data.yaml").write_text(json.dumps({"names": ["cat"], "train": "list.txt", "val": "val"}))
    (data_set / "list.txt").write_text(f"{name}\n")
    with pytest.raises(DataFormatError, match="is missing"):
        YoloDataset(data_set, "train")


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "/../../up",
        "/../../../up",
        "/../../../../up",
        "a/b",
        "..",
        "<img src=x onerror=y>",
        "C:\\x",
        ".hidden",
        "a\0b",
    ],
)
def test_class_and_file_names_lead_nowhere_when_they_name_files(data_set: Path, tmp_path: Path, name: str) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    (data_set / "val.json").write_text(json.dumps(truth_with(name=name)))
    dataset, out = CocoDataset(data_set, "val"), tmp_path / "in" / "out"
    table: GroundTruthTable = dataset.ground_truths()
    found = DetectionTable(table.image, table.label, np.array([0.5]), table.box)
    entry = {"image": f"{name}/{name}.png", "width": 40, "height": 20}
    entries = [{**entry, "detections": [{"label": name, "score": 0.5, "box": [1.0, 2.0, 9.0, 9.0]}]}]
    works: list[Callable[[], object]] = [
        *(
            lambda kind=kind: write_dataset(kind, dataset, out / kind, "val")
            for kind in ("coco", "voc", "yolo", "ilsvrc")
        ),
        lambda: write_detections(out / "found", found, table, "voc"),
        lambda: write_voc_annotations(out / "a", entries, (name,)),
        lambda: write_yolo_labels(out / "b", entries, (name,)),
    ]
    out.mkdir()
    done = 0
    for work in works:
        try:
            work()
            done += 1
        except (InputError, OSError, ValueError):  # refused is safe as well
            continue
    assert done
    now = {path for path in tmp_path.rglob("*") if path.is_file()} - before - {data_set / "val.json"}
    assert now and all(out in path.parents for path in now)
    assert "/" not in safe_name(name) and "\\" not in safe_name(name) and safe_name(name)[0] != "."


WRITERS = {"write_text", "write_bytes", "tofile", "savez", "savez_compressed", "imwrite", "imsave", "savefig", "touch"}
WRITERS |= {"cv2.VideoWriter", "SummaryWriter", "save_model", "save_file", "pipe_file", "put_file", "copyfile", "copy2"}
WRITERS |= {"copytree", "to_csv", "to_parquet", "TemporaryFile", "NamedTemporaryFile", "mkstemp", "mkdtemp"}
WRITERS |= {"numpy.save", "torch.save", "TemporaryDirectory", "TarFile", "ZipFile", "symlink_to", "hardlink_to"}
PAST_THE_WRITER = {  # what SECURITY.md gives the reasons for
    "structures/files.py": {"os.open", "os.fdopen"},  # the writer itself
    "structures/jobs.py": {"claim.open", "touch"},
    "backbones/training/log.py": {"open", "SummaryWriter"},
    "tools/json_results.py": {"self.lines.open"},
    "datasets/video/frames.py": {"cv2.VideoWriter"},
    "datasets/archive/storage.py": {"pipe_file"},
    # Where files are made that others then write, or that are gone at the end.
    "datasets/archive/manifest.py": {"TemporaryFile"},
    "backbones/runtimes/export.py": {"TemporaryDirectory", "save_model"},
    "tools/pack_training_data.py": {"TemporaryDirectory", "tarfile.open"},
}


def writes(tree: ast.AST) -> set[str]:
    """What a file calls that makes or changes files."""
    meant, _ = names_in(tree)
    found = set()
    for node in (one for one in ast.walk(tree) if isinstance(one, ast.Call)):
        first, dot, rest = ast.unparse(node.func).partition(".")
        called = f"{meant.get(first, first)}{dot}{rest}"
        last = called.rpartition(".")[2]
        texts = [
            one.value for one in (*node.args, *(word.value for word in node.keywords)) if isinstance(one, ast.Constant)
        ]
        found |= {name for name in WRITERS if name in (called, last) or name in texts}
        opens = last in ("open", "fdopen")
        modes = [one for one in texts if isinstance(one, str) and re.fullmatch(r"(?=.*[wax+])[rwaxbt+|:gz]{1,4}", one)]
        if opens and (modes or "O_WRONLY" in ast.unparse(node) or "O_RDWR" in ast.unparse(node)):
            found.add(called)
    return found


def test_files_are_written_by_the_one_writer_but_where_security_md_says_why_not() -> None:
    paths = {path.relative_to(ROOT).as_posix(): path for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    found = {name: did for name, path in paths.items() if (did := writes(ast.parse(path.read_text("utf-8"))))}
    assert found == PAST_THE_WRITER
    said = (ROOT / "SECURITY.md").read_text("utf-8")
    assert [name for name in PAST_THE_WRITER if f"`{name}`" not in said] == []


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('x')",
        "path.write_text(text)",
        "import numpy as np\nnp.save(path, array)",
        "from torch import save\nsave(state, path)",
        "cv2.imwrite(path, pixels)",
        "gzip.open(path, 'wb')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
    ],
)
def test_each_way_to_write_would_be_noticed(line: str) -> None:
    assert writes(ast.parse(line)) and not writes(ast.parse("open(path, 'rb').read(); path.open()"))


def image_of(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "JPEG2000"])
def test_an_image_cut_off_anywhere_is_refused_or_whole(kind: str, tmp_path: Path) -> None:
    whole = image_of(kind)
    wrong = tmp_path / "x.mp3"  # the name says nothing of what is in it
    wrong.write_bytes(whole)
    expected = load_image(wrong)
    for step in range(20):
        try:
            got = load_image(whole[: len(whole) * step // 20])
        except ImageError as error:
            assert "\n" not in str(error)
        else:  # only what does not matter was missing
            assert np.array_equal(got, expected) and step == 19


def test_of_many_frames_the_first_is_decoded() -> None:
    first, rest = (
        Image.new("RGB", (8, 8), (200, 0, 0)),
        [Image.new("RGB", (8, 8), (0, k % 200, 9)) for k in range(500)],
    )
    for kind in ("GIF", "PNG", "WEBP"):
        buffer = io.BytesIO()
        first.save(buffer, kind, save_all=True, append_images=rest if kind != "WEBP" else rest[:200])
        started = time.process_time()
        image = load_image(buffer.getvalue())
        assert image.shape == (8, 8, 3) and image[0, 0, 0] > 150 and time.process_time() - started < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 65535), (65535, 1)])
def test_the_thinnest_images_are_read(size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("L", size, 7).save(buffer, "PNG")
    assert load_image(buffer.getvalue()).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"],
)
def test_every_mode_of_pillow_becomes_rgb_or_is_refused(mode: str) -> None:
    try:
        image = load_image(Image.new(mode, (5, 3)))
    except ImageError as error:
        assert mode in str(error)
    else:
        assert image.shape == (3, 5, 3) and image.dtype == np.uint8


def test_a_million_brackets_and_double_keys_are_one_line_or_the_last_value() -> None:
    for text in (b"[" * 10**6, b'{"a":' * 10**6, b"[" * 10**6 + b"]" * 10**6):
        with pytest.raises(DataFormatError, match="is not valid JSON: it is nested too deeply"):
            decode_json(text, "f")
    assert decode_json(b'{"a": 1, "a": 2}', "f") == {"a": 2}


def test_external_and_exponential_entities_are_refused_and_many_objects_take_their_time(data_set: Path) -> None:
    laughs = "".join(f'<!ENTITY {chr(98 + k)} "{f"&{chr(97 + k)};" * 10}">' for k in range(9))
    path = data_set / "val" / "a.xml"
    for head in (f'<!DOCTYPE x [<!ENTITY a "ha">{laughs}]>', '<!DOCTYPE x [<!ENTITY j SYSTEM "file:///etc/passwd">]>'):
        path.write_text(f"{head}<annotation><filename>&j;</filename></annotation>")
        with pytest.raises(DataFormatError, match="declares entities"):
            VocDataset(data_set / "val")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>{}</ymax></bndbox>"
    things = "".join(f"<object><name>cat</name>{box.format(2 + k / 2000)}</object>" for k in range(10_000))
    path.write_text(f"<annotation><filename>a.png</filename>{things}</annotation>")
    started = time.process_time()
    assert len(VocDataset(data_set / "val").ground_truth(0)) == 10_000
    assert time.process_time() - started < 20
    with path.open("ab") as file:
        file.truncate(100_000_000)  # as long as a million objects
    with pytest.raises(DataFormatError, match="has 100000000 bytes, and 16777216 are the most for the annotation of"):
        VocDataset(data_set / "val")


def array_file(spans: dict[str, Any], numbers: bytes, length: int | None = None) -> bytes:
    """An array file whose checksum is right, whatever its header says of the arrays."""
    from hashlib import sha256

    said = {"format_version": 1, "kind": "shells", "data_sha256": sha256(numbers).hexdigest()}
    packed = json.dumps({"__metadata__": {"inception_rcnn": json.dumps(said)}, **spans}).encode()
    return struct.pack("<Q", len(packed) if length is None else length) + packed + numbers


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        (
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            },
            None,
        ),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, None),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}, None),
        ({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 16]}}, None),
        ({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}, None),
        ({"a": {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}}, None),
        ({"a": {"dtype": "F64", "shape": [4], "data_offsets": [0, 16]}}, None),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**63]}}, None),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, 2**63),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, 100 * 2**20),
    ],
)
def test_array_files_that_lie_about_places_shapes_and_types_are_refused(
    spans: dict[str, Any], length: int | None, tmp_path: Path
) -> None:
    good = {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    path = tmp_path / "a.safetensors"
    path.write_bytes(array_file(good, bytes(16)))
    assert read_array_file(path, "shells").arrays["a"].tolist() == [0, 0, 0, 0]
    path.write_bytes(array_file(spans, bytes(16), length))
    with pytest.raises(DataFormatError):
        read_array_file(path, "shells")


@pytest.mark.parametrize("place", ["../other", "{}/in/other", "..\\\\other"])
def test_a_yaml_leads_to_no_folder_elsewhere(data_set: Path, tmp_path: Path, place: str) -> None:
    other = data_set.parent / "other"
    other.mkdir()
    Image.new("RGB", (40, 20)).save(other / "secret.png")
    content = {"names": ["cat"], "test": place.format(tmp_path), "path": "..", "val": "val"}
    (data_set / "data.yaml").write_text(json.dumps(content))
    with pytest.raises(InputError, match="test"):
        YoloDataset(data_set, "test")


def test_security_md_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    assert len(text.splitlines()) <= 80
    named = re.findall(r"`((?:tests|benchmarks)/[\w/.]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 12
    for path, function in named:
        assert (ROOT / path).is_file(), path
        assert not function or f"def {function}(" in (ROOT / path).read_text("utf-8"), (path, function)


def test_quick_fuzzing_finds_nothing(tmp_path: Path) -> None:
    """A few readers; `benchmarks/faults/fuzz.py` has all of them, and thousands of inputs each."""
    command = [sys.executable, str(ROOT / "benchmarks" / "faults" / "fuzz.py"), "--unguided", "--inputs", "150"]
    command += ["--findings", str(tmp_path), *(word for name in ("COCO ann", "TOML") for word in ("--only", name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 inputs" in done.stdout and "0 kinds of findings" in done.stdout


def test_open_dataset_says_what_is_wrong_and_never_guesses_at_programs(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(InputError, match="holds no data set"):
        open_dataset(tmp_path)
    with pytest.raises(ImageError, match="may hold programs"):
        load_image(tmp_path / "model.pt")


def test_every_licence_is_known_or_explained() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "licences.py"), "--all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert "BSD-3-Clause" in rows["numpy"] and "MIT" in rows["typer"] and len(rows) > 40


def test_an_unknown_licence_and_one_that_asks_for_more_are_not_in_order() -> None:
    is_fine = runpy.run_path(str(ROOT / "scripts" / "licences.py"))["is_fine"]
    for licence in ("unknown", "", "GPLv3", "LGPL-2.1-only", "AGPL-3.0", "MPL-2.0 AND MIT", "Proprietary"):
        assert not is_fine("some-package", licence), licence
    assert is_fine("some-package", "Apache-2.0 OR BSD-2-Clause") and is_fine("nvidia-cublas", "Proprietary")
