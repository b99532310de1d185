"""What of the site depends on other files: which pages there are, and the README's numbers. And
what a search finds first: who searches for a message wants to know what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NUMBERS = "<!-- numbers"
README = Path(__file__).parents[2] / "README.md"
BOOST = {"troubleshooting.md": 4.0, "decisions.md": 0.3}


def on_config(config: Any) -> Any:
    """Patterns in ``nav`` become the pages that they match, and none that are not there."""
    docs = Path(config.docs_dir)

    def spread(items: list[Any]) -> list[Any]:
        pages: list[Any] = []
        for item in items:
            if isinstance(item, str):
                pages += sorted(str(page.relative_to(docs)) for page in docs.glob(item))
            else:
                pages.append({k: spread(v) if isinstance(v, list) else v for k, v in item.items()})
        return pages

    config.nav = spread(config.nav)
    return config


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The table of numbers, where a page asks for it."""
    where = page.file.src_uri
    boost = BOOST.get(where, 0.3 if where.startswith("reference/") else 1.0)
    page.meta["search"] = {"boost": boost}
    place = f"{NUMBERS} of README -->"
    if place not in markdown:
        return markdown
    table = README.read_text(encoding="utf-8").partition(NUMBERS)[2].partition("\n")[2]
    return markdown.replace(place, table.partition("<!--")[0])
