"""What the LangCache REST API takes and gives."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from semcache_async.config import MAX_TTL_S
from semcache_async.serve.http.forms import Form, Text

__all__ = [
    "ConversationalSearchRequest",
    "ConversationalSearchResponse",
    "DeleteRequest",
    "DeleteResponse",
    "Hit",
    "SearchRequest",
    "SearchResponse",
    "SetRequest",
    "SetResponse",
    "Strategy",
]

Strategy: TypeAlias = Literal["exact", "semantic"]

_Carried = dict[Annotated[str, Meta(min_length=1)], str]
_Attributes = Annotated[
    _Carried,
    Meta(max_length=32, description="Opaque texts by name; a search finds what carries them all."),
]
_Similarity = Annotated[
    float, Meta(ge=0, le=1, description="1 - cosine distance / 2: 1 is the same, 0 the opposite.")
]


class SetRequest(Form, rename="camel"):
    """An answer to keep; it replaces the one that this prompt had with these attributes."""

    prompt: Text
    response: Text
    attributes: _Attributes | None = None
    ttl_millis: (
        Annotated[int, Meta(ge=1, le=int(MAX_TTL_S * 1_000), description="How long to keep it.")]
        | None
    ) = None


class SetResponse(msgspec.Struct, rename="camel"):
    """The id under which it is kept."""

    entry_id: str


class SearchRequest(Form, rename="camel"):
    """A prompt to look up. A threshold may tighten the service's own, never loosen it."""

    prompt: Text
    similarity_threshold: _Similarity | None = None
    search_strategies: (
        Annotated[
            list[Strategy],
            Meta(
                min_length=1,
                description="In order of priority; exact, then semantic, unless told.",
            ),
        ]
        | None
    ) = None
    attributes: _Attributes | None = None
    max_results: Annotated[int, Meta(ge=1, le=100, description="1 unless told.")] | None = None


class ConversationalSearchRequest(SearchRequest, rename="camel"):
    """A question to look up among the answers given in the same conversation.

    No LLM rewords the question here: the context and the question, a line each, are looked up as
    they are, and that is the ``actualPrompt`` to store a new answer under. Only an entry whose
    earlier lines are the same and whose last question is near enough is a hit.
    """

    context: (
        Annotated[list[Text], Meta(description="The questions so far, oldest first.")] | None
    ) = None


class DeleteRequest(Form, rename="camel"):
    """What the entries to delete carry at least; to delete all, flush."""

    attributes: Annotated[_Carried, Meta(min_length=1, max_length=32)]


class DeleteResponse(msgspec.Struct, rename="camel"):
    """How many entries there were."""

    deleted_entries_count: int


class Hit(msgspec.Struct, rename="camel"):
    """An entry that answers the prompt."""

    id: str
    prompt: str
    response: str
    attributes: dict[str, str]
    similarity: _Similarity
    search_strategy: Strategy


class SearchResponse(msgspec.Struct):
    """The hits by strategy, each strategy's best first; none is a miss."""

    data: list[Hit]


class ConversationalSearchResponse(msgspec.Struct, rename="camel"):
    """The hits, and the prompt that was looked up."""

    actual_prompt: str
    data: list[Hit]
