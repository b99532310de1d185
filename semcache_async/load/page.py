"""The report as one HTML page that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from semcache_async.load.charts import SOURCE_COLOURS, charts, focus_of
from semcache_async.load.drawing import COLOURS, INKS, svg
from semcache_async.load.figures import Group
from semcache_async.load.tables import Table, all_tables, machine_rows, milliseconds, warnings

__all__ = ["facts_section", "page", "style_sheet", "table_section"]

_STYLE = """
:root { color-scheme: light dark; --paper: #f8fafc; --card: #ffffff; LIGHT }
@media (prefers-color-scheme: dark) { :root { --paper: #0f172a; --card: #172033; DARK } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 6px; }
h2 { font-size: 17px; margin: 0 0 2px; }
p { margin: 0 0 12px; }
.faint, .note { color: var(--faint); }
.note { font-size: 13px; margin: 6px 0 0; }
.cards { display: grid; gap: 12px; margin: 24px 0;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.card, figure, section, .warning { background: var(--card); border: 1px solid var(--grid);
  border-radius: 12px; padding: 16px 18px; }
.card b { display: block; font-size: 27px; line-height: 1.2; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; }
.card small { font-size: 15px; font-weight: 500; color: var(--faint); letter-spacing: 0; }
.warning { border-left: 4px solid var(--c1); margin: 0 0 8px; padding: 10px 16px; }
.charts { display: grid; gap: 16px; margin: 0 0 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
figure { margin: 0; min-width: 0; }
figure svg { width: 100%; height: auto; display: block; margin-top: 8px; font-family: inherit; }
figcaption { font-weight: 650; }
section { margin: 0 0 16px; }
.bar { display: flex; height: 22px; border-radius: 6px; overflow: hidden; gap: 2px; }
.bar i { display: block; min-width: 2px; }
.mix { display: grid; grid-template-columns: minmax(90px, auto) 1fr; gap: 8px 14px;
  align-items: center; margin: 12px 0; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 6px; vertical-align: -1px; }
.scroll { overflow-x: auto; margin: 8px -4px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; font-weight: 550;
  font-size: 13px; color: var(--faint); border-bottom: 1px solid var(--grid); }
tr + tr td { border-top: 1px solid var(--grid); }
th:first-child, td:first-child { text-align: left; padding-left: 4px; }
td.words { white-space: normal; text-align: left; overflow-wrap: anywhere; }
@media (max-width: 600px) {
  main { padding: 24px 12px 40px; }
  h1 { font-size: 25px; }
  .cards { grid-template-columns: 1fr 1fr; }
  .card, figure, section { padding: 12px 12px; }
  .card b { font-size: 22px; }
  th, td { padding: 6px 7px; font-size: 13px; }
  .mix { grid-template-columns: 1fr; gap: 2px; }
  .mix .bar { margin-bottom: 8px; }
}
"""


def page(groups: Sequence[Group], when: str) -> str:
    """The whole page. ``when``: the date that it shows."""
    return "\n".join(_parts(groups, when)) + "\n"


def _parts(groups: Sequence[Group], when: str) -> Iterator[str]:
    focus = focus_of(groups)
    names = ", ".join(dict.fromkeys(group.name for group in groups))
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Load: {escape(names)}</title>"
    yield f"<style>{style_sheet()}</style></head><body><main>"
    yield f"<h1>Load: {escape(names)}</h1>"
    yield f'<p class="faint">{escape(_how(groups))} {escape(when)}</p>'
    yield '<div class="cards">'
    yield from _cards(focus)
    yield "</div>"
    for warning in warnings(groups):
        yield f'<p class="warning">{escape(warning)}</p>'
    yield from _mix(groups)
    yield '<div class="charts">'
    for number, chart in enumerate(charts(groups)):
        yield f"<figure><figcaption>{escape(chart.title)}</figcaption>"
        yield f"{svg(chart, f'g{number}')}"
        yield f'<p class="note">{escape(chart.note)}</p></figure>'
    yield "</div>"
    for table in all_tables(groups):
        yield from table_section(table)
    yield from facts_section("What was asked", _asked(groups))
    yield from facts_section("Measured on", machine_rows(groups))
    yield "</main></body></html>"


def style_sheet() -> str:
    """For light and dark, and for phones."""
    both = [
        "".join(f"--c{number}: {pair[theme]}; " for number, pair in enumerate(COLOURS))
        + "".join(f"--{name}: {pair[theme]}; " for name, pair in INKS.items())
        for theme in (0, 1)
    ]
    return _STYLE.replace("LIGHT", both[0]).replace("DARK", both[1])


def _how(groups: Sequence[Group]) -> str:
    first = groups[0].merged
    kind = (
        "Open loop: requests leave at their intended times, and latency counts from those."
        if groups[0].is_open
        else "Closed loop: each caller asks again once it is answered."
    )
    repeats = len(groups[0].results)
    each = f"{groups[0].results[0].duration_s:g} s after {first.warm_up_s:g} s of warm-up"
    return f"{kind} {each}, {repeats} {'run' if repeats == 1 else 'identical runs'} of each load."


def _cards(group: Group) -> Iterator[str]:
    answers = group.all
    hits = sum(
        len(times)
        for name, times in group.by_source.items()
        if name in ("exact", "semantic", "hit")
    )
    spans = [group.lookup_percentile(q) for q in (50.0, 99.0)]
    p50, p99 = (milliseconds(span and span.median) for span in spans)
    calls = group.calls_per_intent
    rows = [
        (f"{group.achieved.median:,.0f}", "/s", f"answered at {group.load}"),
        (p50, " ms", "p50 of lookups"),
        (p99, " ms", "p99 of lookups"),
        (f"{hits / max(1, len(answers)):.0%}", "", "answered by a stored answer"),
    ]
    if calls is not None:
        rows.append((f"{calls:.2f}", "", "LLM calls per intent"))
    for value, unit, what in rows:
        yield f'<div class="card"><b>{value}<small>{unit}</small></b>'
        yield f'<span class="faint">{escape(what)}</span></div>'


def _mix(groups: Sequence[Group]) -> Iterator[str]:
    """Shares of the sources, load by load."""
    yield '<section><h2>Answered from</h2><div class="mix">'
    for group in groups:
        yield f"<span>{escape(group.label if len(groups) > 1 else group.load)}</span>"
        yield '<div class="bar">'
        for name, times in group.by_source.items():
            share = len(times) / max(1, len(group.all))
            style = f"flex: {share:.5f} 0 0; background: var(--c{SOURCE_COLOURS[name]})"
            yield f'<i style="{style}" title="{name} {share:.1%}"></i>'
        yield "</div>"
    yield '</div><div class="legend">'
    for name in dict.fromkeys(name for group in groups for name in group.by_source):
        colour = f"var(--c{SOURCE_COLOURS[name]})"
        shares = [len(group.by_source.get(name, ())) / max(1, len(group.all)) for group in groups]
        low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
        shown = low if low == high else f"{low} to {high}"
        yield f'<span><i style="background: {colour}"></i>{name} {shown}</span>'
    yield "</div></section>"


def table_section(table: Table) -> Iterator[str]:
    """HTML of a table."""
    yield f'<section><h2>{escape(table.title)}</h2><div class="scroll"><table><thead><tr>'
    yield "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'
    yield "</section>"


def facts_section(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """HTML of names and what is to be said of them."""
    yield f"<section><h2>{escape(title)}</h2><table><tbody>"
    for name, value in rows:
        yield f'<tr><td class="faint">{escape(name)}</td>'
        yield f'<td class="words">{escape(value)}</td></tr>'
    yield "</tbody></table></section>"


def _asked(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """Each workload once, with the loads it was asked at; then the notes."""
    loads: dict[str, list[str]] = {}
    for group in groups:
        loads.setdefault(group.merged.workload, []).append(group.load)
    for workload, at in loads.items():
        yield ", ".join(dict.fromkeys(at)), workload
    for note in dict.fromkeys(note for group in groups for note in group.merged.notes):
        yield "note", note
