"""Makes ``golden_tiny.npz``: what sentence-transformers on torch says of the tiny models.

It needs an environment with both: ``python -m tests.embed.golden``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from tests.embed.tiny import add_steps, write_model

HERE = Path(__file__).parent

TEXTS = [
    "how do i reset my password?",
    "card",
    "c++ and c#",
    "money money money 123456 where is my money!",
]
KINDS = ("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "modernbert")
POOLINGS = ("mean", "cls", "last")


def write(directory: Path, name: str) -> Path:
    """The model of that name among the golden ones."""
    kind, _, rest = name.rpartition("-")
    if rest in POOLINGS:
        return write_model(directory, kind=kind, pooling=rest)
    add_steps(write_model(directory), "activation.Tanh", "linear.Identity", prompt="query: ")
    return directory


NAMES = [*(f"{kind}-mean" for kind in KINDS), "bert-cls", "bert-last", "bert-steps"]


def main() -> None:
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

    golden: dict[str, np.ndarray] = {"texts": np.array(TEXTS)}
    for name in NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            directory = write(Path(scratch) / "model", name)
            tokenizer = {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "unk_token": "[UNK]",
                "pad_token": "[UNK]" if name.startswith(("roberta", "mpnet")) else "[PAD]",
                "model_max_length": 128,
            }
            (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
            if not (directory / "modules.json").exists():
                add_steps(directory)
            model = SentenceTransformer(str(directory), device="cpu")
            golden[name] = np.stack([model.encode(text) for text in TEXTS])
    np.savez(HERE / "golden_tiny.npz", **golden)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
