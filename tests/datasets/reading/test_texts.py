"""Texts in other encodings than UTF-8, and the YAML that trainers write."""

from __future__ import annotations

from pathlib import Path

import pytest

from inception_rcnn.datasets.reading.texts import decode_text, read_data_yaml
from inception_rcnn.structures import DataFormatError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_read_without_a_word(encoding: str) -> None:
    said: list[str] = []
    assert decode_text("größe 猫".encode(encoding), "a.txt", said.append) == "größe 猫"
    assert said == []


def test_another_encoding_is_guessed_and_said_or_refused() -> None:
    said: list[str] = []
    assert decode_text("小猫咪".encode("gb18030"), "a.txt", said.append) == "小猫咪"
    assert said == ["a.txt"]
    with pytest.raises(DataFormatError, match=r"a\.txt: should be a text in UTF-8: .*; save it as UTF-8"):
        decode_text(b"\xff\x80\x81", "a.txt")
    with pytest.raises(DataFormatError):
        decode_text(b"\xff\xfe\x00", "a.txt")


YAMLS = {
    "inline": "train: images/train\nval: images/val\nnc: 2\nnames: ['a, b', \"it's\"]  # two\n",
    "lines": "# data\nnames:\n  - 'a, b'\n  - \"it's\"\ntrain: images/train   # here\nval: images/val\nnc: 2\n",
    "several lines": "train: images/train\nval: images/val\nnc: 2\nnames: ['a, b',\n  'it''s' ]\n",
}


@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS)
def test_every_way_to_write_the_classes(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    found = read_data_yaml(tmp_path / "data.yaml")
    assert found == {"train": "images/train", "val": "images/val", "nc": "2", "names": ["a, b", "it's"]}


def test_mappings_lists_of_folders_and_keys_without_values(tmp_path: Path) -> None:
    text = "---\nnames:\n  0: cat\n  1: 'traffic light'\ntrain:\n- a\n- b\ntest:\nkpt: {0: x, 1: 'y'}\n"
    (tmp_path / "data.yaml").write_text(text)
    assert read_data_yaml(tmp_path / "data.yaml") == {
        "names": {"0": "cat", "1": "traffic light"},
        "train": ["a", "b"],
        "test": None,
        "kpt": {"0": "x", "1": "y"},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just words\n", "line 1: should be 'key: value'"),
        ("names: [a\n", r"line 1: .* expected ',' or '\]'"),
        ("train: a\nval: b: c\n", "line 2: .* mapping values are not allowed"),
        ("names: " + "[" * 100_000, "(line 1: )?cannot be understood as YAML"),
        ("names: \x00", "cannot be understood as YAML"),
    ],
)
def test_what_is_no_such_yaml_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataFormatError, match=rf"data\.yaml(, |: ){said}"):
        read_data_yaml(tmp_path / "data.yaml")


def test_words_that_yaml_has_other_uses_for_are_texts_and_nothing_is_made_of_tags(tmp_path: Path) -> None:
    lines = ["names: [no, 1e3, ~, 2020-01-01]", "download: |", "  wget a", "  unzip b", "deep: {a: [b]}"]
    (tmp_path / "data.yaml").write_text("\n".join([*lines, "train: !!python/name:os.system", ""]))
    found = read_data_yaml(tmp_path / "data.yaml")
    assert found == {"names": ["no", "1e3", "~", "2020-01-01"], "download": "wget a\nunzip b\n", "train": None}
