"""`scripts/run` makes the environment once, mends one that was left half-made, and says what is missing.

A shell script stands for Python here: it records how it was called, and does of `venv` what the script looks at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "run"
PROGRAMS = ("sh", "cat", "cksum", "date", "dirname", "mkdir", "cp", "rm")
FAKE_PYTHON = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    "-c import sys; "*) exit "${TOO_OLD:-0}" ;;
    "-c import ensurepip"*) exit "${NO_VENV:-0}" ;;
    "-m venv"*) rm -rf "$5"; mkdir -p "$5/bin"; cp "$0" "$5/bin/python" ;;
    "-m pip install"*) exit "${PIP_FAILS:-0}" ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")


class Checkout:
    """A repository with the script, and a PATH with nothing but the fake Python and what a shell script needs."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.calls = folder / "calls"
        self.stamp = self.root / ".venv" / "inception-rcnn.stamp"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in PROGRAMS:
            (self.programs / name).symlink_to(str(shutil.which(name)))
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(SCRIPT, self.root / "scripts" / "run")
        for name in ("pyproject.toml", "constraints.txt"):
            (self.root / name).write_text(f"{name}\n")
        self.add_python(self.programs / "python3")

    def add_python(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FAKE_PYTHON)
        path.chmod(0o755)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        variables = {"PATH": str(self.programs), "CALLS": str(self.calls), **environment}
        script = ["sh", self.root / "scripts" / "run", *command]
        return subprocess.run(script, env=variables, capture_output=True, text=True, cwd=self.root.parent)

    def called(self, what: str) -> bool:
        return any(line.startswith(what) for line in self.calls.read_text().splitlines())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_first_call_makes_the_environment_and_runs_the_command(checkout: Checkout) -> None:
    done = checkout.run("sh", "-c", 'echo "$VIRTUAL_ENV"; echo "$PATH"; exit 7')
    assert done.returncode == 7
    venv = checkout.root.resolve() / ".venv"
    assert done.stdout.splitlines() == [str(venv), f"{venv}/bin:{checkout.programs}"]
    assert checkout.called("-m venv")
    assert checkout.called("-m pip install --disable-pip-version-check --constraint")
    assert "ready after" in done.stderr


def test_later_call_starts_at_once(checkout: Checkout) -> None:
    checkout.run("sh", "-c", ":")
    done = checkout.run("sh", "-c", "echo ran")
    assert (done.stdout, done.stderr, checkout.calls.read_text()) == ("ran\n", "", "")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_the_same_environment(checkout: Checkout, name: str) -> None:
    checkout.run("sh", "-c", ":")
    (checkout.root / name).write_text("changed\n")
    checkout.run("sh", "-c", ":")
    assert checkout.called("-m pip install")
    assert not checkout.called("-m venv")
    checkout.run("sh", "-c", ":")
    assert not checkout.called("-m pip install")


def test_failed_installation_stops_the_call_and_is_made_anew_by_the_next(checkout: Checkout) -> None:
    failed = checkout.run("sh", "-c", "echo ran", PIP_FAILS="1")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert checkout.stamp.read_text().startswith("installing ")
    assert checkout.run("sh", "-c", "echo ran").stdout == "ran\n"
    assert checkout.called("-m venv")


def test_call_does_not_disturb_an_installation_that_is_running(checkout: Checkout) -> None:
    checkout.run("sh", "-c", ":")
    checkout.stamp.write_text(f"installing {os.getpid()}\n")
    done = checkout.run("sh", "-c", "echo ran")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"process {os.getpid()} is installing" in done.stderr
    assert not checkout.called("-m")


def test_environment_of_another_folder_is_made_anew(checkout: Checkout) -> None:
    checkout.run("sh", "-c", ":")
    checkout.stamp.write_text("/somewhere/else 1 2\n")
    checkout.run("sh", "-c", ":")
    assert checkout.called("-m venv")


def test_environment_the_user_made_is_kept(checkout: Checkout) -> None:
    checkout.add_python(checkout.root / ".venv" / "bin" / "python")
    assert checkout.run("sh", "-c", "echo ran").stdout == "ran\n"
    assert checkout.called("-m pip install")
    assert not checkout.called("-m venv")


def test_active_environment_is_used_and_never_emptied(checkout: Checkout, tmp_path: Path) -> None:
    active = tmp_path / "active"
    checkout.add_python(active / "bin" / "python")
    (active / "inception-rcnn.stamp").write_text("installing 999999999\n")
    done = checkout.run("sh", "-c", 'echo "$VIRTUAL_ENV"', VIRTUAL_ENV=str(active))
    assert done.stdout == f"{active}\n"
    assert checkout.called("-m pip install")
    assert not checkout.called("-m venv")
    assert not checkout.stamp.exists()


def test_newer_python_beside_an_old_one_is_found(checkout: Checkout) -> None:
    checkout.add_python(checkout.programs / "python3.12")
    (checkout.programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    assert checkout.run("sh", "-c", "echo ran").stdout == "ran\n"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TOO_OLD": "1"}, "Python 3.11 or newer is needed"),
        ({"NO_VENV": "1"}, "lacks venv or ensurepip"),
        ({"VIRTUAL_ENV": "/no/such/environment"}, "/no/such/environment lacks pip or Python 3.11"),
    ],
)
def test_what_is_missing_is_said_in_one_line(checkout: Checkout, environment: dict[str, str], message: str) -> None:
    done = checkout.run("sh", "-c", "echo ran", **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_python_at_all(checkout: Checkout) -> None:
    (checkout.programs / "python3").unlink()
    done = checkout.run("sh", "-c", "echo ran")
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/run: Python 3.11 or newer is needed")


def test_no_command(checkout: Checkout) -> None:
    done = checkout.run()
    assert done.returncode == 1
    assert "sh scripts/run inception-rcnn detect" in done.stderr
