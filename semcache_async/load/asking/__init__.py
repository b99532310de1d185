"""Asking, and what is put under load."""
