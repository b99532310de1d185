"""Requests of LLMs and their answers, over HTTP."""
