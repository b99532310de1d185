"""What may be served, learnt from evidence. Pure functions, in reading order: ``histogram`` keeps
samples by distance, ``intervals`` bounds shares, ``precision`` promises a distance, ``logistic``
fits curves, ``choice`` picks a scope's distance, ``per_entry`` an entry's; ``calibrate`` does it
once for a file of labelled pairs (``pairs``, ``curve``, ``toml``), which ``command`` offers.
"""
