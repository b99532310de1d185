"""From a request to what the cache is asked: prompt, scope, and whether it may help at all.

The text of the last user message is the prompt. Whatever else may change the answer is scope, the
conversation before it included, so that one conversation's state never answers for another's; and
system messages after it, which some clients send with every request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from semcache_async.errors import PromptError
from semcache_async.flow.recent import Recent
from semcache_async.serve.apis.api import Request
from semcache_async.serve.apis.chat.canonical import message_of
from semcache_async.serve.bypass import Bypass
from semcache_async.serve.completions.tools import PureTools
from semcache_async.serve.settings import Patterns, Settings
from semcache_async.serve.sizes import is_longer
from semcache_async.text.anew import asks_anew
from semcache_async.text.cacheable import is_personal, is_time_bound
from semcache_async.text.prompt import check_text
from semcache_async.types import Scope

__all__ = ["Plan", "Planner"]

_PLANS, _LONGEST_REMEMBERED, _SCOPES = 2_048, 4_096, 1_024
_PARTS = {
    "image_url": Bypass.IMAGES,
    "image": Bypass.IMAGES,
    "input_image": Bypass.IMAGES,
    "input_audio": Bypass.AUDIO,
    "file": Bypass.FILES,
    "input_file": Bypass.FILES,
    "document": Bypass.FILES,
    "container_upload": Bypass.FILES,
}
_ORDERS = ("system", "developer")
_TOOLS = ("tool", "function")
_ANY = "any"
_encode = msgspec.json.Encoder(order="sorted").encode


class Plan(msgspec.Struct, frozen=True, gc=False):
    """One request as the cache sees it."""

    request: Request
    prompt: str
    scope: Scope
    reason: Bypass | None
    """Why the cache must not help; None where it may."""
    neutral: bool = False
    """Is the answer shared with requests in other APIs?"""

    @property
    def crosses(self) -> bool:
        """May the answer be one of another API?"""
        return self.neutral or self.request.api.crosses


class Planner:
    """Plans requests by one service's settings, and remembers the plans of small ones: exact hits
    are mostly the same bytes again."""

    def __init__(self, settings: Settings, upstream_of: Callable[[str], str]) -> None:
        """``upstream_of``: the identity of the service that answers misses, by the model."""
        self._settings = settings
        self._pure = PureTools(settings.pure_tools)
        self._upstream_of = upstream_of
        self._is_personal = _wording(settings.bypass_personal, is_personal)
        self._is_time_bound = _wording(settings.bypass_time_bound, is_time_bound)
        self._asks_anew = _wording(settings.bypass_anew, asks_anew)
        self._mask = _masking(settings.mask)
        self._plans: Recent[tuple[bytes, *tuple[str, ...]], Plan] = Recent(_PLANS)
        self._scopes: Recent[tuple[object, ...], Scope] = Recent(_SCOPES)

    def recall(self, raw: bytes, *asker: str) -> Plan | None:
        """The plan of the very same request before; ``asker``: what else a plan depends on."""
        return self._plans.get((raw, *asker))

    def remember(self, plan: Plan, raw: bytes, *asker: str) -> None:
        """``plan`` is that of the request body ``raw``."""
        if len(raw) <= _LONGEST_REMEMBERED:
            self._plans.put((raw, *asker), plan)

    def plan(
        self,
        request: Request,
        tenant: str,
        locale: str,
        namespace: str = "",
        passed: str = "",
    ) -> Plan:
        """What to ask the cache. A prompt that must bypass it is not told to it: only whose it is,
        which its call counts for. ``passed``: what of the caller's headers and query goes upstream
        too, and may change the answer."""
        pure = self._pure.all_of(request.offered)
        prompt, at = "", _last(request.messages, beyond=_TOOLS if pure else ())
        reason = self._reason(request, at, pure)
        if reason is None:
            prompt = self._mask(_prompt(request.messages[at].get("content") or ""))
            reason = self._reason_in(prompt)
        if reason is not None:
            return Plan(request, "-", Scope(tenant=tenant), reason)
        told = {"passed": passed}
        if pure or request.forced is not None or request.echo:
            # Arguments are for a program, and an echo repeats the prompt: for one wording alone.
            told["exact"] = _digest(prompt.encode(errors="surrogatepass"))
        messages = [message_of(message, self._mask) for message in request.messages]
        neutral = None
        if self._settings.across_apis and "exact" not in told and all(map(_is_plain, messages)):
            neutral = request.api.neutral(request)
        whose = (tenant, locale, namespace)
        scope = self._scope(request, messages, at, whose, told, neutral)
        return Plan(request, prompt, scope, None, neutral is not None)

    def _reason(self, request: Request, at: int, pure: bool) -> Bypass | None:
        settings = self._settings
        if request.reason is not None:
            return request.reason
        if settings.bypass_tools and request.offered and request.forced is None and not pure:
            return Bypass.TOOLS
        if settings.bypass_n and request.several:
            return Bypass.N
        if settings.bypass_images:
            if request.speech:
                return Bypass.AUDIO
            for message in request.messages:
                content = message.get("content")
                if isinstance(content, list):
                    kinds = (part["type"] for part in content if part["type"] != "text")
                    if (kind := next(kinds, None)) is not None:
                        return _PARTS.get(kind, Bypass.CONTENT)
        role = request.messages[at]["role"]
        if role != "user":
            return Bypass.TOOL_MESSAGE if role in _TOOLS else Bypass.LAST_MESSAGE
        temperature = request.temperature
        if temperature is not None and not temperature <= settings.max_temperature:
            return Bypass.TEMPERATURE
        return None

    def _reason_in(self, prompt: str) -> Bypass | None:
        if is_longer(prompt, self._settings.cache.max_prompt_bytes):
            return Bypass.TOO_LONG
        try:
            check_text("prompt", prompt)
        except PromptError:
            return Bypass.PROMPT
        if self._is_personal(prompt):
            return Bypass.PERSONAL
        if self._is_time_bound(prompt):
            return Bypass.TIME_BOUND
        return Bypass.ANEW if self._asks_anew(prompt) else None

    def _scope(
        self,
        request: Request,
        messages: Sequence[dict[str, Any]],
        at: int,
        whose: tuple[str, str, str],
        told: Mapping[str, str],
        neutral: Mapping[str, Any] | None,
    ) -> Scope:
        """``messages`` in one form, and ``at`` where the one with the prompt is; ``whose``: tenant,
        locale and namespace; ``told``: what is scope besides; ``neutral``: the parameters that tell
        requests of any API apart."""
        first = 0
        while messages[first]["role"] in _ORDERS:
            first += 1
        system = _encode(messages[:first]).decode() if first else ""
        api = request.api.name if neutral is None else _ANY
        parameters = {"api": api, "upstream": self._upstream_of(request.model)}
        parameters |= {name: text for name, text in told.items() if text}
        if at > first:
            parameters["turns"] = _digest(_encode(messages[first:at]))
        if more := _without_text(messages[at]):
            parameters["last"] = _encode(more).decode()
        if messages[at + 1 :]:
            parameters["after"] = _encode(messages[at + 1 :]).decode()
        asked = request.api.parameters(request.body) if neutral is None else neutral.items()
        for name, value in asked:
            parameters[f"body.{name}"] = _encode(value).decode()
        temperature = request.temperature
        known = (*whose, request.model, system, temperature, *parameters.items())
        scope = self._scopes.get(known)
        if scope is None:
            tenant, locale, namespace = whose
            scope = Scope(
                tenant=tenant,
                locale=locale,
                namespace=namespace,
                model=request.model,
                system_prompt=system,
                temperature=temperature,
                parameters=parameters,
                corpus_version=self._settings.corpus_version,
            )
            self._scopes.put(known, scope)
        return scope


def _last(messages: Sequence[Mapping[str, Any]], beyond: Sequence[str]) -> int:
    """Where the last message is that gives no orders; the very last where all do. The results of
    tools, in roles of ``beyond``, belong to the question before them, as the calls do."""
    at = len(messages) - 1
    while at > 0 and messages[at]["role"] in _ORDERS:
        at -= 1
    if at >= 0 and messages[at]["role"] in beyond:
        asked = (n for n in range(at, -1, -1) if messages[n]["role"] == "user")
        at = next(asked, at)
    return at


def _is_plain(message: Mapping[str, Any]) -> bool:
    """Nothing but text?"""
    return message.keys() <= {"role", "content"} and isinstance(message.get("content"), str)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=32).hexdigest()


def _prompt(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _without_text(message: dict[str, Any]) -> dict[str, Any]:
    """What the last message has besides its role and text: ``name``, parts that are no text, ..."""
    content = message.get("content")
    more = {name: value for name, value in message.items() if name not in ("role", "content")}
    if isinstance(content, list):
        more["content"] = [
            {
                name: value
                for name, value in part.items()
                if part["type"] != "text" or name != "text"
            }
            for part in content
        ]
    return more


def _masking(patterns: Sequence[str]) -> Callable[[str], str]:
    compiled = [re.compile(pattern) for pattern in patterns]

    def mask(text: str) -> str:
        for pattern in compiled:
            text = pattern.sub("", text)
        return text

    return mask


def _wording(patterns: Patterns, built_in: Callable[[str], bool]) -> Callable[[str], bool]:
    if patterns is True:
        return built_in
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns or ()]
    return lambda prompt: any(pattern.search(prompt) for pattern in compiled)
