"""The documents: what they point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from semcache_async.store.migration import MIGRATING_COMMANDS
from semcache_async.store.wire.replies import NEEDED_COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def anchors(page: Path) -> set[str]:
    """Of its headings, as they are linked to."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def allowed(rules: str) -> set[str]:
    """The commands that a user may call."""
    return set(re.findall(r"\+([a-z._|]+)", rules))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_source_tour_names_what_there_is() -> None:
    """Modules, and folders with the files that are named beside them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Source tour")[2]
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", text, flags=re.MULTILINE)
    for where, what in rows:
        names = [name.removeprefix("semcache_async/") for name in re.findall(r"`(.+?)`", where)]
        homes = [
            ROOT / name if name == "benchmarks/" else ROOT / "semcache_async" / name
            for name in names
        ]
        assert all(home.exists() for home in homes), where
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", what):
            assert any((home / name).exists() for home in homes), (where, name)


def test_the_redis_user_of_the_docs_may_do_what_the_store_does() -> None:
    line, _, worker, admin = (ROOT / "docs" / "redis" / "users.acl").read_text().splitlines()
    text = (ROOT / "docs" / "usage.md").read_text()
    block = text[text.index("ACL SETUSER semcache-worker") :]
    assert allowed(block[: block.index("```")]) == allowed(worker)
    named = allowed(line)
    assert named == {command.lower() for command in NEEDED_COMMANDS}
    assert allowed(admin) >= named | {command.lower() for command in MIGRATING_COMMANDS}


def test_every_defence_names_a_test_that_there_is() -> None:
    text = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 30
    for path, function in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, (path, function)
