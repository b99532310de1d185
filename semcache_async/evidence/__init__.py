"""What traffic teaches of how far answers may reach: ``learner`` gathers it after callers have been
answered, ``judging`` labels it, ``verdicts`` is what stays with an entry, ``local`` keeps it for
stores that do not. The arithmetic is in ``tune``.
"""
