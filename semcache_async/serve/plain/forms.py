"""What the plain answer takes and gives."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from semcache_async.serve.http.forms import Form, Text
from semcache_async.types import Source

__all__ = ["AnswerRequest", "AnswerResponse", "FeedbackRequest", "Milliseconds", "Near"]

_Tag = Annotated[Text, Meta(max_length=256)]
_Distance = Annotated[float, Meta(ge=0, le=2, description="Cosine distance: 0 is the same.")]
_Similarity = Annotated[float, Meta(ge=-1, le=1, description="1 - distance.")]


class AnswerRequest(Form):
    """A prompt to answer from the cache, or else by the LLM. ``max_distance`` and
    ``similarity_threshold`` may tighten the service's own threshold, never loosen it."""

    prompt: Text
    tenant: Annotated[str, Meta(description="An admin may name another than its own.")] | None = (
        None
    )
    locale: str | None = None
    model: (
        Annotated[
            str,
            Meta(pattern=r"\S", description="Needed unless the upstream has but one model."),
        ]
        | None
    ) = None
    system: Annotated[str, Meta(description="A system prompt.")] | None = None
    max_distance: _Distance | None = None
    similarity_threshold: _Similarity | None = None
    tags: (
        Annotated[list[_Tag], Meta(max_length=32, description="To invalidate the answer by.")]
        | None
    ) = None
    explain: Annotated[bool, Meta(description="Tell the nearest prompts too.")] | None = None


class FeedbackRequest(Form):
    """What somebody says of the answer that an entry has, for a prompt. It holds at once: a right
    one is served to that prompt from now on, a wrong one to nobody at its distance."""

    prompt: Text
    entry_id: Text
    right: bool


class Near(msgspec.Struct):
    """A stored prompt near the one asked."""

    prompt: str
    distance: float
    similarity: float
    entry_id: str
    accepted: Annotated[bool, Meta(description="Its answer may be served.")]
    refused_by: Annotated[
        str | None,
        Meta(
            description="What speaks against it: distance; of its words erased, the name of a "
            "guard, or doubt; of what was learnt verdict or unverified; verifier, which scored it "
            "too low, or unscored, where it could not."
        ),
    ]


class Milliseconds(msgspec.Struct):
    """What the request waited for."""

    exact: float
    embed: float
    search: float
    generate: float
    total: float


class AnswerResponse(msgspec.Struct, omit_defaults=True):
    """The answer, and what the cache had to do with it. What says how near another's prompt was
    is null for an answer that was generated now, and where the service hides it."""

    answer: str | None
    source: Source
    hit: bool
    similarity: float | None
    distance: float | None
    matched_prompt: str | None
    entry_id: str | None
    age_s: float
    timings_ms: Milliseconds
    max_distance: Annotated[
        float, Meta(description="The threshold of this request; negative: nothing by meaning.")
    ]
    reason: Annotated[str, Meta(description="Why the cache was bypassed.")] | None = None
    neighbours: list[Near] | None = None
