"""Makes ``golden_tiny.npz`` and ``golden_pairs.npz``: what sentence-transformers on torch says of
the tiny models.

It needs an environment with both: ``python -m tests.embed.golden``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from tests.embed.tiny import add_head, add_steps, write_model

HERE = Path(__file__).parent

TEXTS = [
    "how do i reset my password?",
    "card",
    "c++ and c#",
    "money money money 123456 where is my money!",
]
PAIRS = [(one, other) for one in TEXTS for other in TEXTS[:3]]
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
    from sentence_transformers import (  # type: ignore[import-not-found]
        CrossEncoder,
        SentenceTransformer,
    )

    golden: dict[str, np.ndarray] = {"texts": np.array(TEXTS)}
    for name in NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            directory = write(Path(scratch) / "model", name)
            _describe_tokenizer(directory, name)
            if not (directory / "modules.json").exists():
                add_steps(directory)
            model = SentenceTransformer(str(directory), device="cpu")
            golden[name] = np.stack([model.encode(text) for text in TEXTS])
    np.savez(HERE / "golden_tiny.npz", **golden)  # type: ignore[arg-type]
    scores: dict[str, np.ndarray] = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as scratch:
            directory = add_head(write_model(Path(scratch) / "model", kind=kind))
            types = ["token_type_ids"] if kind == "bert" else []
            _describe_tokenizer(
                directory, kind, model_input_names=["input_ids", *types, "attention_mask"]
            )
            scorer = CrossEncoder(str(directory), device="cpu")
            scores[kind] = np.array([scorer.predict([pair])[0] for pair in PAIRS])
    np.savez(HERE / "golden_pairs.npz", **scores)  # type: ignore[arg-type]


def _describe_tokenizer(directory: Path, name: str, **more: object) -> None:
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "[UNK]",
        "pad_token": "[UNK]" if name.startswith(("roberta", "mpnet")) else "[PAD]",
        "model_max_length": 128,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(said | more))


if __name__ == "__main__":
    main()
