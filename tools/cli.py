"""The command `inception-rcnn`, whose sub-commands are the files of this folder.

Every `tools/<name>.py` with a function `main` at its top level is a command. Its docstring is the help text: a line to
paste, an empty line, one line that says what the command does, and whatever a user should know beyond that. Listing
the commands reads the files without importing them, so `inception-rcnn --help` needs neither torch nor numba; only the
command that is called gets imported.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import inception_rcnn

_HARMFUL = re.compile(  # controls, what turns the direction of writing or is not seen, line ends, halves of characters
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LONGEST_ERROR = 2000  # characters
_EPILOG = "--debug (or INCEPTION_RCNN_DEBUG=1) shows the traceback of an error."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sub-command that the arguments name, and end the process with its exit status.

    Args:
        arguments: What follows `inception-rcnn` on the command line; by default this process's own.

    Raises:
        SystemExit: always; 0 done, 1 an error that one line on stderr explains, 2 wrong usage, 130 interrupted.
    """
    arguments, debug = _take_debug(sys.argv[1:] if arguments is None else arguments)
    arguments = _spread_weights(arguments)
    completed = _words_to_complete(os.environ)
    commands = find_commands(Path(__file__).resolve().parent)
    asked = next((position for position, word in enumerate(arguments) if not word.startswith("-")), None)
    if asked is not None:
        arguments[asked] = arguments[asked].replace("-", "_")
    wanted = {word.replace("-", "_") for word in completed} or {arguments[asked] if asked is not None else ""}
    application = _new_application(completion=True)
    about = _first_paragraph(inception_rcnn.__doc__ or "")
    application.callback(no_args_is_help=True, help=about, epilog=_EPILOG)(_options_of_all)
    for name, text in commands.items():
        function = import_module(f"inception_rcnn.tools.{name}").main if name in wanted else _only_listed
        _add_command(application, function, name=name, text=text, debug=debug)
    application(args=arguments, prog_name="inception-rcnn")


def run_command(command: Callable[..., None], arguments: Sequence[str] | None = None) -> None:
    """Run one tool's `main` as `python tools/<name>.py` does, and end the process with its exit status.

    Args:
        command: The typer function; the docstring of its module is the help text.
        arguments: What follows the file's name on the command line; by default this process's own.

    Raises:
        SystemExit: as `inception-rcnn <name>` does.
    """
    arguments, debug = _take_debug(sys.argv[1:] if arguments is None else arguments)
    arguments = _spread_weights(arguments)
    text = sys.modules[command.__module__].__doc__ or ""
    application = _new_application()
    _add_command(application, command, name=None, text=text, debug=debug)
    application(args=arguments)


def find_commands(folder: Path) -> dict[str, str]:
    """Return the docstring of every command in a folder, by name, in alphabetical order, importing none of them.

    Args:
        folder: The directory that holds the tools; a file is a command if it has a function `main` at its top level.
    """
    commands = {}
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if "main" in functions and path.stem != "cli":
            commands[path.stem] = ast.get_docstring(tree) or ""
    return commands


def _words_to_complete(environment: Mapping[str, str]) -> list[str]:
    """Return the words so far of the line that a shell wants completed, whose command's options have to be known."""
    if "_INCEPTION_RCNN_COMPLETE" not in environment:
        return []
    return (environment.get("COMP_WORDS") or environment.get("_TYPER_COMPLETE_ARGS", "")).split()[1:2]


def _new_application(*, completion: bool = False) -> typer.Typer:
    # Plain text: the help texts are laid out by hand, and markup would eat the brackets of `[x1, y1, x2, y2]`.
    return typer.Typer(add_completion=completion, rich_markup_mode=None, pretty_exceptions_enable=False)


def _add_command(
    application: typer.Typer, function: Callable[..., None], *, name: str | None, text: str, debug: bool
) -> None:
    short = _first_paragraph(text.partition("\n\n")[2])
    settings = context_settings(function)
    add = application.command(
        name, cls=_Command, context_settings=settings, help=_as_written(text), short_help=short, epilog=_EPILOG
    )
    add(_with_short_errors(function, debug=debug))


def context_settings(function: Callable[..., None]) -> dict[str, Any]:
    """Return how a command reads its words: where it takes another command, what follows that is that one's."""
    return {"allow_interspersed_args": not getattr(sys.modules[function.__module__], "TAKES_A_COMMAND", False)}


class _Command(TyperCommand):
    """A command whose help has its options under the headings they were given, `rich_help_panel`, in plain text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; who gives a share in per cent is told how it is written."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if re.search(r"(equal to 1|<=\s*1)\.?$", error.message):
                error.message = f"{error.message}; 50 % are written 0.5"
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, those without a heading last."""
        headings: dict[str | None, list[Any]] = {}
        for option in self.get_params(ctx):
            if (record := option.get_help_record(ctx)) is not None:
                headings.setdefault(getattr(option, "rich_help_panel", None), []).append(record)
        for heading, records in sorted(headings.items(), key=lambda item: item[0] is None):
            with formatter.section(heading or "Options"):
                formatter.write_dl(records)


def _only_listed() -> None:
    """Stand in the list for the commands that are not called, and so not imported."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"inception-rcnn {inception_rcnn.__version__}")
        raise typer.Exit


def _options_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Parse the options that come before the sub-command's name."""


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Return the arguments without `--debug`, and whether tracebacks are wanted; it may stand anywhere."""
    wanted = "--debug" in arguments or os.environ.get("INCEPTION_RCNN_DEBUG", "0") not in ("", "0")
    return [word for word in arguments if word != "--debug"], wanted


def _spread_weights(arguments: Sequence[str]) -> list[str]:
    """Return `--weights a b c` as `--weights a --weights b --weights c`, for checkpoint files or shipped names b and c.

    Names that end in .safetensors are taken, and bare words without a file of that name: in `--weights a image.jpg` the
    image stays an image.
    """
    spread: list[str] = []
    among_weights = False
    for position, word in enumerate(arguments):
        value = position > 0 and arguments[position - 1] == "--weights"
        if among_weights and not value and (word.endswith(".safetensors") or _is_bare_name(word)):
            spread.append("--weights")
        else:
            among_weights = value or word == "--weights"
        spread.append(word)
    return spread


def _is_bare_name(word: str) -> bool:
    """Return whether a word may be the name of shipped weights, and is no file or folder."""
    return bool(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", word)) and not os.path.exists(word)


def _first_paragraph(text: str) -> str:
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def _as_written(text: str) -> str:
    """Return a help text whose lines stay as they are: `\\b` alone keeps typer from filling a paragraph again."""
    return "\n\n".join(f"\b\n{paragraph}" for paragraph in inspect.cleandoc(text).split("\n\n"))


def _with_short_errors(function: Callable[..., None], *, debug: bool) -> Callable[..., None]:
    @functools.wraps(function)
    def call(*args: object, **options: object) -> None:
        with _short_errors(debug=debug):
            from inception_rcnn.structures.jobs import end_with_parent  # needs NumPy, which `--help` does not wait for

            end_with_parent(os.environ)
            function(*args, **options)

    return call


@contextmanager
def _short_errors(*, debug: bool) -> Iterator[None]:
    """Turn what a user can put right into one line on stderr and an exit status; a bug keeps its traceback.

    This package's warnings, too, are a line each.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            yield
    except KeyboardInterrupt:
        if threading.current_thread() is threading.main_thread():
            # Once more, while threads end what they are at: Python would end as if killed, or show where it was.
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug or not _is_for_the_user(error):
            raise
        echo(f"error: {_in_a_line(str(error))}", err=True)
        raise typer.Exit(1) from None


def _show_warning(
    usual: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any, **options: Any
) -> None:
    """Show a warning for users as one line; others, which are for programmers, as usual."""
    if category is UserWarning:
        echo(f"warning: {_in_a_line(str(message))}", err=True)
    else:
        usual(message, category, *where, **options)


def _is_for_the_user(error: Exception) -> bool:
    from inception_rcnn.structures import InceptionError  # needs NumPy, which `--help` does not wait for

    if isinstance(error, OSError):
        return not isinstance(error, BrokenPipeError)  # `... | head`: typer ends quietly
    return isinstance(error, InceptionError)


def _in_a_line(text: str) -> str:
    """Return a text as one line that is not endless: names in foreign files may be."""
    line = " ".join(text.splitlines())
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]} ..."


def echo(*lines: str, err: bool = False) -> None:
    """Print lines for a person: all that commands say goes through here.

    Names of files and classes are other people's. In them, what would move the cursor, colour, retitle or overwrite a
    terminal, end a line, or turn the direction of writing is shown as Python writes it.

    Args:
        lines: Each is one line, whatever is in it.
        err: On the error stream.
    """
    typer.echo("\n".join(map(printable, lines)), err=err)


def printable(text: str) -> str:
    r"""Return a text that a terminal shows and does not obey.

    >>> print(printable("a\x1b[2Jb\n\u202egnp.exe é 猫"))
    a\x1b[2Jb\n\u202egnp.exe é 猫
    """
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def check_known(option: str, value: str, known: Collection[str]) -> None:
    """Refuse the value of an option that is none of the known ones.

    Raises:
        typer.BadParameter: it is not; the text lists them.
    """
    if value not in known:
        raise typer.BadParameter(f"{value!r} is unknown; known: {', '.join(known)}", param_hint=option)


def bundled_photograph(name: str) -> Path:
    """Return the file of a photograph that scikit-image ships, such as "chelsea.png"."""
    import skimage

    return Path(skimage.__file__).parent / "data" / name


def print_problems(problems: Sequence[str]) -> None:
    """Name what was left out of a data set on the error stream, and print how much it was."""
    for problem in problems:
        echo(f"left out: {problem}", err=True)
    if problems:
        echo(f"left out as broken: {len(problems)} images or objects, named on the error stream")


if __name__ == "__main__":
    main()
