"""Reading labelled pairs, and dividing them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from semcache_async.tune.pairs import CalibrationError, Pair, halves, read_pairs, tidy_pairs


def written(folder: Path, *lines: object) -> Path:
    path = folder / "pairs.jsonl"
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text)
    return path


def row(
    a: object = "one", b: object = "other", label: object = 1, **more: object
) -> dict[str, object]:
    return {"text_a": a, "text_b": b, "label": label, **more}


def test_what_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path, row(), "", row(label=0, scope="s", kind="k", weight=2), row(label=True), row(x=1)
    )
    assert read_pairs(path) == [
        Pair("one", "other", True),
        Pair("one", "other", False, "s", "k", 2.0),
        Pair("one", "other", True),
        Pair("one", "other", True),
    ]
    packed = tmp_path / "pairs.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + path.read_bytes()))
    assert read_pairs(packed) == read_pairs(path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", "line 2: must be an object"),
        ('{"text_a": "\\ud800"}', "line 2"),
        ({"text_a": "a", "label": 1}, "line 2: text_b is missing"),
        ({"text_a": "a", "text_b": "b"}, "line 2: label is missing"),
        (row(label=7), "line 2: label=7 must be 1"),
        (row(label="1"), "line 2: label='1' must be 1"),
        (row(a=" "), "line 2: text_a is empty"),
        (row(a=3), "line 2: text_a must be a text"),
        (row(scope=3), "line 2: scope must be a text"),
        (row(weight=0), "line 2: weight=0 must be a number over 0"),
        (row(weight=True), "line 2: weight=True"),
        ('{"text_a": "a", "text_b": "b", "label": 1, "weight": 1e999}', "line 2"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: object, complaint: str) -> None:
    path = written(tmp_path, row(), line)
    with pytest.raises(CalibrationError, match=complaint):
        read_pairs(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_pairs(tmp_path / "nothing")
    with pytest.raises(CalibrationError, match="holds no pairs"):
        read_pairs(written(tmp_path, "", " "))
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"x")[:-4])
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_pairs(broken)


def test_one_pair_is_one_sample() -> None:
    found = tidy_pairs(
        [
            Pair("a", "b", True),
            Pair("b", "a", True),
            Pair("a", "b", True, scope="other"),
            Pair("c", "d", True),
            Pair("d", "c ", False),
            Pair("e", "e ", True),
        ]
    )
    assert [(pair.text_a, pair.right) for pair in found.kept] == [
        ("a", True),
        ("a", True),
        ("c", False),
    ]
    assert (found.identical, found.repeated, found.contradicted) == (1, 2, 1)


def test_halves_keep_pairs_that_share_a_prompt_together() -> None:
    pairs = [Pair(f"{n} a", f"{n} b", True) for n in range(900)]
    pairs += [Pair(f"{n} b", f"{n} c", False) for n in range(900)]
    first = halves(pairs, 1 / 3)
    assert first[:900] == first[900:]
    assert 240 <= sum(first[:900]) <= 360
    assert halves(pairs, 1 / 3) == first
    bound = [Pair("hub", f"{n}", True) for n in range(600)]
    assert 150 <= sum(halves(bound, 1 / 3)) <= 250
    assert halves([], 0.5) == []
