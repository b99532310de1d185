"""Models side by side: what each costs, and how far from float32 it is here.

    python -m benchmarks.models [NAME ...] [--texts 256] [--rounds 5]

The default model comes first, and the others' speed is in proportion to it, by alternating rounds
over the same questions (BANKING77's test set). A name is what ``semcache model pull`` takes.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from semcache_async.data import banking77
from semcache_async.embed import TextEmbedder, load_embedder
from semcache_async.embed.models.catalog import MINILM
from semcache_async.embed.runtimes.checks import parity
from semcache_async.embed.runtimes.cpu import cpu_features
from semcache_async.embed.runtimes.encoders import usable_cpus


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", metavar="NAME")
    options.add_argument("--texts", type=int, default=256)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    texts = [question.text for question in banking77("test")][:: 3080 // chosen.texts]
    names = [MINILM.repository, *chosen.names]
    plain = {name: load_embedder(name, backend="onnxruntime") for name in names}
    usual = {name: load_embedder(name) for name in names}
    embedders = {(name, e.backend): e for some in (plain, usual) for name, e in some.items()}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in embedders}
    for embedder in embedders.values():
        embedder.complete()
        embedder.embed(texts)
    for _ in range(chosen.rounds):
        for key, embedder in embedders.items():
            seconds[key].append(took(embedder, texts))
    seen = sorted(cpu_features() & {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"})
    print(f"{len(texts)} texts, {usable_cpus()} CPUs with {', '.join(seen)}")
    print("| model | runtime | texts/s | to the default's | a lone text, ms | cosine to float32 |")
    print("|---|---|---|---|---|---|")
    for (name, backend), embedder in embedders.items():
        base = np.array(seconds[MINILM.repository, backend])
        ratios = base / np.array(seconds[name, backend])
        near = parity(embedder.embed(texts), plain[name].embed(texts))
        lone = np.median([took(embedder, [text]) for text in texts[:50]])
        print(
            f"| {name} | {backend} | {len(texts) / np.median(seconds[name, backend]):,.0f} | "
            f"{np.median(ratios):.2f} ({ratios.min():.2f}-{ratios.max():.2f}) | {1000 * lone:.1f} "
            f"| {near:.5f} |"
        )


def took(embedder: TextEmbedder, texts: list[str]) -> float:
    started = time.perf_counter()
    embedder.embed(texts)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
