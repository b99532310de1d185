"""The ``semcache docs`` command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from semcache_async.cli.flags import Debug
from semcache_async.shell import one_line_errors

__all__ = ["docs"]

_HEADING = re.compile(r"^(#+) (.+)|^ *```", re.MULTILINE)
_MOST = 12


def docs(
    what: Annotated[
        str | None,
        typer.Argument(
            help="An error's name or another heading, PAGE, PAGE#HEADING, or a word to look for.",
            show_default="the names of the pages",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show what the documentation says of it.

    Examples:

      semcache docs StoreUnavailableError

      semcache docs redis#users

      semcache docs x-semcache-reason
    """
    with one_line_errors(debug):
        from semcache_async.errors import ConfigError

        home = _home()
        pages = {
            path.relative_to(home).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(home.glob("**/*.md"))
            if path.parent.name != "reference"
        }
        if what is None:
            for name, text in pages.items():
                typer.echo(f"{name:<28}{text.partition(chr(10))[0].removeprefix('# ')}")
            typer.echo(f"\nWith the files that they name: {home}")
            return
        parts = [part for name, text in pages.items() for part in _parts(name, text)]
        page, _, anchor = what.removeprefix("docs/").replace(".md", "").partition("#")
        named = [part for part in parts if part.is_named(page, anchor)]
        if named:
            _show("\n\n".join(part.text for part in named))
        elif places := [part for part in parts if what.lower() in part.own.lower()]:
            for part in places[:_MOST]:
                typer.echo(f"semcache docs {part.page}#{part.anchor}")
        else:
            raise ConfigError(f"No page has {what!r}; semcache docs lists them.")


class _Part(NamedTuple):
    page: str
    anchor: str
    """Its heading, as links name it."""
    own: str
    """What stands below it, down to the next heading."""
    text: str
    """That, and all below headings that belong to it."""
    level: int

    def is_named(self, page: str, anchor: str) -> bool:
        if anchor:
            return (self.page, self.anchor) == (page, anchor)
        if self.level == 1 and page in (self.page, self.page.rpartition("/")[2]):
            return True
        return self.anchor == _anchor(page)


def _home() -> Path:
    """Installed with the package, or beside it in a checkout."""
    from semcache_async.errors import ConfigError

    package = Path(__file__).parents[2]
    for home in (package / "docs", package.parent / "docs"):
        if (home / "troubleshooting.md").is_file():
            return home
    raise ConfigError("The documentation was not installed.")


def _parts(page: str, text: str) -> Iterator[_Part]:
    heads: list[tuple[int, int, str]] = []
    in_block = False
    for found in _HEADING.finditer(text):
        if found[1] is None:
            in_block = not in_block
        elif not in_block:
            heads.append((found.start(), len(found[1]), found[2]))
    ends = [*(start for start, _, _ in heads[1:]), len(text)]
    for number, (start, level, title) in enumerate(heads):
        higher = (where for where, depth, _ in heads[number + 1 :] if depth <= level)
        whole = text[start : next(higher, len(text))].strip()
        yield _Part(page, _anchor(title), text[start : ends[number]], whole, level)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _show(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    if console.is_terminal:
        console.print(Markdown(text, hyperlinks=False))
    else:
        typer.echo(text)
