"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["DOCS", "PAGES", "ROOT", "SERVICE", "Block", "blocks_of", "code_of", "stand_in"]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])
SERVICE = "http://localhost:8080"
"""Where pages have ``semcache serve``."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    mark: str
    """What the comment in front of it says."""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs_here(self) -> bool:
        return not self.mark.startswith(("not run:", "run by:"))


def blocks_of(page: Path, below: str = "") -> list[Block]:
    """In order; ``below``: those of the section whose heading begins so."""
    text = page.read_text(encoding="utf-8")
    start = text.index(f"\n## {below}") if below else 0
    end = text.find("\n## ", start + 1) if below else -1
    return list(_blocks(page, text, start, end if end > 0 else len(text)))


def code_of(page: Path, below: str = "", language: str = "python") -> list[str]:
    """The texts of the blocks in one language."""
    return [block.text for block in blocks_of(page, below) if block.language == language]


def _blocks(page: Path, text: str, start: int, end: int) -> Iterator[Block]:
    fence = re.compile(
        r"(?:^ *<!-- (.+?) -->\n+)?^( *)```(\w*)[^\n]*\n(.*?)^\2```$", re.DOTALL | re.MULTILINE
    )
    for match in fence.finditer(text, start, end):
        yield Block(
            page,
            text.count("\n", 0, match.start(3)) + 1,
            match[3],
            re.sub(f"^{match[2]}", "", match[4], flags=re.MULTILINE),
            match[1] or "",
        )


def stand_in(monkeypatch: pytest.MonkeyPatch, redis_url: str, embedder: Any) -> None:
    """Whatever Redis a page opens is this one, and whatever model."""
    from semcache_async import store

    opened = store.open_redis
    monkeypatch.setattr(store, "open_redis", lambda _url, *rest: opened(redis_url, *rest))
    monkeypatch.setattr("semcache_async.embed.load_embedder", lambda *_, **__: embedder)
