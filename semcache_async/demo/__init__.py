"""``semcache demo``: ``running`` has the traffic and what is measured, ``live`` shows it meanwhile,
``traps`` asks what looks alike and is not the same, and ``report`` prints the tables."""
