"""What `rerankd top` works out of two looks at /metrics."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from service.commands.top import show
from service.top import parse, quantile, view

PAGE = """\
# TYPE rerankd_requests_total counter
rerankd_requests_total{{dialect="plain",status="200"}} {ok}
rerankd_requests_total{{dialect="tei",status="200"}} {ok}
rerankd_requests_total{{dialect="tei",status="429"}} {full}
# TYPE rerankd_requests_in_flight gauge
rerankd_requests_in_flight 3
# TYPE rerankd_pairs_total counter
rerankd_pairs_total{{model="m"}} {pairs}
# TYPE rerankd_truncations_total counter
rerankd_truncations_total{{model="m"}} {cut}
# TYPE rerankd_request_documents histogram
rerankd_request_documents_sum{{model="m"}} {pairs}
# TYPE rerankd_request_duration_seconds histogram
rerankd_request_duration_seconds_bucket{{model="m",le="0.1"}} {fast}
rerankd_request_duration_seconds_bucket{{model="m",le="1.0"}} {ok}
rerankd_request_duration_seconds_bucket{{model="m",le="+Inf"}} {ok}
rerankd_request_duration_seconds_count{{model="m"}} {ok}
# TYPE rerankd_queue_limit_tokens gauge
rerankd_queue_limit_tokens{{model="m"}} 1000
# TYPE rerankd_queue_reserved_tokens gauge
rerankd_queue_reserved_tokens{{model="m"}} 950
# TYPE rerankd_worker_up gauge
rerankd_worker_up{{model="m",worker="10"}} 1
rerankd_worker_up{{model="m",worker="2"}} 1
# TYPE rerankd_worker_token_budget gauge
rerankd_worker_token_budget{{model="m",worker="2"}} 100
# TYPE rerankd_worker_batches_total counter
rerankd_worker_batches_total{{model="m",worker="2"}} {batches}
# TYPE rerankd_worker_tokens_total counter
rerankd_worker_tokens_total{{model="m",worker="2"}} {tokens}
# TYPE rerankd_worker_padded_tokens_total counter
rerankd_worker_padded_tokens_total{{model="m",worker="2"}} {padded}
# TYPE rerankd_worker_info gauge
rerankd_worker_info{{model="m",worker="2",device="cuda:0",dtype="bfloat16",backend="varlen",state="ready"}} 1
"""
ZERO = dict.fromkeys(("ok", "full", "pairs", "cut", "fast", "batches", "tokens", "padded"), 0)
LATER = {"ok": 20, "full": 5, "pairs": 200, "cut": 20, "fast": 10, "batches": 4, "tokens": 300, "padded": 330}


def test_rates_are_what_happened_between_the_looks() -> None:
    """Every figure comes from the difference, over the two seconds between."""
    found = view(parse(PAGE.format(**ZERO), 10.0), parse(PAGE.format(**LATER), 12.0))
    model = found.models[0]
    assert found.by_status == {"2xx": 20.0, "4xx": 0.0, "429": 2.5, "5xx": 0.0}
    assert (model.requests_per_s, model.pairs_per_s, model.truncated) == (10.0, 100.0, 0.1)
    assert model.stages["total"].p50 == pytest.approx(0.1)
    assert model.stages["total"].p99 == pytest.approx(0.1 + 0.9 * (19.8 - 10) / 10)
    assert [worker.slot for worker in model.workers] == ["2", "10"]
    first = model.workers[0]
    assert (first.device, first.state, first.tokens_per_s, first.fill) == ("cuda:0", "ready", 150.0, 0.75)
    assert first.padding == pytest.approx(0.1)


def test_a_restart_counts_from_zero() -> None:
    """A counter that went back is not a negative rate."""
    found = view(parse(PAGE.format(**{**LATER, "pairs": 900}), 0.0), parse(PAGE.format(**LATER), 1.0))
    assert found.models[0].pairs_per_s == 200.0


def test_nothing_observed_is_no_number() -> None:
    """Without requests there is no latency."""
    page = parse(PAGE.format(**ZERO), 0.0)
    assert all(math.isnan(one) for one in view(page, page).models[0].stages["total"])


@given(st.lists(st.integers(0, 100), min_size=2, max_size=8), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_its_bucket(counts: list[int], share: float) -> None:
    """However the observations lie, the quantile is within the bounds that enclose it."""
    cumulative = [float(sum(counts[: place + 1])) for place in range(len(counts))]
    bounds = [float(place + 1) for place in range(len(counts) - 1)] + [math.inf]
    found = quantile(share, bounds, cumulative)
    if not cumulative[-1]:
        assert math.isnan(found)
        return
    place = next(place for place, count in enumerate(cumulative) if count >= share * cumulative[-1])
    if place == len(bounds) - 1:
        assert found == bounds[-2]
    else:
        assert (bounds[place - 1] if place else 0.0) <= found <= bounds[place] + 1e-9


def test_the_screen_fits_a_terminal_of_eighty_columns() -> None:
    """Nothing is cut or wrapped there."""
    text = io.StringIO()
    page = parse(PAGE.format(**ZERO), 0.0), parse(PAGE.format(**LATER), 2.0)
    Console(file=text, width=80).print(show("http://127.0.0.1:8000", view(*page)))
    lines = text.getvalue().splitlines()
    assert "…" not in text.getvalue()
    assert any(line.split()[:3] == ["2", "cuda:0", "ready"] for line in lines)
    assert any("95% of 1000 tokens" in line for line in lines)
