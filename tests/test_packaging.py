"""What is built is what is in the repository: the wheel, the sdist, and the package as others get to import it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib import import_module
from pathlib import Path

import pytest

import inception_rcnn

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]
FILES_OF_THE_PROJECT = ("pyproject.toml", "README.md", "LICENSE")


def run(*command: str | Path, cwd: Path) -> None:
    """Runs a command that has to succeed, without reaching for an index."""
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def build(project: Path, kind: str, output: Path) -> Path:
    """Returns the one file that building a project's wheel or sdist with this environment's setuptools makes."""
    run(sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", output, project, cwd=project.parent)
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the build reads, so that it leaves nothing behind in the repository and finds nothing old."""
    copy = tmp_path_factory.mktemp("project") / "checkout"
    rubbish = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.nb[ci]")
    for folder in {folder.partition("/")[0] for folder in ROOMS.values()}:
        shutil.copytree(ROOT / folder, copy / folder, ignore=rubbish)
    for name in FILES_OF_THE_PROJECT:
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(project, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def target(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and a stub distribution that owns a package `datasets`, as well-known ones do."""
    stub = tmp_path_factory.mktemp("stub") / "stub"
    (stub / "datasets").mkdir(parents=True)
    (stub / "datasets" / "__init__.py").write_text('OWNER = "the stub"\n')
    (stub / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "datasets"\nversion = "1.0"\n[tool.setuptools]\npackages = ["datasets"]\n'
    )
    stub_wheel = build(stub, "wheel", tmp_path_factory.mktemp("stub_wheel"))
    folder = tmp_path_factory.mktemp("installed") / "site"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", folder, wheel, stub_wheel, cwd=stub)
    return folder


def names_in(wheel: Path) -> set[str]:
    """Returns the files of the package in a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def expected_names() -> set[str]:
    """Returns what the wheel has to hold, by the folders: modules, types marker, weights, tables, templates, page."""
    names = {"inception_rcnn/__init__.py", "inception_rcnn/py.typed"}
    names |= {f"inception_rcnn/datasets/tables/{path.name}" for path in (ROOT / "datasets" / "tables").glob("*.tsv")}
    for folder in ROOMS.values():
        if folder.startswith("src/"):
            continue
        names.update(f"inception_rcnn/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.py"))
    for room in ("detector", "proposals"):
        for pattern in ("*.safetensors", "*.toml", "*.md"):
            found = (ROOT / room / "weights").rglob(pattern)
            names.update(f"inception_rcnn/{path.relative_to(ROOT).as_posix()}" for path in found)
    names.update(
        f"inception_rcnn/evaluation/report/templates/{path.name}"
        for path in (ROOT / "evaluation/report/templates").iterdir()
    )
    page = ROOT / "detector" / "server" / "page"
    names.update(f"inception_rcnn/detector/server/page/{path.name}" for path in page.iterdir())
    return names


def test_wheel_holds_every_module_the_types_marker_and_the_weights(wheel: Path) -> None:
    names = names_in(wheel)
    assert names == expected_names()
    assert any(name.endswith(".safetensors") for name in names)


def test_wheel_is_for_every_platform_and_says_what_it_needs(wheel: Path) -> None:
    assert wheel.name == f"inception_rcnn-{inception_rcnn.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        folder = f"inception_rcnn-{inception_rcnn.__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
        commands = archive.read(f"{folder}/entry_points.txt").decode()
        assert b"Apache License" in archive.read(f"{folder}/licenses/LICENSE")
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "inception-rcnn = inception_rcnn.tools.cli:main" in commands


def test_sdist_makes_the_same_wheel(project: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build(project, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert names_in(build(unpacked, "wheel", tmp_path / "wheel")) == names_in(wheel)


def test_wheel_lives_beside_a_distribution_that_owns_datasets(target: Path, tmp_path: Path) -> None:
    rooms = [name for name in ROOMS if name != "inception_rcnn"]
    code = f"""
import importlib, sys
import datasets, inception_rcnn
modules = [importlib.import_module(name) for name in {rooms}]
print(datasets.OWNER, datasets.__file__, inception_rcnn.__file__, *(module.__file__ for module in modules), sep="\\n")
assert inception_rcnn.load_image is importlib.import_module("inception_rcnn.structures").load_image
assert list(inception_rcnn.__path__) == [inception_rcnn.__path__[0]], "a wheel extends its path"
"""
    # -S: no .pth file and no import hook of an editable install, so that only the wheel can be the package.
    libraries = sysconfig.get_path("purelib")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), libraries])}
    command = [sys.executable, "-S", "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    owner, *places = done.stdout.splitlines()
    assert owner == "the stub"
    assert len(places) == 2 + len(rooms)
    assert [place for place in places if not Path(place).is_relative_to(target)] == []


def test_checkout_imports_the_rooms_and_leaves_datasets_alone(target: Path, tmp_path: Path) -> None:
    code = (
        "import datasets, inception_rcnn.datasets; print(datasets.OWNER, inception_rcnn.datasets.__file__, sep='\\n')"
    )
    libraries = sysconfig.get_path("purelib")
    without_wheel = tmp_path / "site"
    shutil.copytree(target / "datasets", without_wheel / "datasets")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(without_wheel), libraries])}
    command = [sys.executable, "-S", "-P", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["the stub", str(ROOT / "datasets" / "__init__.py")], done.stderr


def test_constraints_name_a_version_for_every_requirement() -> None:
    requirements = PYPROJECT["project"]["dependencies"] + PYPROJECT["project"]["optional-dependencies"]["dev"]
    required = {requirement.partition(">=")[0].partition("[")[0] for requirement in requirements}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constrained = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    assert constrained == required


def test_public_names_are_those_of_their_rooms() -> None:
    for name, room in inception_rcnn._ROOM_OF.items():
        assert getattr(inception_rcnn, name) is getattr(import_module(room), name)
    assert {*inception_rcnn._ROOM_OF, "__version__"} == set(inception_rcnn.__all__)
    assert set(inception_rcnn.__all__) <= set(dir(inception_rcnn))
    assert not {"Path", "import_module", "TYPE_CHECKING"} & set(dir(inception_rcnn))
    with pytest.raises(AttributeError, match="no attribute 'load_detektor'"):
        _ = inception_rcnn.load_detektor
