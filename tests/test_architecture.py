"""The rules of the house, read from the source: which room may import which, and what no file may do.

Each rule is a function from a source tree to complaints. The first test asks all of them about this repository; the
others plant a violation in a small tree, so that a rule which has stopped looking is noticed.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "inception_rcnn"
MAY_IMPORT: dict[str, set[str]] = {
    "structures": set(),
    "datasets": {"structures"},
    "evaluation": {"structures"},
    "backbones": {"structures"},
    "proposals": {"structures", "backbones"},
    "detector": {"structures", "datasets", "evaluation", "backbones", "proposals"},
    "tools": {"structures", "datasets", "evaluation", "backbones", "proposals", "detector"},
}
OTHER_FOLDERS = ("src", "scripts", "tests", "benchmarks", "docs")
TORCH = {"torch", "torchvision"}
MOST_LINES = 600
MOST_NAMES = 18


@dataclass(frozen=True)
class Import:
    """One imported name, written out in full; `deferred` when importing the module does not execute it."""

    target: str
    line: int
    deferred: bool


@dataclass(frozen=True)
class Module:
    """One Python file: its dotted name as imported, its place, what it imports, and its strings."""

    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return self.name.split(".")[1] if self.name.startswith(f"{PACKAGE}.") else ""

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


@dataclass(frozen=True)
class Source:
    """A repository as the rules see it."""

    root: Path
    modules: dict[str, Module]
    others: tuple[Module, ...]

    @classmethod
    def read(cls, root: Path) -> Source:
        in_rooms = {}
        for room in MAY_IMPORT:
            for path in sorted((root / room).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join((PACKAGE, *parts)).removesuffix(".__init__")
                in_rooms[name] = _read_module(name, path)
        elsewhere = [path for folder in OTHER_FOLDERS for path in sorted((root / folder).rglob("*.py"))]
        return cls(root, in_rooms, tuple(_read_module(path.stem, path) for path in elsewhere))

    def module_of(self, target: str) -> Module | None:
        """Returns the module a full name lies in: of `a.b.Name` the module `a.b`."""
        while target and target not in self.modules:
            target = target.rpartition(".")[0]
        return self.modules.get(target)


def _read_module(name: str, path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return Module(name, path, tree, tuple(_imports(tree, package, deferred=False)))


def _imports(node: ast.AST, package: str, *, deferred: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) + 1 - child.level], *base.split()])
            yield from (Import(f"{base}.{alias.name}", child.lineno, deferred) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imports(ast.Module(child.body, []), package, deferred=True)
            yield from _imports(ast.Module(child.orelse, []), package, deferred=deferred)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, package, deferred=deferred or is_function)


def arrows(source: Source) -> Iterator[str]:
    """A room imports only the rooms that the table allows; strings with a module's name (lazy imports) count too."""
    for module in source.modules.values():
        targets = [(found.target, found.line) for found in module.imports] + list(_names_in_strings(module))
        for target, line in targets:
            parts = target.split(".")
            if parts[0] != PACKAGE:
                continue
            room = parts[1] if len(parts) > 1 else ""
            if room in MAY_IMPORT and room not in MAY_IMPORT[module.room] | {module.room}:
                yield f"{module.path}:{line}: {module.room} must not import {room}"
            elif room not in MAY_IMPORT and room not in {"", "__version__"} and module.room != "tools":
                yield f"{module.path}:{line}: import {room} from its room, not from {PACKAGE}"


def _names_in_strings(module: Module) -> Iterator[tuple[str, int]]:
    full_name = re.compile(rf"{PACKAGE}\.({'|'.join(MAY_IMPORT)})(\.\w+)*")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and full_name.fullmatch(node.value):
            yield node.value, node.lineno


def cycles(source: Source) -> Iterator[str]:
    """No module reaches itself over imports, wherever in a file they stand."""
    edges: dict[str, set[str]] = {name: set() for name in source.modules}
    for module in source.modules.values():
        for found in module.imports:
            target = source.module_of(found.target)
            if target is not None:
                edges[module.name].add(target.name)
    for name in edges:
        way = _way(edges, name, name)
        if way and name == min(way):
            yield "a cycle of imports: " + " -> ".join(way)


def _way(edges: dict[str, set[str]], start: str, end: str) -> list[str]:
    """Returns a shortest way of at least one step between two modules, or nothing."""
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for follower in sorted(edges[way[-1]]):
            if follower == end:
                return [*way, follower]
            if follower not in seen:
                seen.add(follower)
                ways.append([*way, follower])
    return []


def torch_free(source: Source) -> Iterator[str]:
    """structures, datasets, evaluation and selective search neither import torch nor execute a module that does."""
    for module in source.modules.values():
        if not _must_be_torch_free(module):
            continue
        for found in module.imports:
            if found.target.split(".")[0] in TORCH and (module.room != "proposals" or not found.deferred):
                yield f"{module.path}:{found.line}: {module.name} must work without torch"
        for reached in _executed(source, module):
            if reached is not module and any(_is_torch_at_once(found) for found in reached.imports):
                yield f"{module.path}: {module.name} must work without torch, and importing it imports {reached.name}"


def _must_be_torch_free(module: Module) -> bool:
    if module.room == "proposals":
        return ".proposals.network" not in module.name
    return module.room in {"structures", "datasets", "evaluation"}


def _is_torch_at_once(found: Import) -> bool:
    return found.target.split(".")[0] in TORCH and not found.deferred


def _executed(source: Source, module: Module) -> list[Module]:
    """Returns the project's modules that importing one executes, with the packages around them."""
    reached = [module]
    for current in reached:
        targets = [found.target for found in current.imports if not found.deferred]
        for target in [current.name, *targets]:
            parts = target.split(".")
            for length in range(1, len(parts) + 1):
                found_module = source.modules.get(".".join(parts[:length]))
                if found_module is not None and found_module not in reached:
                    reached.append(found_module)
    return reached


def packages(source: Source) -> Iterator[str]:
    """pyproject's list names every folder with an `__init__.py` and nothing else, and each lies in a known room."""
    setuptools = tomllib.loads((source.root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    listed = set(setuptools["packages"]) - {PACKAGE}
    existing = {module.name for module in source.modules.values() if module.is_package}
    yield from (f"pyproject.toml: {name} is missing in packages" for name in sorted(existing - listed))
    yield from (f"pyproject.toml: {name} in packages has no folder" for name in sorted(listed - existing))
    yield from (
        f"pyproject.toml: {name} is missing in package-dir"
        for name in sorted(listed)
        if name.count(".") == 1 and setuptools["package-dir"].get(name) != name.split(".")[1]
    )
    for path in sorted(source.root.glob("*/__init__.py")):
        if path.parent.name not in MAY_IMPORT and not path.parent.name.startswith("."):
            yield f"{path}: {path.parent.name} is no room of the table"


def bare_names(source: Source) -> Iterator[str]:
    """No file imports a room by its bare name, which belongs to another package (`datasets`) or to nobody."""
    for module in [*source.modules.values(), *source.others]:
        for found in module.imports:
            top = found.target.split(".")[0]
            if top in MAY_IMPORT:
                yield f"{module.path}:{found.line}: import {PACKAGE}.{top}, not {top}"


def file_names(source: Source) -> Iterator[str]:
    """No `utils`, no module with the name of something its room offers, no tool that hides a standard module."""
    for module in source.modules.values():
        stem = module.name.rpartition(".")[2]
        package = source.modules.get(module.name.rpartition(".")[0])
        if re.fullmatch(r"_?(utils?|helpers?|misc|common)", stem):
            yield f"{module.path}: a name that says nothing of what is in the file"
        if package is not None and stem in _offered(package):
            yield f"{module.path}: {package.name} offers a {stem!r}, which the module's name would hide"
        if module.room == "tools" and stem in sys.stdlib_module_names:
            yield f"{module.path}: hides the standard module {stem} from `python tools/...`"


def _offered(package: Module) -> set[str]:
    """Returns the strings in a package's `__all__`."""
    names: set[str] = set()
    for node in package.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in ast.unparse(node).partition("=")[0]:
            strings = [part for part in ast.walk(node) if isinstance(part, ast.Constant)]
            names.update(part.value for part in strings if isinstance(part.value, str))
    return names


def kernels(source: Source) -> Iterator[str]:
    """numba is imported by nobody before a kernel's first call, and a kernel uses nothing of the project's other files.

    numba's store of compiled functions notices a change of the kernel's own file only.
    """
    for module in source.modules.values():
        for found in module.imports:
            if found.target.split(".")[0] == "numba" and not found.deferred:
                yield f"{module.path}:{found.line}: numba is imported when a kernel is first called, not before"
        foreign = {found.target.rpartition(".")[2] for found in module.imports if found.target.startswith(PACKAGE)}
        for function in module.tree.body:
            if isinstance(function, ast.FunctionDef) and _is_kernel(function):
                names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
                for name in sorted(names & foreign - {"kernel"}):
                    yield f"{module.path}:{function.lineno}: the kernel {function.name} uses {name} of another file"


def _is_kernel(function: ast.FunctionDef) -> bool:
    return any(re.match(r"kernel\b", ast.unparse(decorator)) for decorator in function.decorator_list)


def crowds(source: Source) -> Iterator[str]:
    """No folder of a room shows more names than a newcomer takes in; tools/ has one file a command."""
    folders = {module.path.parent for module in source.modules.values() if module.room != "tools"}
    for folder in sorted(folders):
        shown = [entry.name for entry in folder.iterdir() if not entry.name.startswith(("__", "."))]
        if len(shown) > MOST_NAMES:
            yield f"{folder}: {len(shown)} names, and {MOST_NAMES} are the most; perhaps a folder of its own"


def lengths(source: Source) -> Iterator[str]:
    """No file is longer than a reader's patience."""
    for module in [*source.modules.values(), *source.others]:
        count = len(module.path.read_text(encoding="utf-8").splitlines())
        if count > MOST_LINES:
            yield f"{module.path}: {count} lines, and {MOST_LINES} are the most; perhaps two files in one"


Rule = Callable[[Source], Iterator[str]]
RULES: tuple[Rule, ...] = (arrows, cycles, torch_free, packages, bare_names, file_names, kernels, crowds, lengths)


@pytest.fixture(scope="module")
def repository() -> Source:
    """This repository, which takes seconds to read."""
    return Source.read(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_keeps_the_rule(rule: Rule, repository: Source) -> None:
    assert {module.room for module in repository.modules.values()} == set(MAY_IMPORT), "a room has no modules"
    assert list(rule(repository)) == []


PYPROJECT = """
[tool.setuptools]
packages = ["inception_rcnn", "inception_rcnn.structures", "inception_rcnn.proposals",
    "inception_rcnn.proposals.network", "inception_rcnn.detector"]
[tool.setuptools.package-dir]
"inception_rcnn.structures" = "structures"
"inception_rcnn.proposals" = "proposals"
"inception_rcnn.detector" = "detector"
"""
SOUND = {
    "pyproject.toml": PYPROJECT,
    "structures/__init__.py": "from inception_rcnn.structures.boxes import area\n__all__ = ['area']",
    "structures/boxes.py": "import numpy\nfrom .errors import InputError",
    "structures/errors.py": "from inception_rcnn import __version__",
    "proposals/__init__.py": "from inception_rcnn.proposals import search",
    "proposals/search.py": "from inception_rcnn.structures import area",
    "proposals/network/model.py": "import torch",
    "proposals/network/__init__.py": "",
    "detector/__init__.py": "import torch\nfrom ..proposals.search import find",
    "tests/test_x.py": "from inception_rcnn.detector import x",
}
PLANTED: dict[str, tuple[Rule, str, str]] = {
    "arrow up": (arrows, "proposals/search.py", "from inception_rcnn.detector import load"),
    "arrow up, relative": (arrows, "proposals/search.py", "from ..detector import load"),
    "arrow up, package": (arrows, "structures/boxes.py", "from inception_rcnn import proposals"),
    "arrow up, in a function": (
        arrows,
        "structures/boxes.py",
        "def f():\n    import inception_rcnn.proposals.search",
    ),
    "arrow up, lazily": (
        arrows,
        "structures/__init__.py",
        "LAZY = {'find': 'inception_rcnn.proposals.search'}",
    ),
    "arrow over a public name": (arrows, "proposals/search.py", "from inception_rcnn import load_detector"),
    "cycle of two": (cycles, "structures/errors.py", "from inception_rcnn.structures import boxes"),
    "cycle over the package": (cycles, "structures/errors.py", "from inception_rcnn.structures import area"),
    "cycle in a function": (cycles, "structures/errors.py", "def f():\n    from .boxes import area"),
    "torch": (torch_free, "structures/boxes.py", "import torch.nn"),
    "torch in a function": (torch_free, "structures/boxes.py", "def f():\n    from torchvision import ops"),
    "torch in selective search": (torch_free, "proposals/search.py", "from torch import Tensor"),
    "torch in the package": (torch_free, "proposals/__init__.py", "if True:\n    import torch"),
    "torch over a module": (torch_free, "proposals/search.py", "from .network.model import build"),
    "torch over the package": (torch_free, "proposals/__init__.py", "from .network.model import build"),
    "package not listed": (packages, "proposals/kernels/__init__.py", ""),
    "unknown room": (packages, "attic/__init__.py", ""),
    "package without folder": (packages, "pyproject.toml", PYPROJECT.replace("proposals", "tools")),
    "bare datasets": (bare_names, "detector/data.py", "import datasets"),
    "bare tools in a test": (bare_names, "tests/test_x.py", "from tools.cli import main"),
    "utils": (file_names, "structures/utils.py", ""),
    "name of a function": (file_names, "structures/area.py", ""),
    "name of a standard module": (file_names, "tools/profile.py", ""),
    "numba": (kernels, "structures/boxes.py", "import numba"),
    "kernel of another file": (
        kernels,
        "proposals/search.py",
        "from .merging import step\n@kernel\ndef find(x):\n    return step(x)",
    ),
    "constant of another file": (
        kernels,
        "proposals/search.py",
        "from .merging import BINS\n@kernel(fastmath=True)\ndef find(x):\n    return x * BINS",
    ),
    "long file": (lengths, "tests/test_x.py", "pass\n" * (MOST_LINES + 1)),
}


def _plant(root: Path, files: dict[str, str]) -> Source:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Source.read(root)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_sound_tree_has_no_complaints(rule: Rule, tmp_path: Path) -> None:
    assert list(rule(_plant(tmp_path, SOUND))) == []


@pytest.mark.parametrize("case", PLANTED)
def test_planted_violation_is_found(case: str, tmp_path: Path) -> None:
    rule, name, text = PLANTED[case]
    complaints = list(rule(_plant(tmp_path, SOUND | {name: text})))
    assert complaints
    assert Path(name).parts[0].removesuffix(".toml") in " ".join(complaints)


def test_a_crowded_folder_is_found_and_tools_may_be_one(tmp_path: Path) -> None:
    many = {f"structures/part{number}.py": "" for number in range(MOST_NAMES + 1)}
    assert [line.partition(":")[0] for line in crowds(_plant(tmp_path, SOUND | many))] == [str(tmp_path / "structures")]
    commands = {f"tools/command{number}.py": "" for number in range(MOST_NAMES + 1)}
    assert list(crowds(_plant(tmp_path / "other", SOUND | commands))) == []


def test_a_kernel_may_use_what_its_own_file_has(tmp_path: Path) -> None:
    text = "import numba_like\nBINS = 3\n@kernel\ndef find(x):\n    def f():\n        pass\n    return x * BINS"
    lazy = "def f():\n    import numba"
    planted = SOUND | {"proposals/search.py": text, "structures/boxes.py": lazy}
    assert list(kernels(_plant(tmp_path, planted))) == []


def test_deferred_torch_is_allowed_in_proposals_package(tmp_path: Path) -> None:
    lazy = "def __getattr__(name):\n    from inception_rcnn.proposals.network.model import build\n    return build"
    assert list(torch_free(_plant(tmp_path, SOUND | {"proposals/__init__.py": lazy}))) == []


@pytest.mark.parametrize("room", ["structures", "datasets", "evaluation", "proposals"])
def test_room_is_imported_without_torch(room: str) -> None:
    code = f"""
import sys
import {PACKAGE}.{room} as room
for name in room.__all__:
    if "multibox" not in name.lower():
        getattr(room, name)
sys.exit(" ".join(name for name in ("torch", "torchvision") if name in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src")
    assert done.returncode == 0, done.stderr


def test_the_package_is_imported_without_any_library_and_boxes_without_torch() -> None:
    """What is quick to import stays so: `import` alone reads one file, and half of the public names need no network."""
    code = f"""
import sys
before = set(sys.modules)
import {PACKAGE}
libraries = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
assert libraries == {{"{PACKAGE}"}}, libraries
from {PACKAGE} import Detections, GroundTruth, InceptionError, Proposals, load_image, open_dataset, propose_for_set
from {PACKAGE} import selective_search
import numpy as np
image = np.zeros((40, 60, 3), np.uint8)
image[10:30, 20:50] = 200
assert len(selective_search(load_image(image), width=60, min_side=5)) > 0
sys.exit(" ".join(name for name in ("torch", "torchvision") if name in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src")
    assert done.returncode == 0, done.stderr
