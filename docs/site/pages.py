"""The site's navigation, where it depends on which pages there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Patterns in ``nav`` become the pages that they match, and none that are not there."""
    docs = Path(config.docs_dir)

    def spread(items: list[Any]) -> list[Any]:
        pages: list[Any] = []
        for item in items:
            if isinstance(item, str):
                pages += sorted(str(page.relative_to(docs)) for page in docs.glob(item))
            else:
                pages.append(
                    {name: spread(at) if isinstance(at, list) else at for name, at in item.items()}
                )
        return pages

    config.nav = spread(config.nav)
    return config
