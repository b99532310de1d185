"""The HTTP service: the OpenAI, LangCache and plain JSON protocols in front of one cache.

``chat``, ``langcache``, ``plain`` and ``page`` each speak one protocol and know nothing of each
other; what they share is in ``service``; ``app`` puts them together and ``run`` runs the result.
"""
