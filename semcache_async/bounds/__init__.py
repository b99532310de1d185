"""What counted samples say of precision. Pure functions, in reading order: ``histogram`` keeps
samples by distance, ``intervals`` bounds shares, ``precision`` promises a distance, ``logistic``
fits a curve, ``choice`` sets a scope's distance, ``per_entry`` an entry's.
"""
