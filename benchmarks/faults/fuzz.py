"""Every reader of foreign files is given files made wrong, by the thousand; whatever is no clear refusal is a finding.

    python benchmarks/faults/fuzz.py [--inputs 20000] [--seconds 60] [--only images] [--seed 0] [--quick]

Allowed are success, and one of the package's own errors. Findings are: any other exception, the death of the process,
more than 2 seconds of processor time for an input, more than 500 MB of memory, and a file left behind. Inputs are valid
files, each cut off at every 5 %, then flipped, spliced, filled with words of the format and with numbers that no file
should hold; four of five array files get right checksums again, so that what lies behind these is reached. Where
atheris is installed (`pip install atheris`), as many more inputs are found by what lines of the package they reach.

Images are limited to 10 million pixels here, videos are not fuzzed. A reader works in a process of its own; the input
of a finding is kept in `--findings`, and `--replay FILE --only READER` reads it again with a traceback.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent))

MOST_SECONDS: Final = 2.0
MOST_BYTES: Final = 500 * 2**20
_HANGS: Final = 20  # seconds by the clock on the wall
_DIES: Final = 60  # seconds after which a process is killed that does not even notice that
_MOST_KEPT: Final = 20  # findings of one kind


class HangError(BaseException):
    """An input took longer than anyone waits; no `except Exception` of the package is to catch it."""


@dataclass
class Tally:
    """What became of a reader's inputs."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    peak: float = 0.0
    findings: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Note a finding, by its kind and the input that shows it."""
        self.findings.setdefault(kind, []).append(name)

    def count(self) -> int:
        """Return how many kinds of findings there are."""
        return len(self.findings)


def resident() -> int:
    """Return the memory that this process holds now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def highest() -> int:
    """Return the most that it has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def kind_of(error: BaseException) -> str:
    """Return what tells one finding from another: the exception and the line of the package that it came through."""
    own = [one for one in traceback.extract_tb(error.__traceback__) if "benchmarks" not in one.filename]
    ours = [
        one
        for one in own
        if any(f"/{room}/" in one.filename for room in _ROOMS) and "site-packages" not in one.filename
    ]
    last = (ours or own or traceback.extract_tb(error.__traceback__))[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


_ROOMS: Final = ("structures", "datasets", "evaluation", "backbones", "proposals", "detector", "tools")


class Trial:
    """A reader at work in this process, and what became of each of its inputs.

    Args:
        name: Of the reader.
        folder: Empty, to work in.
        kept: Where inputs of findings go.
    """

    def __init__(self, name: str, folder: Path, kept: Path) -> None:
        from foreign_readers import make_reader

        from inception_rcnn.structures import InceptionError

        self.tally, self._allowed, self._kept, self._folder = Tally(), InceptionError, kept, folder
        self.reader = make_reader(name, folder)
        self._current = folder.parent / "current"
        self._counted: Counter[str] = Counter()
        for data in self.reader.mutator.valid:  # what is loaded at first use is no input's memory
            self._run(data)
        self._there = self._listing()

    def _listing(self) -> set[str]:
        return {os.path.join(place, one) for place, _, names in os.walk(self._folder) for one in names}

    def _run(self, data: bytes) -> str | None:
        """Return the kind of a finding, None if there is none; raise nothing."""
        try:
            self.reader.read(data)
        except self._allowed as error:
            self.tally.refused += 1
            return None if str(error).strip() else f"{type(error).__name__} without a text"
        except HangError:
            return f"more than {_HANGS} s"
        except Exception as error:
            return kind_of(error)
        self.tally.accepted += 1
        return None

    def try_one(self, data: bytes) -> None:
        """Read one input and note what became of it."""
        self._current.write_bytes(data)
        memory, marked, started = resident(), highest(), time.process_time()
        signal.setitimer(signal.ITIMER_REAL, _HANGS)
        try:
            kind = self._run(data)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        spent, top = time.process_time() - started, highest()
        tally = self.tally
        tally.inputs += 1
        tally.slowest = max(tally.slowest, spent)
        if top > marked:  # otherwise another input has held more, and this one's peak is not known, but is lower
            tally.peak = max(tally.peak, top - memory)
        if kind is None and spent > MOST_SECONDS:
            kind = f"more than {MOST_SECONDS:g} s"
        if kind is None and top > marked and top - memory > MOST_BYTES:
            kind = f"more than {MOST_BYTES >> 20} MB"
        left = self._listing() - self._there
        for path in left:
            os.unlink(path)
        kind = "a file left behind" if kind is None and left else kind
        if kind is not None:
            self._note(kind, data)

    def _note(self, kind: str, data: bytes) -> None:
        self._counted[kind] += 1
        if self._counted[kind] > _MOST_KEPT:
            return
        name = f"{_as_file(self.reader.name)}-{self.tally.inputs}-{_as_file(kind)}"
        self._kept.mkdir(parents=True, exist_ok=True)
        (self._kept / name).write_bytes(data)
        self.tally.add(kind, name)


def _as_file(text: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in text)[:60]


def _on_alarm(number: int, frame: FrameType | None) -> None:
    raise HangError


def work(options: argparse.Namespace) -> None:
    """Be the process of one reader: print what became of its inputs, again and again, as a line of JSON."""
    signal.signal(signal.SIGALRM, _on_alarm)
    warnings.simplefilter("ignore")
    if options.guided:
        import atheris

        with atheris.instrument_imports(include=["inception_rcnn"]):
            trial = Trial(options.work, options.folder / "files", options.findings)
        _guided(trial, options)
        return
    trial = Trial(options.work, options.folder / "files", options.findings)
    trial.tally.accepted = trial.tally.refused = 0
    began = time.perf_counter()
    for number in range(options.first, options.inputs):
        trial.try_one(trial.reader.mutator.make(options.seed, number))
        trial.tally.seconds = time.perf_counter() - began
        if number % 100 == 0:
            _tell(trial.tally)
        if options.seconds and trial.tally.seconds > options.seconds:
            break
    _tell(trial.tally)


def _guided(trial: Trial, options: argparse.Namespace) -> None:
    """Let atheris choose the inputs, from the valid files on."""
    import atheris

    corpus = options.folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(trial.reader.mutator.valid):
        (corpus / str(number)).write_bytes(data)
    words = options.folder / "words"
    tokens = [one for one in trial.reader.mutator.tokens if 0 < len(one) <= 64]
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in one) + '"\n' for one in tokens))
    trial.tally.accepted = trial.tally.refused = 0
    began = time.perf_counter()

    def one(data: bytes) -> None:
        trial.try_one(data)
        trial.tally.seconds = time.perf_counter() - began
        ended = trial.tally.inputs >= options.inputs or (options.seconds and trial.tally.seconds > options.seconds)
        if trial.tally.inputs % 100 == 0 or ended:
            _tell(trial.tally)
        if ended:
            sys.stdout.flush()
            os._exit(0)  # libFuzzer would not let a SystemExit through

    flags = [
        f"-seed={options.seed + 1}",
        "-max_len=8192",
        f"-dict={words}",
        "-rss_limit_mb=0",
        "-timeout=0",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *flags], one)
    atheris.Fuzz()


def _tell(tally: Tally) -> None:
    print(json.dumps(asdict(tally)), flush=True)


def run(name: str, options: argparse.Namespace, *, guided: bool) -> Tally:
    """Return what became of a reader's inputs; where its process dies, another goes on behind the input."""
    whole, first = Tally(), 0
    while True:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            folder = Path(place)
            (folder / "files").mkdir()
            part, status = _child(name, options, folder, first, guided=guided)
            _join(whole, part)
            if status == 0:
                return whole
            if not part.inputs and not (folder / "current").is_file():
                print((folder / "said").read_text(errors="replace")[-3000:], file=sys.stderr)
                raise SystemExit(f"{name}: the reader does not start")
            _note_death(whole, name, options, folder, status)
        first += max(part.inputs, 1) + 100 if not guided else 0
        if guided or first >= options.inputs or len(whole.findings.get("the process died", ())) > 5:
            return whole


def _child(name: str, options: argparse.Namespace, folder: Path, first: int, *, guided: bool) -> tuple[Tally, int]:
    """Return what a process told last, and how it ended."""
    command = [sys.executable, __file__, "--work", name, "--folder", str(folder), "--findings", str(options.findings)]
    command += [
        "--inputs",
        str(options.inputs),
        "--seed",
        str(options.seed),
        "--seconds",
        str(options.seconds),
        "--first",
        str(first),
    ]
    command += ["--guided"] if guided else []
    temporary = folder / "tmp"
    temporary.mkdir()
    surroundings = {**os.environ, "TMPDIR": str(temporary), "PYTHONFAULTHANDLER": "1"}
    surroundings["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "torch")  # which torch makes as it is imported
    told, said = folder / "told", folder / "said"
    with told.open("wb") as out, said.open("wb") as errors:
        child = subprocess.Popen(command, stdout=out, stderr=errors, env=surroundings)
        while (status := child.poll()) is None:
            time.sleep(0.2)
            current = folder / "current"
            if current.is_file() and time.time() - current.stat().st_mtime > _DIES:
                child.kill()
                status = child.wait()
                break
    lines = told.read_text().splitlines()
    tally = Tally(**json.loads(lines[-1])) if lines else Tally()
    if status == 0 and (left := os.listdir(temporary)):
        tally.add("a temporary file left behind", left[0])
    return tally, status


def _join(whole: Tally, part: Tally) -> None:
    whole.inputs += part.inputs
    whole.accepted += part.accepted
    whole.refused += part.refused
    whole.seconds += part.seconds
    whole.slowest, whole.peak = max(whole.slowest, part.slowest), max(whole.peak, part.peak)
    for kind, names in part.findings.items():
        whole.findings.setdefault(kind, []).extend(names)


def _note_death(whole: Tally, name: str, options: argparse.Namespace, folder: Path, status: int) -> None:
    options.findings.mkdir(parents=True, exist_ok=True)
    kept = f"{_as_file(name)}-{whole.inputs}-died-{abs(status)}"
    shutil.copy(folder / "current", options.findings / kept)
    shutil.copy(folder / "said", options.findings / f"{kept}.txt")
    whole.add("the process died", kept)


def replay(options: argparse.Namespace) -> None:
    """Read one input again, and let its exception through."""
    from foreign_readers import chosen_readers, make_reader

    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        print(repr(make_reader(chosen_readers(options.only)[0], Path(place)).read(options.replay.read_bytes()))[:2000])


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="of each reader, and as many more that are guided")
    parser.add_argument("--seconds", type=float, default=0, help="of each reader at most; 0: no limit")
    parser.add_argument("--only", action="append", default=[], help="a word of the reader's name; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="300 inputs of each reader, none guided")
    parser.add_argument("--unguided", action="store_true", help="without atheris")
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), help="folder for the inputs of findings"
    )
    parser.add_argument("--replay", type=Path, help="a kept input, with --only")
    for name, kind in (("--work", str), ("--folder", Path), ("--first", int)):
        parser.add_argument(name, type=kind, default=0 if kind is int else None, help=argparse.SUPPRESS)
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Print the table; return 1 with findings."""
    options = parsed()
    if options.work is not None:
        work(options)
        return 0
    if options.replay is not None:
        replay(options)
        return 0
    from foreign_readers import chosen_readers
    from machine import machine_line

    if options.quick:
        options.inputs, options.unguided = 300, True
    options.findings = options.findings.absolute()
    has_atheris = importlib.util.find_spec("atheris") is not None
    ways = [False] if options.unguided or not has_atheris else [False, True]
    print(
        machine_line("numpy", "pillow", "safetensors", "msgspec", "defusedxml", *(["atheris"] if True in ways else []))
    )
    if not has_atheris and not options.unguided:
        print("atheris is not installed (pip install atheris): no input is guided by the lines that are reached")
    heads = ("inputs", "a second", "refused", "accepted", "slowest", "memory", "findings")
    print("\n" + "reader".ljust(40) + "".join(head.rjust(10) for head in heads))
    rows: list[tuple[str, Tally]] = []
    for name in chosen_readers(options.only):
        for guided in ways:
            rows.append((f"{name}, guided" if guided else name, run(name, options, guided=guided)))
            _print_row(*rows[-1])
    return _print_findings(rows, options.findings)


def _print_row(name: str, tally: Tally) -> None:
    rate = tally.inputs / max(tally.seconds, 1e-9)
    print(
        f"{name:40}{tally.inputs:10}{rate:10.0f}{tally.refused:10}{tally.accepted:10}{tally.slowest:8.2f} s"
        f"{tally.peak / 2**20:7.0f} MB{tally.count():10}",
        flush=True,
    )


def _print_findings(rows: list[tuple[str, Tally]], folder: Path) -> int:
    total = Tally()
    for _, tally in rows:
        _join(total, tally)
    said = f"{total.inputs} inputs, {total.refused} refused, {total.accepted} accepted"
    print(f"\n{said}, {total.count()} kinds of findings")
    for name, tally in rows:
        for kind, kept in tally.findings.items():
            print(f"  {name}: {kind}, {len(kept)} times or more: {folder / kept[0]}")
    return 1 if total.findings else 0


if __name__ == "__main__":
    sys.exit(main())
