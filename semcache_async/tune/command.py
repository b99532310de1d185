"""The ``semcache calibrate`` command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcache_async.shell import one_line_errors

if TYPE_CHECKING:
    from rich.console import Console

    from semcache_async.tune.calibrate import Calibration

__all__ = ["calibrate"]


def calibrate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="Labelled pairs, one JSON object a line: text_a, text_b, label (1: one answer "
            "serves both; 0: it does not), perhaps scope, kind, weight. May be gzipped.",
        ),
    ],
    precision: Annotated[
        float,
        typer.Option(min=0.5, max=0.9999, help="Share of right ones among the semantic hits."),
    ] = 0.98,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="Confidence of the promise, one-sided.")
    ] = 0.95,
    by_scope: Annotated[
        bool, typer.Option("--by-scope", help="Each scope of the file by itself, too.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")
    ] = False,
    curve: Annotated[
        Path | None,
        typer.Option(metavar="PNG", show_default=False, help="Draw precision by distance."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            show_default=False,
            help="Set max_distance under [cache] of the file that semcache serve --config reads.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            show_default="as the service has it", help="Name or directory of the embedding model."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="SEMCACHE_CONFIG",
            show_default="none",
            help="The service's TOML file; to a remote embedder there every text is sent.",
        ),
    ] = None,
    verifier: Annotated[
        str | None,
        typer.Option(
            show_default="none",
            help="Find min_score for this cross-encoder, by name or directory, instead.",
        ),
    ] = None,
    max_distance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=2.0,
            show_default="0.3",
            help="With --verifier: how near a pair must lie for it to be asked.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """The max_distance at which the wanted share of semantic hits is right.

    Embeds labelled pairs and finds the largest distance whose precision is at least --precision,
    with --confidence, on pairs that had no part in the search. Says so where the pairs cannot
    support that. With --verifier it is the smallest score that is found, for what lies within
    --max-distance. The promise is for traffic like the pairs: take them from your own, such as the
    verdicts that GET /semantic-cache/reviews.jsonl exports.

    Examples:

      semcache calibrate pairs.jsonl

      semcache calibrate reviews.jsonl --precision 0.95 --curve curve.png --write semcache.toml
    """
    with one_line_errors(debug):
        from semcache_async.tune.calibrate import CEILING, calibrate_pairs
        from semcache_async.tune.curve import need_matplotlib, save_curve
        from semcache_async.tune.pairs import CalibrationError, read_pairs
        from semcache_async.tune.toml import set_number

        if curve is not None:
            need_matplotlib()
        pairs = read_pairs(file)
        with _opened(model, config) as (embed, too_long):
            found = calibrate_pairs(
                pairs,
                embed,
                target=precision,
                confidence=confidence,
                by_scope=by_scope,
                too_long=too_long,
                score=None if verifier is None else _verifier(verifier).score,
                max_distance=CEILING if max_distance is None else max_distance,
            )
        if as_json:
            typer.echo(json.dumps(found.as_json(), allow_nan=False))
        else:
            _show(found)
        if curve is not None:
            save_curve(found, curve)
        if write is not None:
            if found.max_distance is None:
                raise CalibrationError(f"{write} is as it was: no distance can be promised.")
            for name in ("max_distance", "min_score"):
                if (value := getattr(found, name)) is not None:
                    set_number(write, name, value)
                    if not as_json:
                        typer.echo(f"{write}: {name} = {value:.9g} under [cache].")


@contextmanager
def _opened(model: str | None, config: Path | None) -> Iterator[tuple[Any, Any]]:
    """How texts are embedded, and which the model does not read: by the model that is named, else
    as the service would."""
    from semcache_async.serve.settings import read_settings

    remote = None
    if model is None:
        settings = read_settings({}, file=config, asks_llm=False)
        remote, model = settings.remote, settings.cache.model
    if remote is None:
        embedder = _embedder(model)
        yield embedder.embed, _too_long(embedder)
        return
    from anyio.from_thread import start_blocking_portal

    from semcache_async.embed import RemoteEmbedder

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(RemoteEmbedder.open(**remote)) as there,
    ):
        yield partial(portal.call, there.embed), lambda text: there.estimate(text) > there.window


def _embedder(model: str | None) -> Any:
    """The real model; replaced in tests."""
    from semcache_async.embed import load_embedder

    embedder = load_embedder(model)
    embedder.embed(["Is anybody there?"])  # one alone, before several threads
    return embedder


def _verifier(name: str) -> Any:
    """The real one; replaced in tests."""
    from semcache_async.embed import load_verifier

    return load_verifier(name)


def _too_long(embedder: Any) -> Any:
    """Which texts the model does not read; None where it cannot be asked."""
    if not hasattr(embedder, "tokenise"):
        return None

    def check(text: str) -> bool:
        return not 0 < len(embedder.tokenise([text])[0]) <= embedder.window

    return check


def _show(found: Calibration) -> None:
    from rich.console import Console

    from semcache_async.tune.curve import table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(table(found))
    _show_left_out(console, found)
    if found.enough:
        option = "max_distance" if found.min_score is None else "min_score"
        console.print(f"\n[bold green]{option} {found.explain()}[/]")
        console.print(f"It finds {found.recall:.1%} of the right pairs.")
    else:
        console.print(f"\n[bold yellow]Not enough: {found.explain()}.[/]")
    for name, scope in found.scopes.items():
        console.print(f"  {name or '(no scope)'}: {scope.explain()}", markup=False)


def _show_left_out(console: Console, found: Calibration) -> None:
    parts = [
        f"{count:,} {words}"
        for count, words in (
            (found.identical, "of the same wording (the exact tier's)"),
            (found.repeated, "said before"),
            (found.contradicted, "labelled both ways, taken for wrong"),
            (found.too_long, "too long for the model"),
        )
        if count
    ]
    if parts:
        console.print(f"[dim]Pairs left out or merged: {'; '.join(parts)}.[/]")
