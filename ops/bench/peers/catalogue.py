"""Who is measured and how each is started: our service, other servers, and runtimes in process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ops.bench.serving import Command, free_port, rerankd_command

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender finds what it needs: environments, the checkpoint, its graph, the saved requests."""

    python: Callable[[str], Path]
    model: Path
    graph: Path
    requests: Path


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the comparison. `serve` starts a server; without it `script` is run in process with `options`."""

    name: str
    dtype: str
    role: Literal["ours", "server", "in process"]
    serve: Callable[[Place, str], Command] | None = None
    script: str = ""
    options: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What it is called on the command line."""
        return f"{self.name}/{self.dtype}"


def _rerankd(place: Place, dtype: str) -> Command:
    return rerankd_command(place.model, dtype=dtype)


def _fastapi(order: str) -> Callable[[Place, str], Command]:
    def command(place: Place, dtype: str) -> Command:
        port = free_port()
        environment = {"MODEL": str(place.model), "DTYPE": dtype, "PORT": str(port), "ORDER": order}
        return Command([str(place.python("common")), str(_HERE / "serve_fastapi.py")], port, "native", environment)

    return command


def _mosec(place: Place, dtype: str) -> Command:
    port = free_port()
    arguments = [str(place.python("common")), str(_HERE / "serve_mosec.py"), "--port", str(port), "--timeout", "120000"]
    return Command(arguments, port, "mosec", {"MODEL": str(place.model), "DTYPE": dtype})


def _infinity(place: Place, dtype: str) -> Command:
    port = free_port()
    program = place.python("infinity").with_name("infinity_emb")
    arguments = [
        str(program), "v2", "--model-id", str(place.model), "--served-model-name", "bench", "--engine", "torch", "--device", "cpu",
        "--dtype", dtype, "--batch-size", "32", "--no-bettertransformer", "--port", str(port), "--host", "127.0.0.1",
        "--log-level", "warning",
    ]  # fmt: skip
    return Command(arguments, port, "infinity", {"INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"})


_SMALL = ("--batch", "1", "4", "16", "--streams", "1", "2")
"""Batches of 32 and more lost to these in every run: padding."""
_BUDGETS = ("--batch", "1024", "2048")
"""Ours counts tokens, not pairs."""

CONTENDERS: tuple[Contender, ...] = (
    Contender("rerankd", "float32", "ours", _rerankd),
    Contender("FastAPI", "float32", "server", _fastapi("pool")),
    Contender("FastAPI serial", "float32", "server", _fastapi("serial")),
    Contender("mosec", "float32", "server", _mosec),
    Contender("Infinity", "float32", "server", _infinity),
    Contender("CrossEncoder", "float32", "in process", script="local_crossencoder.py", options=("--batch", "32")),
    Contender("onnxruntime", "float32", "in process", script="local_onnx.py", options=_SMALL),
    Contender("OpenVINO", "float32", "in process", script="local_openvino.py", options=_SMALL),
    Contender("rerankd in process", "float32", "in process", script="local_rerankd.py", options=_BUDGETS),
    Contender("rerankd", "bfloat16", "ours", _rerankd),
    Contender("FastAPI", "bfloat16", "server", _fastapi("pool")),
    Contender("FastAPI serial", "bfloat16", "server", _fastapi("serial")),
    Contender("CrossEncoder", "bfloat16", "in process", script="local_crossencoder.py", options=("--batch", "32")),
    Contender("OpenVINO", "bfloat16", "in process", script="local_openvino.py", options=_SMALL),
    Contender("rerankd in process", "bfloat16", "in process", script="local_rerankd.py", options=_BUDGETS),
    Contender("rerankd", "int8", "ours", _rerankd),
    Contender("onnxruntime", "int8", "in process", script="local_onnx.py", options=_SMALL),
    Contender("rerankd in process", "int8", "in process", script="local_rerankd.py", options=_BUDGETS),
)


def local_command(contender: Contender, place: Place, seconds: float) -> list[str]:
    """Return the command that measures an in-process contender."""
    python = sys.executable if contender.script == "local_rerankd.py" else str(place.python("common"))
    return [
        python, str(_HERE / contender.script), "--model", str(place.model), "--graph", str(place.graph),
        "--requests", str(place.requests), "--dtype", contender.dtype, "--seconds", f"{seconds:g}", *contender.options,
    ]  # fmt: skip
