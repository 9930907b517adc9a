"""The CUDA varlen kernels give what dense float64 attention over each sequence alone gives, within half precision's rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from batching.scoring.attention import choose_kernel
from batching.scoring.layout import lay_out, owners
from batching.scoring.options import AttentionChoice
from batching.scoring.segments import How, Kernel, Segments, shared_arrays, shared_rows
from batching.types import Pack
from tests.models import dense
from tests.models.packs import pack_of

pytestmark = pytest.mark.gpu

LENGTHS = (5, 1, 90, 5, 140, 9, 257, 2)
BOUND = {torch.bfloat16: 2e-2, torch.float16: 3e-3, torch.float32: 1e-5}


def kernel_of(choice: AttentionChoice, dtype: torch.dtype, device: torch.device) -> Kernel:
    if choice == "flash":
        pytest.importorskip("flash_attn", reason="flash-attn is not installed")
    return choose_kernel(device, dtype, choice)


def check(
    kernel: Kernel, pack: Pack, prefix_of: np.ndarray | None, key_heads: int, how: How, dtype: torch.dtype, device: torch.device
) -> None:
    layout = lay_out(pack, np.arange(len(pack.lengths), dtype=np.int32), prefix_of, sort=kernel.sorts, offset=0, token_types=False)
    generator = torch.Generator().manual_seed(7)
    q, k, v = (torch.randn(len(pack.ids), heads, 64, generator=generator).to(dtype) for heads in (8, key_heads, key_heads))
    arrays = shared_arrays(layout)
    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    segments = Segments(
        kernel=kernel, layout=layout, offsets=torch.from_numpy(layout.offsets).to(device), shared=shared_rows(layout, arrays, tensors)
    )
    # as after a rotary embedding: heads first, seen as tokens first
    strided = (part.to(device).transpose(0, 1).contiguous().transpose(0, 1) for part in (q, k, v))
    got = kernel(*strided, segments, how).float().cpu()
    reach = -1 if how.window is None else how.window - 1
    prefixes = layout.prefixes.tolist() if layout.prefixes is not None else [-1] * len(layout.lengths)
    for place, prefix in enumerate(prefixes):
        a, b = layout.offsets[place : place + 2].tolist()
        rows = list(range(*layout.offsets[prefix : prefix + 2].tolist())) if prefix >= 0 else []
        rows += range(a, b)
        want, _ = dense.attend(q[a:b].float(), k[rows].float(), v[rows].float(), scale=how.scale, causal=how.causal, window=(reach, reach))
        torch.testing.assert_close(got[a:b], want, atol=BOUND[dtype], rtol=0)


@pytest.mark.parametrize(
    ("choice", "dtype"),
    [
        ("varlen", torch.bfloat16), ("varlen", torch.float16), ("flash", torch.bfloat16), ("flash", torch.float16),
        ("runs", torch.bfloat16), ("runs", torch.float32),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key_heads", [8, 2])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 17), (True, 17)])
def test_sequences_attend_to_themselves_alone(
    choice: AttentionChoice, dtype: torch.dtype, key_heads: int, causal: bool, window: int | None, cuda: torch.device
) -> None:
    """Causal or not, windowed or not, grouped heads or not."""
    how = How(causal=causal, window=window, scale=0.125, softcap=None)
    check(kernel_of(choice, dtype, cuda), pack_of([[1] * length for length in LENGTHS]), None, key_heads, how, dtype, cuda)


@pytest.mark.parametrize(("choice", "dtype"), [("varlen", torch.bfloat16), ("flash", torch.bfloat16), ("runs", torch.float32)])
@pytest.mark.parametrize("key_heads", [8, 2])
def test_suffixes_attend_to_their_prefix(choice: AttentionChoice, dtype: torch.dtype, key_heads: int, cuda: torch.device) -> None:
    """The two calls merged by log-sum-exp are one attention over prefix and suffix."""
    pack = pack_of([[1] * 60, [1] * 3, [1] * 30, [1] * 88, [2] * 4, [1] * 1, [1] * 300], entries=[4, 3], shared=True)
    how = How(causal=True, window=None, scale=0.125, softcap=None)
    check(kernel_of(choice, dtype, cuda), pack, owners(pack).shared, key_heads, how, dtype, cuda)
