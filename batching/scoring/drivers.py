"""Why torch can't use CUDA here, in a line with its remedy: no driver, one too old for the build, or a build without CUDA."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

CPU_INSTEAD = "or set RERANKER_DEVICE=cpu"
_TOO_OLD = re.compile(r"driver on your system is too old \(found version (\d+)\)")


def why_no_cuda(build: str | None = torch.version.cuda, start: Callable[[], None] = torch.cuda.init) -> str | None:
    """Return what is wrong and what helps, or None where CUDA can be used. `build`: the CUDA version that torch was built for."""
    if build is None:
        return f"torch {torch.__version__} is built without CUDA; install a build that has it, {CPU_INSTEAD}"
    try:
        start()
    except RuntimeError as error:
        return _told(str(error), build)
    return None


def _told(error: str, build: str) -> str:
    too_old = _TOO_OLD.search(error)
    if too_old:
        major, minor = divmod(int(too_old[1]) // 10, 100)
        return (
            f"the NVIDIA driver is too old: it knows CUDA {major}.{minor} and torch was built for CUDA {build}; "
            f"update the driver, install a torch built for CUDA {major}.{minor} or older, {CPU_INSTEAD}"
        )
    if "no NVIDIA driver" in error:
        return f"there is no NVIDIA driver; install it, hand the GPU into the container (--device nvidia.com/gpu=all), {CPU_INSTEAD}"
    return f"CUDA does not start ({error.splitlines()[0] if error else 'no reason given'}); see nvidia-smi, {CPU_INSTEAD}"
