"""`rerankd bench` and `rerankd plan`, end to end against a server that answers at once, and each with its refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from batching.calibrate import Point
from batching.errors import StartError
from service import measured
from service.commands import bench, plan
from service.measured import About, CurvePoint, Load, Measured

INFO = {
    "model_id": "m", "device": "cuda:0", "model_dtype": "bfloat16", "version": "9", "max_batch_tokens": 2048, "max_concurrent_batches": 2,
    "inference_threads": None, "other": {"ignored": 1}, "batch_curve": [{"tokens": 1024, "ms": 2.0, "tokens_per_s": 512000},
                                                                        {"tokens": 2048, "ms": 3.0, "tokens_per_s": 682666}],
}  # fmt: skip


@contextmanager
def answering(info: Any = INFO, ready: int = 200) -> Iterator[str]:
    """A server that answers /info, /health/ready and /rerank on a port of its own; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(200, info) if self.path == "/info" else self.answer(ready, {"detail": "loading"})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            results = [{"index": index} for index in range(len(asked["documents"]))]
            self.answer(200, {"results": results, "usage": {"total_tokens": 100}})

        def answer(self, status: int, content: Any) -> None:
            body = json.dumps(content, separators=(",", ":")).encode()
            self.wfile.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def run(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_bench_measures_a_running_service_and_plan_reads_it(tmp_path: Path) -> None:
    """Rates, latencies, curves; what is saved is what a plan is made from."""
    saved = tmp_path / "bench.json"
    with answering() as url:
        done = run(bench.command, "--url", url, "--callers", "1,3", "--seconds", "0.3", "--warmup", "0.1", "--save", str(saved))
    assert done.exit_code == 0, done.output
    assert "m on cuda:0, bfloat16, 2 workers" in done.output
    assert "● p50   ▲ p95   ■ p99" in done.output
    kept = measured.read(saved)
    assert [load.callers for load in kept.loads] == [1, 3]
    for load in kept.loads:
        assert load.errors == 0
        assert load.pairs_s > load.requests_s > 0
        assert load.tokens_s == pytest.approx(100 * load.requests_s)
    assert kept.about.points() == [Point(1024, 0.002), Point(2048, 0.003)]
    asked = ("--rate", "1000", "--documents", "20", "--tokens", "128", "--p99", "100")
    answer = run(plan.command, *asked, "--measured", str(saved), "--efficiency", "0.9", "--json")
    facts = json.loads(answer.output)
    assert (facts["unit"], facts["count"], facts["demand_tokens_s"]) == ("GPUs", 5, 2_560_000)
    shown = run(plan.command, *asked, "--measured", str(saved), "--efficiency", "0.9").output
    assert "5 GPUs" in shown
    assert "assumes" in shown


def test_plan_asks_a_running_service() -> None:
    """--url takes the curve of /info; cores are counted where the device is a CPU."""
    with answering({**INFO, "device": "cpu", "inference_threads": 4}) as url:
        done = run(plan.command, "--rate", "300", "--documents", "10", "--tokens", "100", "--p99", "500", "--url", url, "--json")
    assert (json.loads(done.output)["unit"], json.loads(done.output)["count"]) == ("cores", 4)


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    """Not ready, nobody there, no curve, no measurement, options that nobody takes: one line each, before any load."""
    with answering(ready=503) as url, pytest.raises(StartError, match="not ready: loading"):
        bench.command.main(["--url", url], standalone_mode=False)
    with answering({}) as url, pytest.raises(StartError, match="no measured curve"):
        plan.command.main(["--rate", "1", "--documents", "1", "--tokens", "9", "--p99", "9", "--url", url], standalone_mode=False)
    with answering() as url, pytest.raises(StartError, match="no number of workers keeps a p99 of 1 ms"):
        plan.command.main(["--rate", "1", "--documents", "1", "--tokens", "9", "--p99", "1", "--url", url], standalone_mode=False)
    with pytest.raises(StartError, match="not ready: no answer"):
        bench.command.main(["--url", "http://127.0.0.1:9"], standalone_mode=False)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(StartError, match="no measurement"):
        measured.read(tmp_path / "other.json")
    for arguments in (["--url", "http://127.0.0.1:9", "--model", "x"], ["--url", "https://x"], ["--callers", "0"], ["--callers", "1,x"]):
        assert run(bench.command, *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--save", "{base}/none/x.json"], "none' is no directory that we may write to"),
        (["--plot", "{base}/file/x.png"], "file' is no directory that we may write to"),
        (["--save", "{base}"], "is a directory"),
        (["--documents", "5", "2"], "--documents 5 2: the first number is the least"),
    ],
)
def test_what_can_not_be_done_is_told_before_the_measurement(arguments: list[str], words: str, short_path: Path) -> None:
    """A usage error, and nobody is asked anything: the address would be refused otherwise."""
    (short_path / "file").touch()
    done = run(bench.command, "--url", "http://127.0.0.1:9", *(argument.format(base=short_path) for argument in arguments))
    assert done.exit_code == 2
    assert words in " ".join(done.output.replace("│", "").split())


PLAN = {"--rate": "1", "--documents": "1", "--tokens": "9", "--p99": "9", "--spread": "1", "--efficiency": "1"}


@pytest.mark.parametrize("wrong", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", [*PLAN, "--seconds", "--warmup", "--words", "--sigma"])
def test_a_number_that_is_none_is_refused(option: str, wrong: str) -> None:
    """It is in no range, or would be in all: a usage error that names the option."""
    command, given = (plan.command, PLAN) if option in PLAN else (bench.command, {})
    told = run(command, *(text for pair in {**given, option: wrong}.items() for text in pair))
    assert told.exit_code == 2
    assert option in told.output


def test_a_plan_of_figures_takes_no_model_settings() -> None:
    """They are of a model that is measured here, and would be passed over."""
    asked = [text for pair in PLAN.items() for text in pair]
    for where in (["--url", "http://127.0.0.1:9"], ["--measured", "x.json"]):
        done = run(plan.command, *asked, *where, "--model", "starter", "--no-use-fp16")
        assert done.exit_code == 2
        assert "--model-name, --use-fp16: settings of a model that is measured here" in " ".join(done.output.replace("│", "").split())


def test_efficiency_is_the_best_rate_over_the_curve() -> None:
    """All workers at their best batch within the budget are 1; unknown where no curve or no rate is known."""
    load = Load(callers=1, requests_s=1, pairs_s=1, tokens_s=96_000, p50_ms=1, p95_ms=1, p99_ms=None, errors=0)
    about = About(max_batch_tokens=512, max_concurrent_batches=2, batch_curve=[CurvePoint(tokens=512, ms=8), CurvePoint(tokens=1024, ms=8)])
    kept = Measured(date="", machine="", url="", requests="", about=about, loads=[load])
    assert kept.efficiency() == pytest.approx(96_000 / (2 * 64_000))
    assert msgspec.structs.replace(kept, loads=[]).efficiency() is None
    assert msgspec.structs.replace(kept, about=About()).efficiency() is None
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Measured) == kept
