"""inception-rcnn train_ensemble six.toml --output runs/six

Trains the members of an ensemble one after the other, as a plan says.

Each is trained as `inception-rcnn train` would with the options that the plan names. A plan is a TOML file: options for
all, and a table for each member with its own.

    data = ["coco:coco", "voc:VOC2012"]
    split = ["train", "trainval"]
    minutes = 60

    [members.first]
    seed = 1

    [members.large]
    seed = 2
    short-side = 600
    pretrained = "OUTPUT/first/model.safetensors"

Names are those of train's options, with - or _; `true` gives an option without a value, `false` its --no- form. Where a
value begins with OUTPUT, the folder of --output stands there: a member may start from one before it. Members are
trained in the order in which they stand, into OUTPUT/NAME. A run that was killed goes on where it was when the same
command is given again, and members that are ready stay as they are; a plan that was changed since is refused by the
member that it changes.

Examples:
  inception-rcnn train_ensemble six.toml --output runs/six --dry-run
  inception-rcnn train_ensemble six.toml --output runs/six --only large
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import echo, run_command
from inception_rcnn.tools.detector_options import Device

_OF_THIS_COMMAND = ("output", "quiet", "device")
_INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended
_SECONDS_TO_STOP = 10.0


@dataclass(frozen=True)
class Member:
    """A member to be trained.

    Args:
        name: Of its folder.
        options: Of `train`, as words of a command line; its output is not among them.
    """

    name: str
    options: tuple[str, ...]


def main(
    plan: Annotated[Path, typer.Argument(help="TOML file; see above.")],
    output: Annotated[Path, typer.Option(help="Folder for the members' folders.")],
    data: Annotated[
        list[str] | None, typer.Option(help="Data set, [FORMAT:]DIR, in place of the plan's; may be repeated.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Part to train on, in place of the plan's: once, or once for each set."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Train this member alone; may be repeated.")] = None,
    device: Device = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands, and do nothing.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.structures import InceptionError

    instead = {name: values for name, values in (("data", data), ("split", split)) if values}
    members = read_plan(plan, output, instead)
    chosen = [one for one in members if not only or one.name in only]
    if unknown := sorted(set(only or ()) - {one.name for one in members}):
        known = ", ".join(one.name for one in members)
        raise typer.BadParameter(f"{plan} has no member {unknown[0]!r}; it has {known}", param_hint="--only")
    tool = Path(__file__).with_name("train.py")
    for number, member in enumerate(chosen, start=1):
        folder = output / member.name
        words = [*member.options, "--output", str(folder), "--device", device, *(["--quiet"] if quiet else [])]
        echo(f"member {number} of {len(chosen)}: inception-rcnn train {' '.join(words)}")
        if dry_run:
            continue
        # A process each: a network that was trained leaves nothing behind, on a GPU least of all.
        status = _ended([sys.executable, str(tool), *words])
        if status < 0:
            raise InceptionError(
                f"member {member.name} was killed by signal {-status}, as the system does when memory runs out; give "
                "the same command again, and it goes on from the last state"
            )
        if status:
            raise InceptionError(
                f"member {member.name} ended with status {status}; mend what it says, and give the same command again"
            )
    weights = [output / one.name / "model.safetensors" for one in members]
    if not dry_run and all(one.is_file() for one in weights):
        _write_ensemble(output / "ensemble.toml", weights)


def _ended(command: Sequence[str]) -> int:
    """Run a command and return its exit status; it ends when this process does, however that comes about.

    Raises:
        typer.Exit: Ctrl-C, which the command got too, and has said so.
        KeyboardInterrupt: Ctrl-C, which the command did not answer; it is ended.
    """
    from inception_rcnn.structures.jobs import ENDS_WITH

    with subprocess.Popen(command, env={**os.environ, ENDS_WITH: str(os.getpid())}) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired):
                if process.wait(_SECONDS_TO_STOP) == _INTERRUPTED:
                    raise typer.Exit(_INTERRUPTED) from None
            raise
        finally:
            process.kill()


def _write_ensemble(path: Path, weights: list[Path]) -> None:
    """Write the file that names them all, unless it is there: what was measured of them may have been added to it."""
    from inception_rcnn.detector.ensemble_file import read_ensemble_file, write_ensemble_file

    members = [one.resolve() for one in weights]
    if not path.is_file() or [Path(one).resolve() for one in read_ensemble_file(path).members] != members:
        write_ensemble_file(path, weights, {})
    echo(f"wrote {path}; try them together with: inception-rcnn detect --weights {path} image.jpg")


def read_plan(path: Path, output: Path, instead: Mapping[str, list[str]] | None = None) -> list[Member]:
    """Return the members of a plan, in order.

    Args:
        path: A TOML file.
        output: What OUTPUT stands for in its values.
        instead: Data sets and their parts, which all members have in place of what the plan says.

    Raises:
        InputError: It is no TOML, has no members, or an option that `train` does not have.
    """
    from inception_rcnn.structures import DataFormatError, InputError
    from inception_rcnn.structures.files import read_toml

    try:
        content = read_toml(path)
    except DataFormatError as error:
        raise InputError(str(error)) from error
    members = content.pop("members", None)
    if not isinstance(members, dict) or not members or not all(isinstance(one, dict) for one in members.values()):
        raise InputError(f"{path} names no members; give each a table, such as [members.first]")
    for name in members:
        if not name or name in (".", "..") or not all(sign.isalnum() or sign in "-_." for sign in name):
            raise InputError(f"{path}: member {name!r} should be letters, digits, - and _: its folder is called so")
    common, given = _named(content, path, "for all members"), dict(instead or {})
    replaced = {*given, *(("root", "dataset") if "data" in given else ())}
    plans = {name: {**common, **_named(options, path, f"member {name}")} for name, options in members.items()}
    return [
        Member(name, tuple(_words({k: v for k, v in one.items() if k not in replaced} | given, output)))
        for name, one in plans.items()
    ]


def _named(options: Mapping[str, Any], path: Path, place: str) -> dict[str, Any]:
    """Return the options by the names of `train`'s parameters.

    Raises:
        InputError: It has no such option, or a value is no text, number, truth value or list of these.
    """
    import inspect

    from inception_rcnn.structures import InputError
    from inception_rcnn.tools import train

    known = [name for name in inspect.signature(train.main).parameters if name not in _OF_THIS_COMMAND]
    named = {name.replace("-", "_"): value for name, value in options.items()}
    # The parameter that --proposals fills has another name, because `proposals` is a room.
    named = {"proposals_file" if name == "proposals" else name: value for name, value in named.items()}
    for name, value in named.items():
        if name not in known:
            raise InputError(f"{path}, {place}: train has no option {name!r}; see `inception-rcnn train --help`")
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str | int | float) for one in values):
            raise InputError(f"{path}, {place}: {name} should be text, a number, true, false or a list, got {value!r}")
    return named


def _words(options: Mapping[str, Any], output: Path) -> list[str]:
    """Return options as words of a command line."""
    words = []
    for name, value in options.items():
        option = "--proposals" if name == "proposals_file" else f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool):
                words.append(option if one else f"--no-{option.removeprefix('--')}")
                continue
            text = str(one)
            if text == "OUTPUT" or text.startswith("OUTPUT/"):
                text = str(output) + text.removeprefix("OUTPUT")
            words.extend([option, text])
    return words


if __name__ == "__main__":
    run_command(main)
