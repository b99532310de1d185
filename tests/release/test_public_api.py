"""What others may use, as it was when somebody last looked at it."""

from __future__ import annotations

import subprocess
import sys
from difflib import ndiff
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("public_api.txt")


def test_the_public_names_are_those_that_were_agreed_upon() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "public-api"],
        capture_output=True,
        text=True,
        check=True,
    )
    was, now = KEPT.read_text().splitlines(), done.stdout.splitlines()
    changed = [line for line in ndiff(was, now) if line[0] in "+-"] if was != now else []
    assert not changed, (
        "The public names have changed. Lines that are gone (-) break programs: say so in the "
        f"changelog, then run `{sys.executable} scripts/public-api > tests/release/public_api.txt`:"
        "\n" + "\n".join(changed)
    )
