"""The page of metrics as text, and the table that its numbers stand in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics import parser as open_parser
from prometheus_client.parser import text_string_to_metric_families

from batching.errors import LayoutMismatch
from service.dialects import errors, table
from service.exposition import Family, bucket_samples, bucket_series, labels, media_type, render, series
from service.failures import STATUSES
from service.metrics import Metrics
from service.metrics_table import NAMED_ROWS, OTHERS, MetricsTable
from service.schemas import RerankResult, Timings

STRANGE = 'a "quoted" \\ name\nof two lines'
OPEN = "application/openmetrics-text; version=1.0.0"


def _result(model: str, total_s: float = 0.0) -> RerankResult:
    zeros = np.zeros(3, np.float32)
    return RerankResult(
        id="", model=model, created=0, raw=zeros, scores=zeros.astype(np.float64), order=[0, 1, 2], truncated=np.array([True, False, True]),
        pair_tokens=30, timings=Timings(total_s=total_s),
    )  # fmt: skip


@pytest.mark.parametrize("accept", ["", OPEN])
def test_the_client_library_reads_the_page(accept: str) -> None:
    """Both formats, whatever a label's value holds; the numbers come back as they were."""
    metrics = Metrics(["m", STRANGE], ["common"], keys=["one"])
    for total_s in (0.0, 0.001, 0.0011, 99.0):
        metrics.answered(_result(STRANGE, total_s), repeats=2)
    metrics.key_seen("one", 1, 30)
    page, kind = metrics.page(accept)
    parse = open_parser.text_string_to_metric_families if accept else text_string_to_metric_families
    samples = {(one.name, *one.labels.values()): one.value for family in parse(page.decode()) for one in family.samples}
    assert kind.startswith("application/openmetrics-text" if accept else "text/plain")
    assert samples["rerankd_tokens_total", STRANGE] == 120.0
    assert samples["rerankd_truncations_total", STRANGE] == 8.0
    assert samples["rerankd_repeated_documents_total", STRANGE] == 8.0
    buckets = [samples["rerankd_request_duration_seconds_bucket", bound, STRANGE] for bound in ("0.001", "0.0025", "10.0", "+Inf")]
    assert buckets == [2.0, 3.0, 3.0, 4.0]
    assert samples["rerankd_request_duration_seconds_sum", STRANGE] == pytest.approx(99.0021)
    assert samples["rerankd_key_tokens_total", "one"] == 30.0


def test_numbers_that_are_none_are_written_as_prometheus_reads_them() -> None:
    """Infinite ages and the like."""
    page = render([Family("a", "b", "gauge", [("a", math.inf), (series("a", labels(c="d")), math.nan)])], media_type(""))
    assert page == b'# HELP a b\n# TYPE a gauge\na +Inf\na{c="d"} NaN\n'
    assert bucket_samples(bucket_series("a", "", [1.0]), [1, 3], 5.0)[-2:] == [("a_count", 3), ("a_sum", 5.0)]


def test_every_status_of_every_dialect_can_be_counted() -> None:
    """No answer there is finds no series."""
    metrics = Metrics(["m"], [dialect.name for dialect in table.DIALECTS])
    statuses = {*STATUSES, *errors.TEI_STATUSES}
    for dialect in ("", *(one.name for one in table.DIALECTS)):
        for status in statuses:
            metrics.begun()
            metrics.closed(dialect, status)
    page = metrics.page("")[0].decode()
    counted = [float(line.split()[-1]) for line in page.splitlines() if line.startswith("rerankd_requests_total")]
    assert set(counted) == {1.0}
    assert len(counted) == len(statuses) * (len(table.DIALECTS) + 1)
    assert "rerankd_requests_in_flight 0.0" in page


def test_every_process_is_summed_and_none_that_is_half_made(tmp_path: Path) -> None:
    """A file without its head is passed over until it is whole; one of other settings is refused, and never summed."""
    declared = ["a", "b"]
    first, second = (MetricsTable(declared, index, tmp_path) for index in range(2))
    first.plain[0], second.plain[0], second.plain[1] = 1.0, 2.0, 5.0
    (tmp_path / "counts.7").write_bytes(b"")
    (tmp_path / "counts.8").write_bytes(bytes(4096))
    MetricsTable(["a", "c"], 9, tmp_path).plain[0] = 100.0
    assert first.sums() == second.sums() == [3.0, 5.0]
    assert MetricsTable(declared, 1, tmp_path).plain.tolist() == [2.0, 5.0]
    with pytest.raises(LayoutMismatch):
        MetricsTable(declared, 9, tmp_path)


def test_names_are_counted_and_never_run_out(tmp_path: Path) -> None:
    """Each name by itself, over all processes; those that find no row go together."""
    first, second = (MetricsTable([], index, tmp_path, named=True) for index in range(2))
    for number in range(NAMED_ROWS + 5):
        first.add_named(f"key {number}", 1, 10)
    second.add_named("key 3", 2, 5)
    found = second.named()
    assert found["key 3"] == (3.0, 15.0)
    assert found[OTHERS] == (6.0, 60.0)
    assert len(found) == NAMED_ROWS
