"""The programs, and how each is asked: a process of its own for each question."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

__all__ = ["MODEL", "PROGRAMS", "Asked", "Program"]

MODEL = "simulated"
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to a program."""

    url: str
    """Of the service, with ``/v1``."""
    prompt: str
    stream: bool
    home: Path
    """Its own: the program's settings, and its working directory."""
    bin: Path
    """Where its environment's programs are."""


Command = Callable[[Asked], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program."""

    package: str
    """Whose version is told."""
    environment: str
    """``.venv-ENVIRONMENT``, made by ``scripts/pinned-env``."""
    command: Command
    about: str
    """How it is asked."""
    setting: Mapping[str, str] = field(default_factory=dict)
    """More of its environment's variables."""
    service: Mapping[str, str] = field(default_factory=dict)
    """Options of the service, as variables; none: as it comes."""
    why: str = ""
    """Why what does not hit does not, or what else the figures need; told below the table."""
    streams: bool = True
    """Can it be told to?"""


def _script(name: str) -> Command:
    """A few lines that use a library as its documentation does."""

    def command(asked: Asked) -> Sequence[str]:
        stream = ["--stream"] if asked.stream else []
        script = str(HERE / "scripts" / f"{name}.py")
        return [str(asked.bin / "python"), script, asked.url, asked.prompt, *stream]

    return command


def _aider(asked: Asked) -> Sequence[str]:
    return [
        *(str(asked.bin / "aider"), "--model", f"openai/{MODEL}", "--openai-api-base", asked.url),
        *("--openai-api-key", "k", "--chat-mode", "ask", "--message", asked.prompt),
        *("--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings"),
        *("--analytics-disable", "--no-pretty", "--stream" if asked.stream else "--no-stream"),
    ]


def _gptme(asked: Asked) -> Sequence[str]:
    return [
        *(str(asked.bin / "gptme"), "--non-interactive", "--no-workspace", "--tools", "none"),
        *("--model", f"local/{MODEL}", "--stream" if asked.stream else "--no-stream"),
        asked.prompt,
    ]


def _llm(asked: Asked) -> Sequence[str]:
    models = [{"model_id": "served", "model_name": MODEL, "api_base": asked.url}]
    (asked.home / "extra-openai-models.yaml").write_text(json.dumps(models))
    stream = [] if asked.stream else ["--no-stream"]
    return [str(asked.bin / "llm"), "-m", "served", *stream, asked.prompt]


def _shell_gpt(asked: Asked) -> Sequence[str]:
    return [str(asked.bin / "sgpt"), "--model", MODEL, "--no-cache", asked.prompt]


def _promptfoo(asked: Asked) -> Sequence[str]:
    provider = {"id": f"openai:chat:{MODEL}", "config": {"apiBaseUrl": asked.url, "apiKey": "k"}}
    config = {
        "prompts": ["{{question}}"],
        "providers": [provider],
        "tests": [{"vars": {"question": asked.prompt}}],
    }
    (asked.home / "promptfooconfig.json").write_text(json.dumps(config))
    return [
        *("node", str(asked.bin / "promptfoo"), "eval", "--no-cache", "--no-progress-bar"),
        *("--no-table", "-c", str(asked.home / "promptfooconfig.json")),
        *("-o", str(asked.home / "said.json")),
    ]


_LANGGRAPH = Program(
    package="langgraph",
    environment="llamaindex",
    command=_script("langgraph_tools"),
    about="a ReAct agent with a tool",
    why="offers of tools bypass unless the operator says that the tools are pure.",
)
_MEM0 = Program(
    package="mem0ai",
    environment="mem0",
    command=_script("memory"),
    about="`Memory.add` with the service's LLM and embeddings",
    why=(
        "its prompt ends with `## Current Date` and the date, which reads as a question about"
        " the present."
    ),
    setting={"MEM0_TELEMETRY": "false"},
    streams=False,
)

PROGRAMS: dict[str, Program] = {
    "aider": Program(
        package="aider-chat", environment="aider", command=_aider, about="`aider --message`, asking"
    ),
    "gptme": Program(
        package="gptme",
        environment="gptme",
        command=_gptme,
        about="`gptme --non-interactive`",
        why=(
            "without a terminal it always offers a tool, `complete`, and asks on while the LLM does"
            " not call it: its questions bypass. What hits is its asking for titles, in a prompt of"
            " its own with the conversation in it. Its system messages hold the date and the"
            " working directory, which are scope."
        ),
    ),
    "llm": Program(package="llm", environment="llm", command=_llm, about="`llm -m served`"),
    "shell-gpt": Program(
        package="shell-gpt",
        environment="shell-gpt",
        command=_shell_gpt,
        about="`sgpt --no-cache`",
        setting={"USE_LITELLM": "false"},
    ),
    "llamaindex": Program(
        package="llama-index-core",
        environment="llamaindex",
        command=_script("llamaindex"),
        about="a query engine over two documents",
    ),
    "langgraph": Program(
        package="langgraph",
        environment="llamaindex",
        command=_script("langgraph_"),
        about="an agent without tools",
    ),
    "langgraph-tools": _LANGGRAPH,
    "langgraph-pure": replace(
        _LANGGRAPH,
        about="the same, with `--pure-tools look_up`",
        service={"SEMCACHE_PURE_TOOLS": "look_up"},
        why="with tools only the very same conversation hits, never a reworded one.",
    ),
    "haystack": Program(
        package="haystack-ai",
        environment="haystack",
        command=_script("haystack_"),
        about="a pipeline: documents, prompt builder, generator",
    ),
    "crewai": Program(
        package="crewai",
        environment="crewai",
        command=_script("crew"),
        about="a crew of one agent with one task",
        setting={"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true"},
    ),
    "mem0": _MEM0,
    "mem0-masked": replace(
        _MEM0,
        about="the same, with `--mask` of the lines with dates",
        service={"SEMCACHE_MASK": r"## (?:Observation|Current) Date\s+\S+"},
        why=(
            "it asks for what is worth remembering of a text, in a form that holds what it was told"
            " before as well: the same text told twice is another prompt."
        ),
    ),
    "promptfoo": Program(
        package="promptfoo",
        environment="promptfoo",
        command=_promptfoo,
        about="`promptfoo eval` of one prompt",
        setting={
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
            "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
        },
        streams=False,
    ),
    "litellm": Program(
        package="litellm",
        environment="litellm",
        command=_script("litellm_proxy"),
        about="its proxy between the `openai` package and the service",
        setting={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
}
