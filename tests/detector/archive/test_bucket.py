"""An archive in a bucket and its results in another: an S3-compatible store on this machine, no cloud."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from inception_rcnn.datasets.archive.shards import read_entries
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.tools import cli

pytest.importorskip("s3fs", reason="needs s3fs: pip install 'inception-rcnn[scale]'")
moto_server = pytest.importorskip("moto.server", reason="needs a bucket on this machine: pip install 'moto[server]'")
boto3 = pytest.importorskip("boto3", reason="needs a bucket on this machine: pip install 'moto[server]'")

TOOLS = Path(cli.__file__).parent
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
PICTURES = {
    "a/astronaut.jpg": "astronaut",
    "a/chelsea.png": "chelsea",
    "b/coffee, 50 % #1.jpg": "coffee",  # what a URL would need quoted
    "rocket.jpg": "rocket",
}


class Bucket:
    """A bucket of a store on this machine.

    Args:
        address: Of the store.
    """

    name = "bucket"

    def __init__(self, address: str) -> None:
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": address}
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=address,
            region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        self._client.create_bucket(Bucket=self.name)

    def close(self) -> None:
        """Let go of the line to it."""
        self._client.close()

    def put(self, folder: Path) -> None:
        """Copy a folder into the bucket, under its own name."""
        for path in folder.rglob("*.*"):
            key = path.relative_to(folder.parent).as_posix()
            self._client.put_object(Bucket=self.name, Key=key, Body=path.read_bytes())

    def made(self, prefix: str) -> dict[str, Any]:
        """Return when each object below a prefix was written."""
        listed = self._client.list_objects_v2(Bucket=self.name, Prefix=f"{prefix}/")
        return {one["Key"]: one["LastModified"] for one in listed.get("Contents", ())}

    def remove(self, key: str) -> None:
        """Remove an object."""
        self._client.delete_object(Bucket=self.name, Key=key)

    def get(self, prefix: str, folder: Path) -> list[dict[str, Any]]:
        """Copy results out of the bucket, and return their rows."""
        for key in self.made(prefix):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._client.get_object(Bucket=self.name, Key=key)["Body"].read())
        return rows_in(folder / prefix)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """An empty bucket."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    opened = Bucket(f"http://{host}:{port}")
    yield opened
    opened.close()
    server.stop()


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [entry for _, entry in read_entries(Location(str(folder)))]


def detect(source: str | Path, output: str | Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own, which has no other way to the store than its environment."""
    words = [source, "--engine", "local", "--output", output, "--per-shard", "2", "--precision", "fp32"]
    words += ["--max-proposals", "20", "--score-threshold", "0.05", "--device", "cpu"]
    line = [sys.executable, str(TOOLS / "detect.py"), *map(str, words)]
    return subprocess.run(line, check=False, capture_output=True, text=True, env={**os.environ, **environment})


def test_photographs_in_a_bucket_are_found_as_in_a_folder(bucket: Bucket, tmp_path: Path) -> None:
    for name, picture in PICTURES.items():
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(getattr(data, picture)()).resize((180, 140)).save(path)
    bucket.put(tmp_path / "photographs")
    here = detect(tmp_path / "photographs", tmp_path / "found", {})
    assert here.returncode == 0, here.stderr

    there = detect("s3://bucket/photographs", "s3://bucket/found", bucket.environment)
    assert there.returncode == 0, there.stderr
    assert "Parquet in s3://bucket/found" in there.stderr
    ours, theirs = rows_in(tmp_path / "found"), bucket.get("found", tmp_path / "copy")
    # A folder's own photographs come before those of the folders in it.
    assert [row["image"] for row in theirs] == [
        f"s3://bucket/photographs/{name}"
        for name in ("rocket.jpg", "a/astronaut.jpg", "a/chelsea.png", "b/coffee, 50 % #1.jpg")
    ]
    assert [Path(row["image"]).name for row in ours] == [Path(row["image"]).name for row in theirs]
    assert [{**row, "image": ""} for row in ours] == [{**row, "image": ""} for row in theirs]
    assert sum(len(row["detections"]) for row in theirs) > 2

    before = bucket.made("found")
    lost = "found/part-00000001.parquet"
    bucket.remove(lost)
    mended = detect("s3://bucket/photographs", "s3://bucket/found", bucket.environment)
    assert mended.returncode == 0, mended.stderr
    assert "1 of 2 parts are in s3://bucket/found already" in mended.stdout
    after = bucket.made("found")
    assert after.keys() == before.keys()
    assert {key for key in after if after[key] != before[key]} <= {lost}
    assert bucket.get("found", tmp_path / "mended") == theirs
