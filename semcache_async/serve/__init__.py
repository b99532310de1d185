"""The HTTP service: the OpenAI, LangCache and plain JSON protocols in front of one cache.

Rooms, each of which may use those before it: ``metrics``, ``upstream`` (the LLM's own service),
``completions`` (one chat completion through the cache), ``http`` (what holds for any protocol),
then the protocols ``openai``, ``langcache``, ``plain``, ``page`` and ``operations``, which know
nothing of each other, ``openapi``, which describes them, and ``process``, which runs the whole.
``service`` is what all handlers share, ``protocol`` what a protocol is, ``errors`` what may go
wrong; ``app`` puts them together.
"""
