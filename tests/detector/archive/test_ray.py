"""The same archive on a Ray cluster of this machine's processors: the same rows as by this process alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from inception_rcnn.datasets.archive.manifest import drafted
from inception_rcnn.datasets.archive.shards import RunDescription, read_entries, shard_name
from inception_rcnn.datasets.archive.sources import Piece
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.detector.archive import ArchiveRun, cluster, ray_engine
from inception_rcnn.detector.archive.ray_engine import Cluster, _share, other_than_asked, waves
from inception_rcnn.structures import InputError
from inception_rcnn.tools import cli

pytest.importorskip("ray", reason="needs inception-rcnn[scale]: pip install 'inception-rcnn[scale]'")

TOOLS = Path(cli.__file__).parent


def detect(archive: Path, engine: str, output: Path) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own as Ray's driver is, in float32: it has the same sums with any threads."""
    words = [archive, "--engine", engine, "--output", output, "--per-shard", "3", "--precision", "fp32"]
    words += ["--max-proposals", "20", "--score-threshold", "0.05", "--device", "cpu"]
    line = [sys.executable, str(TOOLS / "detect.py"), *map(str, words)]
    return subprocess.run(line, check=False, capture_output=True, text=True, env={**os.environ, "RAY_DEDUP_LOGS": "1"})


def test_a_cluster_finds_the_same(tmp_path: Path) -> None:
    archive = tmp_path / "photographs"
    archive.mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).resize((180, 140)).save(archive / f"{name}.jpg")
    (archive / "broken.jpg").write_bytes(b"no photograph")
    for engine in ("local", "ray"):
        done = detect(archive, engine, tmp_path / engine)
        assert done.returncode == 1, done.stderr  # of one photograph
        assert "broken.jpg: the image of 13 bytes" in done.stderr
        assert f"1 failed; Parquet in {tmp_path / engine}" in done.stderr
    here, there = ([one for _, one in read_entries(Location(str(tmp_path / name)))] for name in ("local", "ray"))
    assert len(here) == 5
    for ours, theirs in zip(here, there, strict=True):
        assert [(one["label"], one["box"]) for one in ours["detections"]] == [
            (one["label"], pytest.approx(one["box"], abs=1e-2)) for one in theirs["detections"]
        ]
        scores = [[one["score"] for one in entry["detections"]] for entry in (ours, theirs)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)
        assert {**ours, "detections": 0} == {**theirs, "detections": 0}
    parts = [Location(str(tmp_path / name)).within(shard_name(0)).parquet_file().read() for name in ("local", "ray")]
    made_by = [json.loads(part.column("settings")[0].as_py()) for part in parts]
    assert made_by[0] == made_by[1] and made_by[0]["arithmetic"].endswith("on cpu")
    assert (tmp_path / "ray" / "pieces.jsonl").read_bytes() == (tmp_path / "local" / "pieces.jsonl").read_bytes()


class Nodes:
    """A Ray cluster as far as what its nodes have.

    Args:
        nodes: Processors and GPUs of each.
    """

    def __init__(self, *nodes: tuple[int, int]) -> None:
        self._nodes = nodes

    def nodes(self) -> list[dict[str, object]]:
        """Return what Ray does."""
        return [{"Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}} for cpus, gpus in self._nodes]


@pytest.mark.parametrize(
    ("nodes", "detectors", "each", "threads"),
    [
        ([(16, 0)], None, 8, 16),
        ([(16, 0)], 2, 4, 8),
        ([(16, 0)], 3, 2, 5),
        ([(2, 0)], None, 1, 2),
        ([(2, 0)], 2, 0.5, 1),  # with a processor each, nothing would ever be searched
        ([(1, 0)], None, 0, 1),
        ([(1, 0), (1, 0)], 4, 0, 1),
        ([(16, 1)], None, 1, 16),
        ([(2, 2)], None, 0.5, 1),
    ],
)
def test_detectors_leave_a_processor_to_search(
    nodes: list[tuple[int, int]], detectors: int | None, each: float, threads: int
) -> None:
    share = _share(Nodes(*nodes), Cluster(detectors=detectors))
    assert (share.processors, share.threads) == (each, threads)
    assert share.processors * share.detectors / len(nodes) <= nodes[0][0] - 1


def test_waves_are_of_photographs_and_tasks_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [Piece(tuple(f"{number}-{place}.jpg" for place in range(20))) for number in range(4)]
    pieces.append(Piece((), str(tmp_path / "a.parquet"), 0, 0, 50, "image"))
    with drafted(pieces) as draft:
        draft.write(Location(str(tmp_path)))
        manifest = draft.in_folder(Location(str(tmp_path)))
    run = ArchiveRun(
        detector=None,  # type: ignore[arg-type]
        manifest=manifest,
        description=RunDescription({}, (), "", 5, 130),
        missing=(0, 2, 3, 4),
        stamps=draft.stamps,
    )
    monkeypatch.setattr(ray_engine, "PHOTOGRAPHS_PER_WAVE", 45)
    found = [
        [(one["piece"], one["start"], Piece.from_dict(json.loads(one["names"]))) for one in wave] for wave in waves(run)
    ]
    assert [[(piece, start, len(some)) for piece, start, some in wave] for wave in found] == [
        [(0, 0, 16), (0, 16, 4), (2, 0, 16), (2, 16, 4)],
        [(3, 0, 16), (3, 16, 4)],
        [(4, 0, 50)],  # of Parquet, a piece is read once
    ]
    assert found[0][3][2].files == pieces[2].files[16:] and found[2][0][2] == pieces[4]


def test_a_node_with_other_weights_or_code_says_so() -> None:
    asked = {"arithmetic": "float32 on cpu", "weights": ["0f"], "code": "1", "proposals": {"width": 500}}
    assert other_than_asked({**asked, "arithmetic": "bfloat16 on cuda"}, asked) is None
    assert "has weights = ['0e'], not ['0f']; all nodes need" in str(
        other_than_asked({**asked, "weights": ["0e"]}, asked)
    )
    assert "has another version of this package" in str(other_than_asked({**asked, "code": "2"}, asked))
    assert "has proposals.width = 400" in str(other_than_asked({**asked, "proposals": {"width": 400}}, asked))


def test_what_a_process_of_the_cluster_raised_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    class Quiet:
        exceptions = ray.exceptions

        def init(self, **options: object) -> None:
            """Connect to nothing."""

        def shutdown(self) -> None:
            """End nothing."""

    monkeypatch.setattr(cluster, "_ray", Quiet)
    task = ray.exceptions.RayTaskError("search", "Traceback\nmany lines", InputError("s3://x is\nout"), "p", 1, "ip")
    begun = ray.exceptions.RayActorError()
    begun.error_msg = "It died.\n  File x\ninception_rcnn.structures.errors.CheckpointError: there is no coco\nmore"
    full = ray.exceptions.OutOfMemoryError("Task was killed.\nMemory on the node: all")
    for error, line in (
        (task.as_instanceof_cause(), "s3://x is out"),
        (begun, "there is no coco"),
        (full, "OutOfMemoryError: Task was killed."),
    ):
        with (
            pytest.raises(InputError, match=rf"^a process of the Ray cluster failed: {line}; the same command again"),
            cluster.connected(None),
        ):
            raise error


def test_a_cluster_that_does_not_start_in_time_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def init(self, **options: object) -> None:
            raise Exception("The current node timed out during startup.\nIt may be overloaded.")

    monkeypatch.setattr(cluster, "_ray", Slow)
    with (
        pytest.raises(InputError, match=r"no Ray cluster to use at this machine: The .* startup. It may be overloaded"),
        cluster.connected(None),
    ):
        pass


def test_ranks_on_a_cluster_propose_what_one_process_does(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "val").mkdir(parents=True)
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).resize((120, 96)).save(root / "val" / f"{name}.png")
    (root / "classes.txt").write_text("cat\n")
    words = ["--data", f"folder:{root}", "--split", "val", "--source", "selective-search", "--mode", "single"]
    made = []
    for before in (["propose.py"], ["on_ray.py", "--processes", "2", "propose"]):
        output = tmp_path / f"{len(made)}.safetensors"
        line = [sys.executable, str(TOOLS / before[0]), *before[1:], *words, "--output", str(output)]
        done = subprocess.run(line, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "4 images" in done.stdout and done.stdout.count("boxes an image") == 1
        made.append(output)
    assert made[0].read_bytes() == made[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.safetensors", "1.safetensors", "set"]
