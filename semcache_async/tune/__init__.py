"""``semcache calibrate``: ``calibrate`` finds the distance for a file of labelled ``pairs``;
``curve`` draws it, ``toml`` writes it down, ``command`` offers it all.
"""
