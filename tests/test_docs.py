"""The documents: what they point at is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import semcache_async
from semcache_async import errors
from semcache_async.serve.bypass import Bypass, Unkept
from semcache_async.serve.metrics.exposition import expose
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.stats import Stats
from semcache_async.store.migration import MIGRATING_COMMANDS
from semcache_async.store.wire.replies import NEEDED_COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Of its headings, as they are linked to."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def allowed(rules: str) -> set[str]:
    """The commands that a user may call."""
    return set(re.findall(r"\+([a-z._|]+)", rules))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), link


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
    text = (ROOT / "docs" / "purging.md").read_text()
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


# -- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as ``make docs`` builds it."""
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--site-dir",
        str(out),
    ]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return out


def test_a_search_for_an_exception_finds_what_to_do(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    sections = {part["location"]: part for part in found["docs"]}
    for name in errors.__all__:
        section = sections[f"troubleshooting/#{name.lower()}"]
        assert section["title"] == name
        assert len(section["text"].split()) > 15, name
        assert section["boost"] > sections["decisions/"].get("boost", 1), name


def test_the_site_asks_nobody(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        asked = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?(https?:)?//", text)
        assert not asked, page


def test_the_reference_has_every_public_name(site: Path) -> None:
    told = "".join(page.read_text("utf-8") for page in site.glob("reference/*/index.html"))
    for name in semcache_async.__all__:
        assert re.search(rf'id="semcache_async\.[\w.]*\b{name}"', told), name


def test_each_symptom_is_in_the_docs() -> None:
    """What a header, a counter or an error's code says is wrong."""
    serve = ROOT / "semcache_async" / "serve"
    code = "".join(path.read_text(encoding="utf-8") for path in serve.rglob("*.py"))
    trouble = re.compile(
        r"not_stored_|_(errors|failed|refused|skips|lost|timeouts|up|keeps|trouble)$|"
        r"^(shed|unopened|unready|unclaimed|takeovers|erased|guarded|doubted|elsewhere|hint)$"
    )
    symptoms = {
        *Bypass,
        *Unkept,
        *filter(trouble.search, Stats.__dataclass_fields__),
        *re.findall(r'code="(\w+)"', code),
    }
    for word in sorted(symptoms):
        assert f"`{word}`" in TROUBLE or f"`stats().{word}`" in TROUBLE, word


def test_metrics_in_the_docs_are_those_that_there_are() -> None:
    told = set(re.findall(r"^# TYPE (\w+)", expose(Metrics()).decode(), re.MULTILINE))
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    text = re.sub(r"`\.\.\.(_\w+)`", r"semcache_not_stored\1", text)
    assert told - set(re.findall(r"\bsemcache_\w+", text)) == set()
    named = re.findall(r"\bsemcache_(?!async|worker_)\w+", text + TROUBLE)
    assert {name for name in named if name not in told} == set()
