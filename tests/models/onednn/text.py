"""Running text for ranking: questions, and paragraphs of the Python reference that every interpreter carries (`help` shows them)."""

from __future__ import annotations

import random
import re
from pydoc_data.topics import topics

QUESTIONS = (
    "how do I catch an exception and clean up afterwards?",
    "what does the with statement do",
    "difference between a list and a tuple",
    "how are keyword arguments passed to a function",
    "when is a name looked up in the enclosing scope",
    "how to define a coroutine",
    "what happens when a module is imported",
    "operator precedence of boolean and comparison",
    "string formatting with a width and precision",
    "how do class decorators work",
    "what is the order of evaluation of expressions",
    "customizing attribute access on instances",
    "when are objects garbage collected",
    "writing a generator that receives values",
    "integer division and modulo of negative numbers",
    "how does slicing with a step work",
)


def paragraphs() -> list[str]:
    """All paragraphs of 15 to 250 words, in a fixed order."""
    found = (" ".join(part.split()) for text in topics.values() for part in re.split(r"\n\s*\n", text))
    return sorted({part for part in found if 15 <= len(part.split()) <= 250})


def requests(count: int, documents: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Questions with random paragraphs to rank."""
    rng, pool = random.Random(seed), paragraphs()
    return [(QUESTIONS[number % len(QUESTIONS)], rng.sample(pool, documents)) for number in range(count)]
