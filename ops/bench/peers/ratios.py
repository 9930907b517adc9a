"""What the comparison comes down to: our rate over each rival's, and over the best of each group that a goal names. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rates = Mapping[tuple[str, str], float]
"""Pairs a second by (name, dtype)."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Ours in `dtype` must be at least `factor` times the best of `rivals`."""

    text: str
    dtype: str
    factor: float
    rivals: tuple[tuple[str, str], ...]
    ours: str = "rerankd"


_SERVERS = tuple((name, "float32") for name in ("Infinity", "mosec", "FastAPI", "FastAPI serial"))
_FAST_BF16 = (("FastAPI", "bfloat16"), ("FastAPI serial", "bfloat16"))

GOALS = (
    Goal("float32 / best float32 server", "float32", 3.5, _SERVERS),
    Goal("float32 / onnxruntime float32 in process", "float32", 1.0, (("onnxruntime", "float32"),)),
    Goal("float32 / OpenVINO float32 in process", "float32", 1.0, (("OpenVINO", "float32"),)),
    Goal("float32 / CrossEncoder.predict float32 in process", "float32", 1.4, (("CrossEncoder", "float32"),)),
    Goal("bfloat16 / FastAPI bfloat16", "bfloat16", 5.0, _FAST_BF16),
    Goal("bfloat16 / OpenVINO bfloat16 in process", "bfloat16", 1.0, (("OpenVINO", "bfloat16"),)),
    Goal("int8 / best float32 server", "int8", 9.0, _SERVERS),
    Goal("int8 / onnxruntime int8 in process", "int8", 1.35, (("onnxruntime", "int8"),)),
    *(
        Goal(f"{dtype} in process / {rival} {dtype} in process", dtype, factor, ((rival, dtype),), ours="rerankd in process")
        for rival, dtype, factor in (
            ("onnxruntime", "float32", 1.0),
            ("OpenVINO", "float32", 1.0),
            ("OpenVINO", "bfloat16", 1.0),
            ("onnxruntime", "int8", 1.35),
        )
    ),
)


def ratio_rows(rates: Rates, goals: Sequence[Goal] = GOALS) -> list[dict[str, Any]]:
    """Return one row per goal for which both sides were measured; the rival is named, so that nobody has to guess the best."""
    rows = []
    for goal in goals:
        ours = rates.get((goal.ours, goal.dtype))
        found = {rival: rates[rival] for rival in goal.rivals if rates.get(rival)}
        if ours is None or not found:
            continue
        best = max(found, key=lambda rival: found[rival])
        ratio = ours / found[best]
        met = "yes" if ratio >= goal.factor else "no"
        rows.append({"ratio": goal.text, "rival": f"{best[0]} {best[1]}", "measured": ratio, "goal": goal.factor, "met": met})
    return rows
