"""Random-weight checkpoints of real shapes: `python -m ops.bench.models` makes MiniLM-L6; name others to make them.

Nothing is downloaded. Weights come from a fixed seed; the head is scaled and shifted so that raw scores of the load have mean 0 and
standard deviation 2, or every document would score alike. They say nothing about ranking, only about speed and numerics.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ops.bench import options
from service.load.workload import Shape, make_requests

_SEED = 20


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model to make: its architecture, its config, its tokenizer's kind."""

    architecture: str
    config: dict[str, Any]
    wordpiece: bool

    @property
    def max_length(self) -> int:
        """Longest sequence; RoBERTa's tables hold two positions that no token has."""
        positions: int = self.config["max_position_embeddings"]
        return positions if self.wordpiece else positions - 2


def _bert(layers: int, hidden: int, heads: int, positions: int = 512) -> Blueprint:
    config = {
        "vocab_size": 30522, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * hidden, "max_position_embeddings": positions, "type_vocab_size": 2,
    }  # fmt: skip
    return Blueprint("BertForSequenceClassification", config, wordpiece=True)


def _xlm_roberta(layers: int, hidden: int, heads: int, positions: int) -> Blueprint:
    config = {
        "vocab_size": 250002, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * hidden, "max_position_embeddings": positions, "type_vocab_size": 1, "layer_norm_eps": 1e-5,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    return Blueprint("XLMRobertaForSequenceClassification", config, wordpiece=False)


BLUEPRINTS = {
    "minilm-l6": _bert(6, 384, 12),
    "minilm-l6-long": _bert(6, 384, 12, positions=8192),
    "bert-base": _bert(12, 768, 12),
    "bge-reranker-base": _xlm_roberta(12, 768, 12, 514),
    "bge-reranker-v2-m3": _xlm_roberta(24, 1024, 16, 8194),
}
"""Shapes as their hub configs state them: 23M, 109M, 278M and 568M parameters; the long one is MiniLM with room for 8,192 tokens, which no
published one has, to see on a CPU how cost grows with length."""


def cache_directory() -> Path:
    """Where models and environments are kept: $RERANKD_BENCH_DIR or the user's cache."""
    return Path(os.environ.get("RERANKD_BENCH_DIR") or Path.home() / ".cache" / "rerankd-bench").resolve()


def model_path(name: str, directory: Path | None = None) -> Path:
    """Return a checkpoint's directory, made first if it is not there yet. Raises KeyError for an unknown name."""
    return _made(BLUEPRINTS[name], (directory or cache_directory() / "models") / name)


def tiny(name: str, directory: Path | None = None) -> Path:
    """Return a checkpoint of the same kind with two small layers, for trying out what will run on the real one."""
    blueprint = BLUEPRINTS[name]
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    positions = {"max_position_embeddings": 160 if blueprint.wordpiece else 162}
    small_one = replace(blueprint, config={**blueprint.config, **small, **positions})
    return _made(small_one, (directory or cache_directory() / "models") / f"tiny-{name}")


def _made(blueprint: Blueprint, path: Path) -> Path:
    if (path / "complete").exists():
        return path
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _make(blueprint, partial)
    (partial / "complete").touch()
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
    return path


def _make(blueprint: Blueprint, path: Path) -> None:
    import torch
    import transformers
    from transformers import AutoTokenizer

    from ops.bench.tokenizers_made import write_wordpiece, write_xlm_roberta

    if blueprint.wordpiece:
        write_wordpiece(path, blueprint.max_length)
    else:
        write_xlm_roberta(path, blueprint.max_length)
    model_class = getattr(transformers, blueprint.architecture)
    torch.manual_seed(_SEED)
    model = model_class(model_class.config_class(num_labels=1, **blueprint.config)).eval()
    last = model.classifier if blueprint.wordpiece else model.classifier.out_proj
    with torch.inference_mode():
        raw = _raw_scores(model, AutoTokenizer.from_pretrained(path))
        factor = 2.0 / raw.std()
        last.bias.copy_((last.bias - raw.mean()) * factor)
        last.weight.mul_(factor)
    model.save_pretrained(path, safe_serialization=True)


def _raw_scores(model: Any, tokenizer: Any) -> Any:
    request = make_requests(1, Shape(median_words=30, documents=(24, 24)), seed=_SEED)[0]
    pairs = [[request.query, document] for document in request.documents]
    batch = tokenizer(pairs, padding=True, truncation=True, max_length=128, return_tensors="pt")
    return model(**batch).logits[:, 0].double()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("models", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BLUEPRINTS)}, or all; default minilm-l6")
    parser.add_argument("--directory", type=Path, help="where to keep them; default $RERANKD_BENCH_DIR/models or the user's cache")
    return parser.parse_args()


def main() -> int:
    """Make what is asked for and print where it lies."""
    args = parse()
    names = list(BLUEPRINTS) if args.names == ["all"] else args.names or ["minilm-l6"]
    unknown = set(names) - set(BLUEPRINTS)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BLUEPRINTS)}", file=sys.stderr)
        return 2
    for name in names:
        path = model_path(name, args.directory)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        print(f"{name}\t{size / 2**20:,.0f} MiB\t{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
