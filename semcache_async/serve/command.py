"""The ``semcache serve`` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from semcache_async.shell import run, tidy

__all__ = ["serve"]

_WHERE, _LLM, _CACHE, _WHO = "Where it listens", "The LLM", "The cache", "Who may ask"


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            show_default="127.0.0.1",
            help="Address; 0.0.0.0 for every interface.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            show_default="8080",
            help="TCP port; 0 for a free one.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            show_default="1",
            help="Processes that share the port.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    upstream_url: Annotated[
        str | None,
        typer.Option(
            help="Base URL of an OpenAI-compatible service, such as https://api.openai.com/v1. "
            "Its key: SEMCACHE_UPSTREAM_KEY or OPENAI_API_KEY.",
            rich_help_panel=_LLM,
        ),
    ] = None,
    simulate_llm: Annotated[
        bool,
        typer.Option("--simulate-llm", help="Answer from a simulated LLM.", rich_help_panel=_LLM),
    ] = False,
    max_temperature: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=2.0,
            show_default="1.0",
            help="Requests with a higher temperature bypass the cache.",
            rich_help_panel=_LLM,
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            show_default="an embedded Redis",
            help="redis://, rediss:// or unix:// URL, or embedded:DIRECTORY.",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            show_default="semcache",
            help="Prefix of the cache's keys in Redis.",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    max_distance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=2.0,
            show_default="0.05",
            help="Largest cosine distance at which another prompt's answer is served.",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    exact_ttl_s: Annotated[
        float | None,
        typer.Option(
            show_default="1 h",
            help="Seconds that an answer serves the very same prompt.",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    semantic_ttl_s: Annotated[
        float | None,
        typer.Option(
            show_default="4 h",
            help="Seconds that an answer serves other wordings.",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    local_answers: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default="0",
            help="Answers kept in each process's memory too.",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    corpus_version: Annotated[
        str | None,
        typer.Option(
            show_default="none",
            help="A new one makes all earlier answers unreachable.",
            rich_help_panel=_CACHE,
        ),
    ] = None,
    api_keys_file: Annotated[
        Path | None,
        typer.Option(
            show_default="everybody may do everything",
            help="Hashed API keys with their tenants (TOML or JSON).",
            rich_help_panel=_WHO,
        ),
    ] = None,
    hash_key: Annotated[
        bool,
        typer.Option(
            "--hash-key",
            help="Make an entry for the keys file, from a key on standard input or a new one, and "
            "exit.",
            rich_help_panel=_WHO,
        ),
    ] = False,
    hide_similarity: Annotated[
        bool,
        typer.Option(
            "--hide-similarity",
            help="Tell callers no similarities or distances.",
            rich_help_panel=_WHO,
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="SEMCACHE_CONFIG",
            show_default="none",
            help="TOML file with any of these options and more; the cache's go under \\[cache].",
        ),
    ] = None,
    drain_timeout_s: Annotated[
        float | None,
        typer.Option(
            show_default="30",
            help="Seconds that requests under way may take once the service is told to end.",
        ),
    ] = None,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write prompts into the log.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Serve the cache over HTTP: point an OpenAI or LangCache client at it.

    It speaks OpenAI's chat completions and embeddings (/v1), LangCache's REST (/v1/caches) and
    plain JSON (/semantic-cache/answer); a live page is at /, metrics are at /metrics. SIGTERM or
    Ctrl-C lets requests under way finish; a second one ends at once.

    Every option is also an environment variable: --max-distance is SEMCACHE_MAX_DISTANCE. Options
    come before variables, and those before the file.

    Examples:

      semcache serve --simulate-llm

      OPENAI_API_KEY=... semcache serve --upstream-url https://api.openai.com/v1

      semcache serve --config semcache.toml --workers 4 --redis-url redis://localhost:6379/0
    """
    given = {key: value for key, value in locals().items() if value is not None}
    for key in ("simulate_llm", "hide_similarity", "log_prompts"):
        if not given[key]:
            del given[key]
    for key in ("config", "hash_key", "debug"):
        given.pop(key, None)
    with tidy(debug):
        if hash_key:
            _show_entry()
            return
        from semcache_async.serve.logs import log_to_stderr
        from semcache_async.serve.settings import read_settings

        settings = read_settings(given, file=config)
        log_to_stderr()
        from semcache_async.serve.workers import serve

        run(lambda: serve(settings))


def _show_entry() -> None:
    from semcache_async.serve.keys import hash_key, new_key

    key = "" if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not key:
        key = new_key()
        typer.secho(f"The new key, shown this once: {key}", fg="green", err=True)
    typer.echo(f'[[keys]]\nhash = "{hash_key(key)}"\ntenant = "name it"\nadmin = false')
