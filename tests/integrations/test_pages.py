"""Every block of the pages on frameworks prints what stands below it."""

from __future__ import annotations

import re
import secrets
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from semcache_async import CacheConfig, store
from semcache_async.embed import TextEmbedder

PAGES = Path(__file__).parents[2] / "docs" / "integrations"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["langchain", "langgraph", "llama_index"])
def test_blocks(
    page: str, monkeypatch: pytest.MonkeyPatch, redis_url: str, text_embedder: TextEmbedder
) -> None:
    opened, defaults = store.open_redis, CacheConfig.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setattr(store, "open_redis", lambda _url, *rest: opened(redis_url, *rest))
    monkeypatch.setattr("semcache_async.embed.load_embedder", lambda *_, **__: text_embedder)
    printed = ""
    for language, text in BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8")):
        if language == "text":
            assert printed.splitlines() == text.splitlines()
            continue
        monkeypatch.setitem(defaults, "name", f"docs-{secrets.token_hex(4)}")
        output = StringIO()
        names: dict[str, Any] = {}
        with redirect_stdout(output):
            exec(text, names)
        printed = output.getvalue()
