"""Sizes, which are looked at before anything that looks at each character."""

from __future__ import annotations

__all__ = ["is_longer"]


def is_longer(text: str, most: int) -> bool:
    """Has ``text`` more than ``most`` bytes in UTF-8?"""
    if len(text) > most:
        return True
    return 4 * len(text) > most and len(text.encode(errors="surrogatepass")) > most
