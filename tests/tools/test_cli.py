"""The command line: what it lists, what it imports, how it fails.

Help text of the commands that this file defines itself.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from inception_rcnn import __version__
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.tools import cli, warmup

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = cli.find_commands(ROOT / "tools")
NO_COMMANDS = {
    "__init__",
    "cli",
    "detect_archive",
    "json_results",
    "detector_options",
    "image_arguments",
    "own_classes",
    "detect_outputs",
    "detect_run",
    "detect_sources",
    "scored_sets",
    "training_sets",
}  # what the commands share
HEAVY = ("torch", "torchvision", "numba", "cv2", "skimage", "scipy", "pycocotools")


def run_python(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs this Python on the checkout's package, in a process of its own."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "120", **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=variables)


def inception_rcnn(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the console command."""
    return run_python("-c", "from inception_rcnn.tools.cli import main; main()", *arguments)


def run_here(command: Callable[..., None], *arguments: str) -> int:
    """Returns the exit status of `python tools/<name>.py` with that function as its `main`."""
    with pytest.raises(SystemExit) as end:
        cli.run_command(command, arguments)
    return int(end.value.code or 0)


def modules_imported_by(code: str) -> set[str]:
    """Returns the top-level names in `sys.modules` after some lines of Python that may end in SystemExit."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_commands_are_the_files_with_a_main() -> None:
    files = {path.stem for path in (ROOT / "tools").glob("*.py") if path.stem not in NO_COMMANDS}
    assert set(COMMANDS) == files
    assert {"doctor", "warmup"} <= files


def test_find_commands_imports_nothing_and_skips_helpers(tmp_path: Path) -> None:
    (tmp_path / "b_command.py").write_text('"""inception-rcnn b_command"""\nraise SystemExit\ndef main(): ...\n')
    (tmp_path / "a_command.py").write_text("def main(): ...\n")
    (tmp_path / "helper.py").write_text("class Table:\n    def main(self): ...\n")
    assert list(cli.find_commands(tmp_path).items()) == [("a_command", ""), ("b_command", "inception-rcnn b_command")]


@pytest.mark.parametrize("name", COMMANDS)
def test_docstring_begins_with_a_line_to_paste_and_says_what_it_does(name: str) -> None:
    line, empty, summary, *_ = COMMANDS[name].splitlines()
    assert line.split()[:2] == ["inception-rcnn", name]
    assert empty == ""
    assert summary.endswith(".")


def test_help_lists_every_command_and_needs_no_library_but_typer() -> None:
    done = inception_rcnn("--help")
    assert done.returncode == 0
    for name, text in COMMANDS.items():
        assert name in done.stdout
        assert text.splitlines()[2][:40] in done.stdout
    imported = modules_imported_by("from inception_rcnn.tools.cli import main; main(['--help'])")
    assert "typer" in imported
    assert not imported & {*HEAVY, "numpy", "PIL", "rich"}


def test_help_without_arguments() -> None:
    done = inception_rcnn()
    assert "Commands:" in done.stdout + done.stderr


def test_every_command_imports_its_libraries_only_when_it_runs() -> None:
    modules = ", ".join(f"inception_rcnn.tools.{name}" for name in COMMANDS)
    assert not modules_imported_by(f"import {modules}") & set(HEAVY)


@pytest.mark.parametrize("name", COMMANDS)
def test_file_and_sub_command_have_the_same_help(name: str, tmp_path: Path) -> None:
    as_file = run_python(str(ROOT / "tools" / f"{name}.py"), "--help", cwd=tmp_path, PYTHONPATH="")
    with_dash = inception_rcnn(name.replace("_", "-"), "--help")
    with_underscore = inception_rcnn(name, "--help")
    assert (as_file.returncode, as_file.stderr) == (0, "")
    assert as_file.stdout.splitlines()[1:] == with_underscore.stdout.splitlines()[1:]
    assert with_dash.stdout == with_underscore.stdout
    for line in COMMANDS[name].splitlines():
        assert line in with_underscore.stdout


def test_file_runs_in_a_bare_checkout_beside_a_file_with_a_librarys_name(tmp_path: Path) -> None:
    for folder in ("src", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (tmp_path / "proposals").mkdir()
    (tmp_path / "proposals" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "tools" / "typer.py").write_text("raise SystemExit('the wrong typer')")
    done = run_python(str(tmp_path / "tools" / "warmup.py"), "--help", cwd=tmp_path, PYTHONPATH="")
    assert (done.returncode, done.stderr) == (0, "")


def test_options_with_a_heading_stand_under_it_the_others_last(capsys: pytest.CaptureFixture[str]) -> None:
    def command(
        size: Annotated[int, typer.Option(help="Of it.")] = 1,
        name: Annotated[str, typer.Option(help="Its name.", rich_help_panel="What it is")] = "a",
        kind: Annotated[str, typer.Option(help="Its kind.", rich_help_panel="What it is")] = "b",
    ) -> None:
        """Do nothing."""

    assert run_here(command, "--help") == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    after = lines[lines.index("What") :]
    assert after[:5] == ["What", "--name", "--kind", "Options:", "--size"]


def test_version() -> None:
    assert inception_rcnn("--version").stdout == f"inception-rcnn {__version__}\n"


@pytest.mark.parametrize("arguments", [["no-such-command"], ["warmup", "--no-such-option"], ["warmup", "surplus"]])
def test_wrong_usage_exits_2_and_names_what_is_wrong(arguments: list[str]) -> None:
    done = inception_rcnn(*arguments)
    assert done.returncode == 2
    assert arguments[-1].replace("no-such-command", "no_such_command") in done.stderr
    assert "Traceback" not in done.stderr


def test_arguments_reach_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    def command(name: str, times: Annotated[int, typer.Option()] = 1) -> None:
        typer.echo(f"hello {name}" * times)

    assert run_here(command, "you", "--times", "2") == 0
    assert capsys.readouterr().out == "hello youhello you\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("width is 0, expected at least 1"), "error: width is 0, expected at least 1\n"),
        (DataFormatError("no list\nof images", path="val.json"), "error: val.json: no list of images\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a.jpg"),
            "error: [Errno 2] No such file or directory: 'a.jpg'\n",
        ),
        (DataFormatError("none", path="a\x1b[2J\x9b\u202egpj.x"), "error: a\\x1b[2J\\x9b\\u202egpj.x: none\n"),
        (InputError("x" * 5000), f"error: {'x' * 2000} ...\n"),
    ],
)
def test_error_of_the_user_is_one_line(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise error

    assert run_here(command) == 1
    assert capsys.readouterr() == ("", line)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat \u732b caf\u00e9 a\u00a0b \U0001f408\u200d\u2b1b\tz", None),  # with all that names may well have
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x1b]8;;http://x.example\x1b\\link", r"\x1b]8;;http://x.example\x1b" + "\\link"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("\u202egpj.exe\u2066\u200b\ufeff", r"\u202egpj.exe\u2066\u200b\ufeff"),
        ("a\nerror: all is lost\r\u2028", r"a\nerror: all is lost\r\u2028"),
        ("caf\udce9.jpg\ud800", r"caf\udce9.jpg\ud800"),
        ("a\0b\x08\x7f\U000e0041", r"a\x00b\x08\x7f\U000e0041"),
    ],
)
def test_names_are_shown_and_never_obeyed(name: str, shown: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        cli.echo(f"wrote {name}", "a second line")
        cli.echo(name, err=True)
        warnings.warn(f"{name} is odd", stacklevel=1)

    assert run_here(command) == 0
    said = capsys.readouterr()
    assert said.out == f"wrote {shown or name}\na second line\n"
    assert said.err.startswith(f"{shown or name}\nwarning: ") and said.err.count("\n") == 2
    assert "\x1b" not in said.err + said.out and "\u202e" not in said.err + said.out


def test_commands_print_through_one_function() -> None:
    for path in sorted((ROOT / "tools").glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        own = [ast.unparse(one) for one in calls if ast.unparse(one.func) in ("print", "typer.echo", "typer.secho")]
        assert len(own) == (3 if path.name == "cli.py" else 0), (path, own)  # echo itself, and two fixed texts


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def command() -> None:
        raise InputError("width is 0")

    with pytest.raises(InputError):
        cli.run_command(command, ["--debug"])
    monkeypatch.setenv("INCEPTION_RCNN_DEBUG", "1")
    with pytest.raises(InputError):
        cli.run_command(command, [])
    monkeypatch.setenv("INCEPTION_RCNN_DEBUG", "0")
    assert run_here(command) == 1


def test_bug_keeps_its_traceback() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run_command(command, [])


def test_interrupt_exits_130_with_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.append((number, handler)))

    def command() -> None:
        raise KeyboardInterrupt

    assert run_here(command) == 130
    assert capsys.readouterr() == ("", "interrupted\n")
    ((number, handler),) = handlers  # pressed once more, it ends the process at once, with the same status
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    handler(number, None)
    assert number == signal.SIGINT and ended == [130]


def test_warmup_says_when_the_kernels_are_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(warmup.main) == 0
    lines = capsys.readouterr().out.splitlines()
    kernels = ("proposals", "evaluation", "regions")
    assert [line.partition(" are ready: ")[0] for line in lines] == [f"the kernels of {name}" for name in kernels]


def test_warmup_compiles_every_kernel_there_is_for_one_type_of_arguments() -> None:
    """Each `@kernel` has one signature after the command: nothing is compiled later, and nothing twice."""
    modules = {
        ".".join(("inception_rcnn", *path.relative_to(ROOT).with_suffix("").parts))
        for room in ("structures", "datasets", "evaluation", "backbones", "proposals", "detector")
        for path in (ROOT / room).rglob("*.py")
        if "\n@kernel" in path.read_text(encoding="utf-8")
    }
    assert len(modules) > 8
    code = f"""
from importlib import import_module
from inception_rcnn.structures.kernels import Kernel
from inception_rcnn.tools import warmup
warmup.main()
for name in {sorted(modules)}:
    kernels = [one for one in vars(import_module(name)).values() if isinstance(one, Kernel) and one.__module__ == name]
    called = {{word for one in kernels for word in one.function.__code__.co_names}}
    for one in kernels:
        signatures = [] if one.dispatcher is None else one.dispatcher.signatures
        # What only another kernel calls is in that one's machine code, and not compiled again where that was stored.
        print("KERNEL", name, one.__name__, len(signatures) or int(one.__name__ in called))
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    counted = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("KERNEL")]
    assert {name for name, _, _ in counted} == modules
    assert [entry for entry in counted if entry[2] != "1"] == []


def test_console_command_in_pyproject_is_this_one() -> None:
    assert 'inception-rcnn = "inception_rcnn.tools.cli:main"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_file_puts_the_checkout_before_its_own_folder(name: str) -> None:
    tree = ast.parse((ROOT / "tools" / f"{name}.py").read_text(encoding="utf-8"))
    bootstrap = next(number for number, node in enumerate(tree.body) if isinstance(node, ast.If))
    early = [ast.unparse(node) for node in tree.body[:bootstrap] if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {line.split()[1].partition(".")[0] for line in early}
    assert "sys.path[0] = " in ast.unparse(tree.body[bootstrap])
    assert names <= sys.stdlib_module_names


def test_a_warning_for_users_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        warnings.warn("this is\nnot that", stacklevel=1)
        warnings.warn("for programmers", DeprecationWarning, stacklevel=1)

    with pytest.warns(DeprecationWarning, match="for programmers") as shown:
        assert run_here(main) == 0
    assert capsys.readouterr().err == "warning: this is not that\n" and len(shown) == 1


def test_a_share_in_per_cent_is_told_how_to_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    def command(
        share: Annotated[float, typer.Option(min=0, max=1)] = 0.5, count: Annotated[int, typer.Option(max=10)] = 1
    ) -> None:
        """Do nothing."""

    assert run_here(command, "--share", "50") == 2 and "50 % are written 0.5" in capsys.readouterr().err
    assert run_here(command, "--count", "50") == 2 and "written" not in capsys.readouterr().err


def test_shipped_names_may_follow_weights_and_images_stay_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs").mkdir()
    spread = cli._spread_weights
    assert spread(["--weights", "a.safetensors", "coco-mini", "b.jpg"]) == [
        *("--weights", "a.safetensors", "--weights", "coco-mini", "b.jpg")
    ]
    for image in ("photographs", "a.jpg", "day/a", "IMG0001", "*.jpg"):
        assert spread(["--weights", "coco", image]) == ["--weights", "coco", image]


def test_a_shell_completes_commands_and_the_options_of_the_one_that_is_named() -> None:
    code = "from inception_rcnn.tools.cli import main; main()"
    for line, place, wanted in (
        ("inception-rcnn det", "1", "detect"),
        ("inception-rcnn eval_map --prot", "2", "--protocol"),
    ):
        asked = {"_INCEPTION_RCNN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": place}
        assert run_python("-c", code, **asked).stdout.split() == [wanted]
