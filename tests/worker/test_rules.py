"""What rules make of records, and what is said of a file that makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semcache_async.errors import ConfigError
from semcache_async.worker.events import Event, EventError
from semcache_async.worker.rules import read_rules


def events(tmp_path: Path, text: str, record: dict[str, Any]) -> list[Event]:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path).events(record)


RECORD = {
    "op": "u",
    "snapshot": False,
    "count": 3,
    "after": {"id": 42, "name": "Größe {x}", "price": 1.5, "gone": None, "blank": " "},
    "source": {"table": "products"},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("product:{after.id}", "product:42"),
        ("{after.id}-{after.price}-{snapshot}", "42-1.5-false"),
        ("{after.name}", "Größe {x}"),
        ("all", "all"),
        ("{after.gone}", None),
        ("{after.blank}", None),
        ("{after.none}", None),
        ("{after}", None),
        ("{op.x}", None),
        ("{after.id}{before.id}", None),
    ],
)
def test_templates(tmp_path: Path, template: str, text: str | None) -> None:
    found = events(tmp_path, f'[[rules]]\ntags = ["{template}"]\n', RECORD)
    assert found == ([] if text is None else [Event(tags=(text,))])


@pytest.mark.parametrize(
    ("where", "met"),
    [
        ("{}", True),
        ('{op = "u"}', True),
        ('{op = "d"}', False),
        ('{op = ["c", "u"]}', True),
        ('{"source.table" = "products", op = "u"}', True),
        ('{"source.table" = "products", op = "c"}', False),
        ('{source.table = "products"}', True),
        ('{source.table.name = "products"}', False),
        ("{count = 3}", True),
        ('{count = "3"}', False),
        ("{snapshot = false}", True),
        ("{snapshot = 0}", False),
        ('{before = "x"}', False),
    ],
)
def test_where(tmp_path: Path, where: str, met: bool) -> None:
    found = events(tmp_path, f'[[rules]]\nwhere = {where}\nnamespaces = ["n"]\n', RECORD)
    assert found == ([Event(namespaces=("n",))] if met else [])


def test_every_rule_counts(tmp_path: Path) -> None:
    text = """
    [[rules]]
    tags = ["a", "{op}"]
    tenants = ["{after.none}"]
    [[rules]]
    tags = ["b"]
    tenant = "t-{after.id}"
    [[rules]]
    ids = ["c"]
    """
    assert events(tmp_path, text, RECORD) == [
        Event(tags=("a", "u"), tenants=()),
        Event(tags=("b",), tenant="t-42"),
        Event(ids=("c",)),
    ]


def test_tags_of_a_tenant_that_is_not_named_are_not_everybodys(tmp_path: Path) -> None:
    rule = '[[rules]]\ntags = ["a"]\ntenant = "{after.none}"\n'
    assert events(tmp_path, rule, RECORD) == []
    assert events(tmp_path, f'{rule}ids = ["b"]\n', RECORD) == [Event(ids=("b",))]


def test_a_value_that_cannot_be_named(tmp_path: Path) -> None:
    with pytest.raises(EventError, match="NUL"):
        events(tmp_path, '[[rules]]\ntags = ["{x}"]\n', {"x": "a\0b"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "missing required field `rules`"),
        ("rules = []", "there are no rules"),
        ("[[rules]", "at line 1"),
        ("[[rules]]", "names tags, namespaces, tenants or ids - at `\\$.rules\\[0\\]`"),
        ('[[rules]]\ntag = ["a"]', "unknown field `tag`"),
        ('[[rules]]\ntags = "a"', "Expected `array`"),
        ("[[rules]]\ntags = [1]", "Expected `str`"),
        ('[[rules]]\nids = ["a"]\ntenant = "b"', "tenant narrows tags"),
        ('[[rules]]\ntags = ["a{b"]', "a brace is open"),
        ('[[rules]]\ntags = ["a}"]', "a brace is open"),
        ('[[rules]]\ntags = ["{{a}}"]', "a brace is open"),
        ('[[rules]]\ntags = ["{}"]', "is no path"),
        ('[[rules]]\ntags = ["{a..b}"]', "is no path"),
        ('[[rules]]\ntags = ["{ a }"]', "is no path"),
        ('[[rules]]\ntags = [" "]', "a template is empty"),
        ('[[rules]]\ntags = ["a"]\nwhere = "x"', "Expected `object`"),
        ('[[rules]]\ntags = ["a"]\nwhere = {a = 1.5}', "where: a takes"),
        ('[[rules]]\ntags = ["a"]\nwhere = {a = []}', "where: a takes"),
        ('[[rules]]\ntags = ["a"]\nwhere = {"a." = 1}', "is no path"),
        ('rule = 1\n[[rules]]\ntags = ["a"]', "unknown field `rule`"),
    ],
)
def test_nonsense_is_said_at_the_start(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as raised:
        events(tmp_path, text, {})
    assert "rules.toml: " in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        read_rules(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"binary\.toml: .*utf-8"):
        read_rules(tmp_path / "binary.toml")
