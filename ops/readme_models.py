"""The README's table of models: what there is, what memory its weights take, and how near its scores come, by BENCHMARKS.md's parity."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

BENCHMARKS = Path(__file__).parent.parent / "BENCHMARKS.md"


class Line(NamedTuple):
    """One row: models, millions of parameters of the smallest and the largest, and the cases of the parity table that stand for them."""

    models: str
    smallest: float
    largest: float
    cases: str
    """A pattern."""


LINES = (
    Line("bge-reranker-base, -large, -v2-m3, bce-reranker, mmarco; any XLM-RoBERTa pair encoder", 118, 568, "xlm-roberta.*"),
    Line(
        "ms-marco-MiniLM, -TinyBERT, -electra; BERT, Electra, ALBERT, DistilBERT pairs",
        4.4,
        110,
        "(bert|electra|albert|distilbert).*",
    ),
    Line("gte-reranker-modernbert, granite-reranker-r2, ettin-reranker; ModernBERT", 17, 1000, "(modernbert|ettin).*"),
    Line("gte-multilingual-reranker-base, jina-reranker-v2-base-multilingual", 278, 306, "(gte|jina-v2).*"),
    Line("mxbai-rerank-xsmall, -base, -large v1 (DeBERTa, pads)", 71, 435, "deberta.*"),
    Line("Qwen3-Reranker 0.6B, 4B, 8B; their classifier forms", 596, 8190, "qwen3.*"),
    Line("bge-reranker-v2-gemma, -minicpm-layerwise", 2510, 2720, "(bge.gemma|layerwise).*"),
    Line("mxbai-rerank-base, -large v2; zerank-1, -2; ctxl-rerank-v2", 494, 6000, "(mxbai|zerank|ctxl).*"),
    Line("llama-nemotron-rerank-1b-v2, -vl-1b-v2", 1240, 1700, "nemotron.*"),
    Line("jina-reranker-v3 (reads up to 125 documents at once, more in blocks)", 600, 600, "jina-v3.*"),
    Line("embedding models (sentence-transformers) by cosine; ColBERT by MaxSim", 22, 8000, "(bi-encoder|colbert).*"),
)


class Parity(NamedTuple):
    """A case's largest difference to its reference, and what part of the spread of its scores that is."""

    difference: float
    share: float


def parity(text: str) -> dict[tuple[str, str], Parity]:
    """Read the tables of BENCHMARKS.md's section on parity: by case and dtype."""
    section = text.partition("\n## Parity\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([a-z]\w*)[^|]* \| [^|]+ \| [\d.]+ \| ([\d.e+-]+) \| ([\d.e+-]+) \|", section, re.MULTILINE)
    return {(name, dtype): Parity(float(difference), float(share)) for name, dtype, difference, share in rows}


def table(text: str) -> str:
    """Return the Markdown table for BENCHMARKS.md's text. Raises ValueError for a line that no parity case stands for."""
    found = parity(text)
    lines = [
        "| models | weights in float32 | in bfloat16 | float32 differs by | bfloat16, of the spread |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_row(line, found) for line in LINES)]) + "\n"


def _row(line: Line, found: dict[tuple[str, str], Parity]) -> str:
    worst = {}
    for dtype in ("float32", "bfloat16"):
        its = [one for (name, asked), one in found.items() if asked == dtype and re.fullmatch(line.cases, name)]
        if not its:
            raise ValueError(f"no parity case of {dtype} for {line.models}")
        worst[dtype] = Parity(max(one.difference for one in its), max(one.share for one in its))
    sizes = (_size(line, 4), _size(line, 2))
    return f"| {line.models} | {sizes[0]} | {sizes[1]} | {worst['float32'].difference:.0e} | {worst['bfloat16'].share * 100:.1f} % |"


def _size(line: Line, each: int) -> str:
    low, high = (_bytes(millions * each * 1e6) for millions in (line.smallest, line.largest))
    return low if low == high else f"{low} to {high}"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
