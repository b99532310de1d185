"""One whole comparison and its report: ``python -m benchmarks.bench``.

    __main__.py  the stages in turn, each bounded in time    sizes.py    how much of each
    lookups.py   lookups: callers, offered load              field.py    contenders, side by side
    intents.py   LLM calls where many ask the same           record.py   what a stage leaves behind
    parts.py     the cache against its own parts             quiet.py    what others use meanwhile
    http.py      proxies over HTTP (proxies.py)              figures.py  what the records say
    against.py   two checkouts of ours                       report/     what is made of all that

Built on ``semcache_async.load``, which writes its reports too.
"""
