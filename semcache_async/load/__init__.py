"""Load: requests at their intended times, or from so many callers, and what became of them.

    workload.py   the demo's own traffic, also what benchmarks ask
    texts.py      whose questions           arrivals.py   when they come: a trace, or a process
    driver.py     open and closed loop      tally.py      what is counted meanwhile, and where
    targets.py    the cache in process      http.py       an OpenAI-compatible URL
    histogram.py  HdrHistogram              result.py     one run's figures; merging them
    runs.py       sweeps and repeats        machine.py    what it ran on
    figures.py    medians, spread, noise    cells.py      them, as tables show them
    charts.py     kinds of chart            drawing.py    from charts to pictures
    report.py     the one report writer     summary.py    what ``semcache load`` reports
    command.py    ``semcache load``         live.py       progress and tables on the terminal
    extra.py      errors; what only this package needs

Needs the extra ``load``. ``Target`` is the seam: whatever answers a prompt can be put under load.
"""
