"""The C of `csrc` as Python finds it: which registers this installation and this processor have, and the functions with them.

Built when the package is installed, where there is a C compiler.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_float, c_int, c_long, c_void_p
from functools import cache
from importlib.util import find_spec

Functions = dict[str, Callable[..., None]]

LIBRARY = "batching.scoring.onednn._simd"
REGISTERS = ("avx512", "avx2")
"""What the library knows, best first: a file of `csrc` each, and the beginning of its functions' names."""
_ATTEND = (c_void_p, c_long, c_void_p, c_void_p, c_void_p, c_void_p, c_long, c_void_p, c_void_p, c_long, c_long, c_long, c_void_p, c_void_p)
_PRODUCT = (c_void_p, c_void_p, c_void_p, c_long, c_long, c_long, c_void_p)
_FINISH = (c_void_p, c_void_p, c_void_p, c_long, c_long, c_void_p)
_SIGNATURES = {
    "attend_bfloat16": _ATTEND,
    "attend_float32": _ATTEND,
    "sum_norm_bfloat16": (c_void_p, c_void_p, c_void_p, c_void_p, c_float, c_long, c_long, c_void_p),
    "sum_norm_float32": (c_void_p, c_void_p, c_void_p, c_void_p, c_float, c_long, c_long),
    "finish_norm": (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_float, c_long, c_long),
    "signed_float32": (c_void_p, c_void_p, c_long, c_long, c_void_p, c_void_p),
    "signed_bfloat16": (c_void_p, c_long, c_long, c_void_p, c_void_p, c_void_p),
    "finish_bfloat16": _FINISH,
    "finish_float32": _FINISH,
    "gelu_bfloat16": _FINISH,
    "gelu_float32": _FINISH,
    "gelu_bytes": (c_void_p, c_void_p, c_void_p, c_long, c_long, c_float, c_int, c_void_p, c_void_p),
}
_PACK = (c_void_p, c_long, c_long, c_void_p)
_PRODUCTS = {
    "pack_float32": _PACK,
    "product_float32": _PRODUCT,
    "product_gelu_float32": _PRODUCT,
    "pack_int16": _PACK,
    "product_bytes": (c_void_p, c_void_p, c_void_p, c_long, c_long, c_long, c_int, c_void_p, c_long, c_void_p),
}
MULTIPLYING = "avx2"
"""The registers that products are written for: with AVX-512 oneDNN's are as fast as the processor."""


def usable() -> tuple[str, ...]:
    """The `REGISTERS` that this installation and this processor have, best first."""
    library = _library()
    return tuple(name for name in REGISTERS if library is not None and _supported(library, name))


def missing() -> str | None:
    """Why this installation or this processor has none of these passes, in one line; None when they are there."""
    if usable():
        return None
    return "the package was installed without a C compiler" if _library() is None else "this processor has no AVX2"


def functions(registers: str) -> Functions:
    """All that there are with these registers. Raises RuntimeError where they are not `usable`."""
    library = _library()
    if library is None or registers not in usable():
        raise RuntimeError(missing() or f"this processor has no {registers}")
    found: Functions = {}
    for name, arguments in (_SIGNATURES | (_PRODUCTS if registers == MULTIPLYING else {})).items():
        function = getattr(library, f"{registers}_{name}")
        function.argtypes, function.restype = arguments, None
        found[name] = function
    return found


@cache
def _library() -> ctypes.CDLL | None:
    spec = find_spec(LIBRARY)
    return None if spec is None or spec.origin is None else ctypes.CDLL(spec.origin)


def _supported(library: ctypes.CDLL, registers: str) -> bool:
    """Whether the library was built with these, which it is for x86 alone, and the processor has them."""
    name = f"{registers}_supported"
    return hasattr(library, name) and bool(getattr(library, name)())
