"""One whole comparison and its report: ``python -m benchmarks.bench``.

    __main__.py  the stages in turn, each bounded in time    sizes.py    how much of each
    lookups.py   lookups: callers, offered load              field.py    contenders, side by side
    intents.py   LLM calls where many ask the same           record.py   what a stage leaves behind
    parts.py     the cache against its own parts             quiet.py    what others use meanwhile
    http.py      proxies over HTTP
    report.py    HTML, Markdown, PNG                         figures.py  what the records say
    tables.py, tables_more.py, cells.py, charts.py, aims.py, words.py      its pieces

A stage's figures are kept in ``benchmarks/out/bench/STAGE.json``, so a failing one costs no other,
and ``--render`` draws what is there again. Built on ``semcache_async.load``.
"""
