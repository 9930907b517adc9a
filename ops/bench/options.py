"""Command-line options that several measurements share: the shape of the requests and how they are printed."""

from __future__ import annotations

import argparse
from pathlib import Path

from service.load.workload import MIXED, Shape


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Make the parser of `python -m ops.bench.<module>`, with --json and --seed."""
    made = argparse.ArgumentParser(
        prog=f"python -m ops.bench.{module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    made.add_argument("--seed", type=int, default=0, help="of texts, lengths and arrivals")
    return made


def add_shape(to: argparse.ArgumentParser, default: Shape = MIXED) -> None:
    """Declare the options that shape the requests."""
    group = to.add_argument_group("requests", f"Default: {default.describe()}.")
    group.add_argument("--documents", type=int, nargs=2, metavar=("LOW", "HIGH"), default=default.documents, help="documents per request")
    group.add_argument("--median-words", type=float, default=default.median_words, help="median words of a document")
    group.add_argument("--sigma", type=float, default=default.sigma, help="log-normal sigma; 0: all documents the same length")
    group.add_argument("--query-words", type=int, nargs=2, metavar=("LOW", "HIGH"), default=default.query_words, help="words of a query")
    group.add_argument("--high-words", type=int, default=default.high_words, help="longest document in words")
    group.add_argument("--distinct", type=int, default=500, help="different requests, sent round and round")
    group.add_argument("--tokenizer", type=Path, help="tokenizer.json to count tokens with; without it the answers' usage is believed")


def shape_of(args: argparse.Namespace) -> Shape:
    """Read the options of `add_shape` back."""
    return Shape(
        median_words=args.median_words,
        sigma=args.sigma,
        high_words=args.high_words,
        query_words=(args.query_words[0], args.query_words[1]),
        documents=(args.documents[0], args.documents[1]),
    )
