"""How far an answer may reach, from labelled pairs. Pure functions, in reading order: ``histogram``
keeps samples by distance, ``intervals`` bounds shares, ``precision`` promises a distance;
``calibrate`` does it for a file (``pairs``, ``curve``, ``toml``), which ``command`` offers.
"""
