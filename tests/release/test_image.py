"""deploy/Dockerfile: no engine builds it here, so each of its parts is tried by itself."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from typer.testing import CliRunner

from semcache_async.cli.commands import app
from semcache_async.serve.operations.routes import ROUTES
from semcache_async.serve.settings import read_settings, strange_variables
from tests.release.tools import ROOT, tool

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
TEXT = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
STEPS = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and line[0] != "#"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def of(kind: str) -> list[str]:
    return [rest for step, rest in STEPS if step == kind]


def environment() -> dict[str, str]:
    """Of the image that is made, which is the last."""
    return dict(re.findall(r"(\w+)=(\S+)", of("ENV")[-1]))


def test_hadolint_has_nothing_to_say() -> None:
    tool("hadolint", DOCKERFILE)


def test_what_is_copied_is_there_and_is_all_that_the_build_needs() -> None:
    copied = {
        name.rstrip("/")
        for line in of("COPY")
        if not line.startswith("--from")
        for name in line.split()[:-1]
    }
    assert all((ROOT / name).exists() for name in copied)
    rules = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().split()
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    needed = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "semcache_async"}
    assert needed <= copied
    assert any(fnmatch.fnmatch("a/__pycache__", rule) for rule in rules[1:])


def test_its_extras_commands_and_variables_are_ours() -> None:
    (extras,) = [line.partition("=")[2] for line in of("ARG") if line.startswith("EXTRAS")]
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    assert json.loads(of("ENTRYPOINT")[-1]) == [*PROJECT["scripts"]]
    (build,) = [line for line in of("RUN") if "semcache model" in line]
    for command in (json.loads(of("CMD")[-1]), re.findall(r"semcache (model \w+)", build)):
        arguments = " ".join(command).split()
        assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
    env = environment()
    settings = read_settings({}, env=env | {"SEMCACHE_SIMULATE_LLM": "1"})
    assert (settings.host, [str(settings.port)]) == ("0.0.0.0", of("EXPOSE"))
    assert not list(strange_variables(env))
    assert of("VOLUME") == [env["SEMCACHE_CACHE_DIR"]]


def test_it_runs_as_nobody_in_particular() -> None:
    (user,) = of("USER")
    number, _, group = user.partition(":")
    assert int(number) == int(group) > 0
    assert f"--uid {number} " in " ".join(of("RUN"))


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A service that answers so to the path that a process lives by."""
    (alive,) = {route.path for route in ROUTES if route.path == "/healthz"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == alive else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_tells_well_from_ill(status: int, healthy: bool) -> None:
    check = json.loads(of("HEALTHCHECK")[0].partition("CMD")[2])
    assert check[0] == "python"
    with answering(status) as port:
        done = subprocess.run(
            [sys.executable, *check[1:]],
            env={"SEMCACHE_PORT": str(port)},
            capture_output=True,
            check=False,
        )
    assert (done.returncode == 0) == healthy


def test_compose_builds_it_and_keeps_its_models() -> None:
    where = ROOT / "docs" / "compose"
    services = yaml.safe_load((where / "compose.yaml").read_text())["services"]
    ours = {name: one for name, one in services.items() if "build" in one}
    assert ours.keys() == {"semcache", "purger"}
    for service in ours.values():
        context = (where / service["build"]["context"]).resolve()
        assert (context, context / service["build"]["dockerfile"]) == (ROOT, DOCKERFILE)
        assert service["read_only"]
        assert Path(service["tmpfs"]) == Path("/tmp")
        assert service["healthcheck"], "each listens elsewhere, or is asked for something else"
        arguments = service.get("command", json.loads(of("CMD")[-1]))
        assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
    assert f"model:{environment()['SEMCACHE_CACHE_DIR']}" in ours["semcache"]["volumes"]
