"""LangChain's chat models, answered by the cache::

    model = SemcacheChatModel(ChatOpenAI(model="..."), cache)

or by LangChain's own way of caching, which shares no calls under way::

    model = ChatOpenAI(model="...", cache=SemcacheCache(cache))

The text of the last human message is matched by meaning. All else is scope, by hash: the model with
its parameters, the messages before and after that one, and what it holds beside its last text.
``.agents`` has the middleware for agents.
"""

from semcache_async.integrations.langchain.cache import SemcacheCache
from semcache_async.integrations.langchain.model import SemcacheChatModel

__all__ = ["SemcacheCache", "SemcacheChatModel"]
