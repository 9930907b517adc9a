"""Run a module with these products: `python -m tests.models.onednn.imitated ops.bench.real_text --dtypes int8`."""

from __future__ import annotations

import runpy
import sys

import tests.models.onednn.imitated.products  # noqa: F401  puts itself in place

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
