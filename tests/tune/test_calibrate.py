"""Calibration on pairs that one can reason about, and on half of a real set."""

from __future__ import annotations

import json
import math
import random
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from anyio.from_thread import start_blocking_portal
from numpy.typing import NDArray
from typer.testing import CliRunner

from semcache_async.data import banking77
from semcache_async.embed import TextEmbedder
from semcache_async.testing import AngleEmbedder
from semcache_async.tune import command
from semcache_async.tune.calibrate import Calibration, calibrate_pairs, distances
from semcache_async.tune.curve import save_curve, table
from semcache_async.tune.pairs import CalibrationError, Pair
from tests.embed.service import fake

embedder = AngleEmbedder()


def angled(count: int, *, seed: int = 0, scope: str = "") -> list[Pair]:
    """Pairs up to .25 apart; within .1 one in 200 is wrong, beyond it half."""
    draw = random.Random(f"{seed} {scope}")
    pairs = []
    for n in range(count):
        distance = 0.25 * draw.random()
        turn = math.degrees(math.acos(1.0 - distance))
        wrong = draw.random() < (0.005 if distance < 0.1 else 0.5)
        pairs.append(Pair(f"{scope}{n} at 0", f"{scope}{n} at {turn:.6f}", not wrong, scope))
    return pairs


def test_distances_are_cosine_distances() -> None:
    pairs = [Pair("at 0", "at 60", True), Pair("at 10", "at 10.0", True)]
    assert distances(pairs, embedder.embed) == pytest.approx([0.5, 0.0], abs=1e-6)


def test_the_distance_where_pairs_turn_wrong_is_found() -> None:
    found = calibrate_pairs(angled(4_000), embedder.embed, target=0.97)
    assert found.enough
    assert found.max_distance is not None
    assert 0.09 <= found.max_distance <= 0.106
    assert found.precision >= found.precision_low >= 0.97
    assert 0.4 < found.recall < 0.75
    assert found.pairs == 4_000
    assert found == calibrate_pairs(angled(4_000), embedder.embed, target=0.97)


def scored(asked: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """Over .9 for what lies within .1, where one in 200 is wrong; below it beyond; .95 beyond .2,
    and nothing at all for every tenth pair."""
    far = distances([Pair(*pair, True) for pair in asked], embedder.embed)
    scores = np.where(far < 0.2, np.clip(1.0 - far, 0.0, 1.0), 0.95)
    silent = [pair[0].partition(" ")[0].endswith("7") for pair in asked]
    return np.where(silent, np.nan, scores).astype(np.float32)


def test_the_score_of_a_verifier_is_found_within_a_distance() -> None:
    pairs = angled(4_000)
    found = calibrate_pairs(pairs, embedder.embed, target=0.97, score=scored, max_distance=0.2)
    assert found.max_distance == 0.2
    assert found.min_score is not None
    assert 0.89 <= found.min_score <= 0.915
    assert found.precision >= found.precision_low >= 0.97
    alone = calibrate_pairs(pairs, embedder.embed, target=0.97)
    assert 0.8 < found.recall / alone.recall < 1.0  # those without a score are not served
    assert found.as_json()["min_score"] == found.min_score
    unsure = calibrate_pairs(pairs[:60], embedder.embed, score=scored)
    assert (unsure.min_score, unsure.max_distance, unsure.enough) == (None, None, False)
    with pytest.raises(CalibrationError, match="no sense"):
        calibrate_pairs(pairs, embedder.embed, score=lambda asked: scored(asked)[:1])


def test_too_few_pairs_promise_nothing() -> None:
    found = calibrate_pairs(angled(60), embedder.embed, target=0.98)
    assert not found.enough
    assert found.as_json()["max_distance"] is None
    assert "do not support .980" in found.explain()


def test_the_promise_holds_on_pairs_not_seen() -> None:
    kept = enough = 0
    for seed in range(20):
        found = calibrate_pairs(angled(1_500, seed=seed), embedder.embed, target=0.97)
        if found.max_distance is None:
            continue
        enough += 1
        reach = found.max_distance
        share = 1.0 if reach <= 0.1 else 0.1 / reach
        kept += share * 0.995 + (1.0 - share) * 0.5 >= 0.97
    assert enough >= 15
    assert kept >= enough - 2


def test_each_scope_by_itself() -> None:
    pairs = [*angled(2_500, scope="a"), *angled(30, scope="b")]
    found = calibrate_pairs(pairs, embedder.embed, target=0.97, by_scope=True)
    assert found.scopes["a"].enough
    assert not found.scopes["b"].enough
    assert found.as_json()["scopes"]["b"]["enough"] is False


def test_weights_count() -> None:
    pairs = [pair._replace(weight=3.0) for pair in angled(4_000)]
    same = calibrate_pairs(pairs, embedder.embed, target=0.97)
    assert (
        same.max_distance
        == calibrate_pairs(angled(4_000), embedder.embed, target=0.97).max_distance
    )
    uneven = [pair._replace(weight=1e3 if n < 5 else 1.0) for n, pair in enumerate(pairs)]
    assert not calibrate_pairs(uneven, embedder.embed, target=0.97).enough


def test_vectors_that_make_no_sense() -> None:
    def broken(texts: Any) -> Any:
        return np.full((len(texts), 4), np.nan, np.float32)

    with pytest.raises(CalibrationError, match="no sense"):
        calibrate_pairs(angled(10), broken)


def test_half_of_real_questions(text_embedder: TextEmbedder) -> None:
    """Neighbours among real questions: what one half promises holds on the other, or it says that
    it has not enough."""
    questions = banking77("test")[::3]
    text_embedder.embed([questions[0].text])
    vectors = text_embedder.embed([question.text for question in questions])
    near = vectors @ vectors.T
    np.fill_diagonal(near, -1.0)
    closest = near.argmax(axis=1)
    pairs = [
        Pair(questions[a].text, questions[b].text, questions[a].intent == questions[b].intent)
        for a, b in enumerate(closest.tolist())
    ]
    by_text = dict(zip([q.text for q in questions], vectors, strict=True))

    def embed(texts: Any) -> Any:
        return np.stack([by_text[text] for text in texts])

    for target in (0.85, 0.9, 0.98):
        found = calibrate_pairs(pairs[::2], embed, target=target)
        if found.max_distance is None:
            continue
        far = distances(pairs[1::2], embed)
        served = [p.right for p, d in zip(pairs[1::2], far, strict=True) if d <= found.max_distance]
        assert sum(served) / len(served) >= target - 0.02, target


# -- what people see


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setattr(command, "_embedder", lambda _model: embedder)
    made = typer.Typer()
    made.command()(command.calibrate)
    return made


def asked(app: typer.Typer, *arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"text_a": p.text_a, "text_b": p.text_b, "label": int(p.right)} for p in angled(4_000)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_the_service_that_embeds_is_asked(
    app: typer.Typer, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``semcache serve`` would have it: a distance of the model here would be another's."""
    monkeypatch.setattr(command, "_embedder", None)
    monkeypatch.setenv("SEMCACHE_CACHE_DIR", str(tmp_path))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(fake()) as service,
    ):
        toml = tmp_path / "semcache.toml"
        toml.write_text(f'embeddings_url = "{service.url}"\nembeddings_model = "m"\n')
        done = asked(app, pairs_file, "--precision", 0.97, "--config", toml, "--json")
        assert done.exit_code == 0, done.output
        assert len(service.bodies) > 10
    assert json.loads(done.stdout)["max_distance"] > 0.0


def test_the_command(app: typer.Typer, pairs_file: Path, tmp_path: Path) -> None:
    toml, png = tmp_path / "semcache.toml", tmp_path / "curve.png"
    toml.write_text("# mine\nport = 1\n")
    done = asked(app, pairs_file, "--precision", 0.97, "--write", toml, "--curve", png)
    assert done.exit_code == 0, done.output
    assert "<- max_distance" in done.output
    assert "at least .97" in done.output
    assert toml.read_text().startswith("# mine\nport = 1\n\n[cache]\nmax_distance = 0.")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_command_with_a_verifier(
    app: typer.Typer, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_verifier", lambda _name: SimpleNamespace(score=scored))
    toml = tmp_path / "semcache.toml"
    options = ("--verifier", "tiny", "--max-distance", 0.2, "--precision", 0.97)
    done = asked(app, pairs_file, *options, "--write", toml)
    assert done.exit_code == 0, done.output
    assert "<- min_score" in done.output
    written = tomllib.loads(toml.read_text())["cache"]
    assert written["max_distance"] == 0.2
    assert 0.89 <= written["min_score"] <= 0.915


def test_json_alone_on_standard_output(app: typer.Typer, pairs_file: Path) -> None:
    done = asked(app, pairs_file, "--precision", 0.97, "--json")
    found = json.loads(done.stdout)
    assert {
        *("max_distance", "precision", "precision_low", "confidence", "recall", "pairs", "enough")
    } <= found.keys()
    assert found["enough"] is True


def test_not_enough_is_said_plainly(app: typer.Typer, tmp_path: Path, pairs_file: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(pairs_file.read_text().split("\n")[:40]))
    done = asked(app, few)
    assert done.exit_code == 0
    assert "Not enough: no distance" in done.output
    assert json.loads(asked(app, few, "--json").stdout)["max_distance"] is None
    toml = tmp_path / "semcache.toml"
    refused = asked(app, few, "--write", toml)
    assert refused.exit_code == 1
    assert "is as it was" in refused.output
    assert not toml.exists()


def test_bad_lines_are_one_sentence(app: typer.Typer, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text_a": "a", "text_b": "b", "label": 2}')
    done = asked(app, bad)
    assert done.exit_code == 1
    assert "line 1: label=2 must be 1 (right) or 0 (wrong)." in done.output
    assert "Traceback" not in done.output


def test_without_matplotlib(
    app: typer.Typer, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = asked(app, pairs_file, "--curve", tmp_path / "curve.png")
    assert done.exit_code == 1
    assert "pip install 'semcache-async[load]'" in done.output


def test_curves_of_nothing(tmp_path: Path) -> None:
    nothing = Calibration(
        max_distance=None,
        target=0.98,
        confidence=0.95,
        precision=0.0,
        precision_low=0.0,
        recall=0.0,
        pairs=0,
        promised_on=0.0,
    )
    save_curve(nothing, tmp_path / "curve.png")
    assert table(nothing).row_count == 0
    with pytest.raises(CalibrationError, match="cannot be written"):
        save_curve(nothing, tmp_path / "no" / "curve.png")
