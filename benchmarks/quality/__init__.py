"""Which answers a cache serves, and how many of them are wrong: ``make bench-quality``.

``data`` brings questions with intents and pairs with labels; ``rows`` says who decides; ``run``
lets them; ``figures`` counts; ``report`` writes.
"""
