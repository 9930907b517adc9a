"""Which workers a service runs: devices, replicas, threads, options. Decided from the settings and what the machine has; torch-free."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import msgspec

from batching import memory
from batching.cores import usable_cores
from batching.errors import SettingError
from batching.families.card import ModelCard
from batching.pool import WorkerSpec
from service.settings import Settings

FACTORY = "batching.scoring.factory:make"
"""Called in the worker's process with the options below; imports torch there."""
MEMORY_SHARE = 0.5
"""The part of the machine's memory that replicas of the weights may take when their number is left to us."""


class Machine(msgspec.Struct, frozen=True):
    """What placement needs to know of this machine."""

    cores: int
    memory_bytes: int
    gpus: int
    apple: bool


def look(environ: dict[str, str]) -> Machine:
    """This machine, without importing torch: usable cores, memory that a container may take, NVIDIA GPUs by their device files."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return Machine(usable_cores(), memory.host().total, _gpus(environ), apple)


def _gpus(environ: dict[str, str]) -> int:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() and one.strip() != "-1"])
    return len([path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)])


def devices(settings: Settings, machine: Machine) -> list[str]:
    """The devices that hold a copy of every model. Raises SettingError for one that the machine lacks, or that DTYPE is not for."""
    chosen: list[str] = []
    for asked in settings.device:
        if asked in ("auto", "cuda"):
            found = [f"cuda:{index}" for index in range(machine.gpus)]
            if asked == "cuda" and not found:
                raise SettingError("RERANKER_DEVICE=cuda: this machine shows no NVIDIA GPU (no /dev/nvidia0); use cpu or auto")
            chosen += found or (["mps"] if machine.apple else ["cpu"])
        elif asked.startswith("cuda:") and int(asked[5:]) >= machine.gpus:
            raise SettingError(f"RERANKER_DEVICE={asked}: this machine shows {machine.gpus} NVIDIA GPUs")
        elif asked == "mps" and not machine.apple:
            raise SettingError("RERANKER_DEVICE=mps: this is no Apple Silicon machine; use cpu or auto")
        else:
            chosen.append(asked)
    for device in chosen:
        _check_dtype(settings.dtype, device)
    return list(dict.fromkeys(chosen))


def _check_dtype(dtype: str, device: str) -> None:
    """What a device's kind tells; its worker looks at the rest, in seconds that torch takes."""
    if dtype == "float8" and not device.startswith("cuda"):
        raise SettingError(f"RERANKER_DTYPE=float8 needs an NVIDIA GPU of compute capability 8.9 or newer, not {device}; use auto")
    if dtype == "int8" and device != "cpu":
        raise SettingError(f"RERANKER_DTYPE=int8 is for the CPU, not {device}; use auto")


def replicas(settings: Settings, card: ModelCard, machine: Machine, device: str, models: int) -> int:
    """Workers on one device: one on an accelerator; on the CPU one per core, as single threads beat a team, while the weights fit."""
    if settings.replicas is not None:
        return settings.replicas
    if device != "cpu":
        return 1
    fit = int(machine.memory_bytes * MEMORY_SHARE / models / max(1, card.weights_bytes * 2))
    return max(1, min(machine.cores // models, fit))


def specs(settings: Settings, card: ModelCard, machine: Machine, models: int) -> list[WorkerSpec]:
    """The workers of one model."""
    found = []
    for device in devices(settings, machine):
        count = replicas(settings, card, machine, device, models)
        threads = settings.threads or (max(1, machine.cores // (count * models)) if device == "cpu" else 2)
        found += [_spec(settings, card, device, threads)] * count
    return found


def _spec(settings: Settings, card: ModelCard, device: str, threads: int) -> WorkerSpec:
    options = {"card": msgspec.to_builtins(card), "device": device, "dtype": settings.scoring_dtype(device), "threads": threads,
               "max_length": min(settings.max_length, card.max_length), "budget_tokens": settings.token_budget or 0}  # fmt: skip
    if device.startswith("cuda"):
        options |= {"compiled": settings.compile_blocks, "graphs": "auto" if settings.cuda_graphs else "off"}
    return WorkerSpec(
        factory=FACTORY,
        options=options,
        budget_tokens=settings.token_budget or 0,
        max_pairs=settings.batch_size,
        environment={
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",  # a spinning team starves whoever shares the cores
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
    )
