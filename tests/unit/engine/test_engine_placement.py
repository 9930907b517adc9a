"""Which workers a service runs, decided from settings and a described machine: devices, replicas, threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from batching.errors import SettingError
from service import placement
from service.placement import Machine, devices, replicas, specs
from tests.http.fakes import card, settings

GB = 1 << 30
LAPTOP = Machine(cores=8, memory_bytes=16 * GB, gpus=0, apple=False)
MAC = Machine(cores=10, memory_bytes=32 * GB, gpus=0, apple=True)
SERVER = Machine(cores=64, memory_bytes=512 * GB, gpus=4, apple=False)


@pytest.mark.parametrize(
    ("machine", "asked", "found"),
    [
        (LAPTOP, "auto", ["cpu"]),
        (MAC, "auto", ["mps"]),
        (SERVER, "auto", ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        (SERVER, "cuda", ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        (SERVER, "cpu", ["cpu"]),
        (SERVER, "cuda:3,cuda:1", ["cuda:3", "cuda:1"]),
        (SERVER, "cpu,cuda,cuda:2", ["cpu", "cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        (MAC, "mps,cpu", ["mps", "cpu"]),
    ],
)
def test_devices(machine: Machine, asked: str, found: list[str]) -> None:
    """auto takes what is best here; a list is taken as it is, each device once."""
    assert devices(settings(device=asked), machine) == found


@pytest.mark.parametrize(("machine", "asked"), [(LAPTOP, "cuda"), (LAPTOP, "cuda:0"), (SERVER, "cuda:4"), (LAPTOP, "mps"), (SERVER, "mps")])
def test_a_device_that_is_not_there_is_refused(machine: Machine, asked: str) -> None:
    """The setting is named with what was asked for."""
    with pytest.raises(SettingError, match=f"RERANKER_DEVICE={asked}"):
        devices(settings(device=asked), machine)


@pytest.mark.parametrize(
    ("machine", "asked", "dtype"),
    [(LAPTOP, "auto", "float8"), (SERVER, "cuda,cpu", "float8"), (MAC, "auto", "int8"), (SERVER, "auto", "int8")],
)
def test_a_dtype_that_a_device_has_not_is_refused(machine: Machine, asked: str, dtype: str) -> None:
    """Before any worker is started, which would say so after seconds; where every device may have it, it passes."""
    with pytest.raises(SettingError, match=f"^RERANKER_DTYPE={dtype} .*, not .*; use auto$"):
        devices(settings(device=asked, dtype=dtype), machine)
    assert devices(settings(device="cpu", dtype="int8"), machine) == ["cpu"]
    assert devices(settings(device="auto", dtype="float8"), SERVER)


@pytest.mark.parametrize(
    ("machine", "device", "models", "weights", "count"),
    [
        (LAPTOP, "cpu", 1, 0.1 * GB, 8),
        (LAPTOP, "cpu", 2, 0.1 * GB, 4),
        (LAPTOP, "cpu", 1, 2 * GB, 2),
        (LAPTOP, "cpu", 1, 60 * GB, 1),
        (LAPTOP, "cpu", 20, 0.1 * GB, 1),
        (SERVER, "cuda:0", 1, 2 * GB, 1),
        (MAC, "mps", 1, 2 * GB, 1),
    ],
)
def test_replicas(machine: Machine, device: str, models: int, weights: float, count: int) -> None:
    """One on an accelerator; on a CPU one per core as far as memory goes, shared among the models, never none."""
    assert replicas(settings(), card(weights_bytes=int(weights)), machine, device, models) == count


def test_replicas_are_as_many_as_told() -> None:
    """The setting counts, on any device."""
    told = settings(replicas="3")
    assert replicas(told, card(), LAPTOP, "cpu", 1) == replicas(told, card(), SERVER, "cuda:0", 1) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 8, 50])
def test_threads_share_the_cores(count: int) -> None:
    """Workers on a CPU together have no more threads than cores, and each has one."""
    found = specs(settings(replicas=str(count)), card(), LAPTOP, 1)
    threads = {int(str(spec.options["threads"])) for spec in found}
    assert len(found) == count
    assert threads == {max(1, 8 // count)}
    assert all(spec.environment["OMP_NUM_THREADS"] == str(spec.options["threads"]) for spec in found)


def test_a_worker_is_told_what_the_settings_say() -> None:
    """Device, dtype, length, budget and pairs reach the worker; fp16 only a GPU."""
    told = settings(device="cuda:1,cpu", replicas="1", use_fp16="true", token_budget="5000", batch_size="32", max_length="100", threads="5")
    gpu, cpu = specs(told, card(max_length=128), SERVER, 1)
    assert (gpu.options["device"], gpu.options["dtype"]) == ("cuda:1", "float16")
    assert (cpu.options["device"], cpu.options["dtype"]) == ("cpu", "auto")
    for spec in (gpu, cpu):
        assert (spec.budget_tokens, spec.max_pairs, spec.options["max_length"], spec.options["threads"]) == (5000, 32, 100, 5)
        assert spec.factory == placement.FACTORY
    assert specs(settings(max_length="512"), card(max_length=128), LAPTOP, 1)[0].options["max_length"] == 128


def test_gpu_workers_are_told_of_graphs_and_compilers() -> None:
    """The settings reach GPU workers, and nothing of them a CPU worker."""
    gpu, cpu = specs(settings(device="cuda:0,cpu", cuda_graphs="false", compile_blocks="on", replicas="1"), card(), SERVER, 1)
    assert (gpu.options["graphs"], gpu.options["compiled"]) == ("off", "on")
    assert not {"graphs", "compiled"} & cpu.options.keys()


def test_the_machine_is_looked_at_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is a core and some memory; CUDA_VISIBLE_DEVICES counts GPUs as CUDA reads it."""
    machine = placement.look({})
    assert machine.cores >= 1
    assert machine.memory_bytes > 1 << 27
    for text, count in (("", 0), ("-1", 0), ("0", 1), ("1,3", 2), ("GPU-aa,GPU-bb", 2)):
        assert placement.look({"CUDA_VISIBLE_DEVICES": text}).gpus == count
