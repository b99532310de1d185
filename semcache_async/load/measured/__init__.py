"""Figures: of one run, of many, and of the machine."""
