"""Every attention kernel gives what dense attention over each sequence alone gives."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.attention.varlen import varlen_attn

from batching.scoring.kernels import EqualRuns, VarlenKernel, flash_varlen, torch_varlen
from batching.scoring.layout import Layout, lay_out, owners
from batching.scoring.segments import How, Kernel, Segments, shared_arrays, shared_rows
from tests.models import dense
from tests.models.packs import pack_of

AUX = SimpleNamespace(lse=True)
KERNELS: dict[str, Kernel] = {
    "runs": EqualRuns(),
    "varlen": VarlenKernel("torch-varlen", torch_varlen(dense.varlen_attn, AUX)),
    "old varlen": VarlenKernel("torch-varlen", torch_varlen(dense.old_varlen_attn, AUX)),
    "flash": VarlenKernel("flash-attn", flash_varlen(dense.flash_attn_varlen_func)),
}
LENGTHS = (5, 1, 9, 5, 14, 9, 9, 2)


def segments_of(layout: Layout, kernel: Kernel) -> Segments:
    arrays = shared_arrays(layout)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Segments(kernel=kernel, layout=layout, offsets=torch.from_numpy(layout.offsets), shared=shared_rows(layout, arrays, tensors))


def states(tokens: int, key_heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return tuple(torch.randn(tokens, heads, 16, generator=generator) for heads in (4, key_heads, key_heads))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 3), (True, 4)])
def test_sequences_attend_to_themselves_alone(name: str, key_heads: int, causal: bool, window: int | None) -> None:
    """Causal or not, windowed or not, grouped heads or not: the packed row equals each sequence on its own."""
    kernel = KERNELS[name]
    pack = pack_of([[1] * length for length in LENGTHS])
    layout = lay_out(pack, np.arange(len(LENGTHS), dtype=np.int32), None, sort=kernel.sorts, offset=0, token_types=False)
    q, k, v = states(sum(LENGTHS), key_heads)
    got = kernel(q, k, v, segments_of(layout, kernel), How(causal=causal, window=window, scale=0.3, softcap=None))
    reach = -1 if window is None else window - 1
    for a, b in zip(layout.offsets[:-1].tolist(), layout.offsets[1:].tolist(), strict=True):
        want, _ = dense.attend(q[a:b], k[a:b], v[a:b], scale=0.3, causal=causal, window=(reach, reach))
        torch.testing.assert_close(got[a:b], want, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("key_heads", [4, 2])
def test_suffixes_attend_to_their_prefix(name: str, key_heads: int) -> None:
    """A sequence behind a shared prefix attends as if the two stood together; entries without one are untouched."""
    kernel = KERNELS[name]
    pack = pack_of([[1] * 6, [1] * 3, [1] * 3, [1] * 8, [2] * 4, [1] * 1, [1] * 3], entries=[4, 3], shared=True)
    own = owners(pack)
    layout = lay_out(pack, np.arange(7, dtype=np.int32), own.shared, sort=kernel.sorts, offset=0, token_types=False)
    q, k, v = states(len(pack.ids), key_heads)
    got = kernel(q, k, v, segments_of(layout, kernel), How(causal=True, window=None, scale=0.3, softcap=None))
    assert layout.prefixes is not None
    for place, prefix in enumerate(layout.prefixes.tolist()):
        a, b = layout.offsets[place : place + 2].tolist()
        rows = list(range(a, b))
        if prefix >= 0:
            rows = list(range(*layout.offsets[prefix : prefix + 2].tolist())) + rows
        want, _ = dense.attend(q[a:b], k[rows], v[rows], scale=0.3, causal=True, window=(-1, -1))
        torch.testing.assert_close(got[a:b], want, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["runs", "flash"])
def test_softcap(name: str) -> None:
    """Where a kernel claims a soft cap on logits, it is Gemma's."""
    kernel = KERNELS[name]
    pack = pack_of([[1] * 4, [1] * 4, [1] * 2])
    layout = lay_out(pack, np.arange(3, dtype=np.int32), None, sort=kernel.sorts, offset=0, token_types=False)
    q, k, v = states(10, 2)
    got = kernel(q, k, v, segments_of(layout, kernel), How(causal=True, window=None, scale=3.0, softcap=2.0))
    for a, b in zip(layout.offsets[:-1].tolist(), layout.offsets[1:].tolist(), strict=True):
        want, _ = dense.attend(q[a:b], k[a:b], v[a:b], scale=3.0, causal=True, window=(-1, -1), softcap=2.0)
        torch.testing.assert_close(got[a:b], want, atol=2e-6, rtol=0)


def test_the_stand_ins_are_what_torch_has() -> None:
    """The installed varlen_attn takes all that we pass it, by the same names and in the same order as the stand-in."""
    theirs = inspect.signature(varlen_attn).parameters
    ours = list(inspect.signature(dense.old_varlen_attn).parameters)
    assert [name for name in theirs if name in ours] == ours
