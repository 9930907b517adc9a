"""The C passes against definitions in float64, with every kind of register that this processor has: attention, norms, bytes and GELU."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from batching.scoring.onednn import PackedEncoder, fastest, library, simd
from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.linear import LayerNorm
from batching.scoring.onednn.passes import ACTIVATIONS, TorchPasses
from batching.scoring.onednn.quantise import round_weights
from batching.scoring.onednn.rows import arrange
from batching.scoring.onednn.scratch import Scratch
from batching.scoring.onednn.support import has_vnni
from batching.scoring.onednn.weights import Linear, Norm, read_weights
from tests.models.onednn.models import batch_of, model_of

needs_simd = pytest.mark.skipif(library.missing() is not None, reason=str(library.missing()))
HEADS = [Heads(3, 16), Heads(2, 32), Heads(1, 48), Heads(3, 64), Heads(2, 80), Heads(1, 128)]
ATTENTION = {torch.float32: 2e-5, torch.bfloat16: 0.03}
"""Bounds of differences of values that spread by 1; bfloat16's own step at 2 is 0.016."""
POISON = 1e30


@pytest.fixture(params=library.REGISTERS, scope="module")
def passes(request: pytest.FixtureRequest) -> simd.SimdPasses:
    """With these registers, where there are such."""
    if request.param not in library.usable():
        pytest.skip(library.missing() or f"this processor has no {request.param} (of the kind that is needed)")
    return simd.SimdPasses(request.param)


def dense(query: Tensor, key: Tensor, value: Tensor, heads: Heads) -> Tensor:
    """Attention by definition, in float64: [N, H] over [L, H] and [L, H] to [N, H]; logits are powers of two."""
    parts = (part.double().view(-1, heads.count, heads.size).transpose(0, 1) for part in (query, key, value))
    queries, keys, values = parts
    weights = torch.softmax(queries @ keys.transpose(1, 2) * np.log(2.0), -1)
    return (weights @ values).transpose(0, 1).reshape(len(query), heads.width)


def drawn_qkv(rows: int, heads: Heads, dtype: torch.dtype, reach: float) -> Tensor:
    """Queries, keys and values whose logits spread by `reach`."""
    torch.manual_seed(rows)
    qkv = torch.randn(rows, 3 * heads.width)
    qkv[:, : heads.width] *= reach / heads.size**0.5
    return qkv.to(dtype)


@pytest.mark.parametrize("dtype", list(ATTENTION))
@pytest.mark.parametrize("heads", HEADS, ids=str)
def test_attention_is_attention(passes: simd.SimdPasses, dtype: torch.dtype, heads: Heads) -> None:
    """Every length from 1 to 70, where all the remainders are, and longer ones; padding is zero, and what it held leaves no trace."""
    lengths = [*range(1, 71), 127, 128, 129, 500]
    rows = arrange(np.array(lengths, dtype=np.int32))
    qkv = drawn_qkv(rows.count, heads, dtype, 2.0)
    qkv[rows.tokens :] = POISON
    scratch = Scratch()
    scratch.take("attended", dtype, rows.count, heads.width).fill_(POISON)
    out = passes.attention(heads)(qkv, rows, scratch)
    query, key, value = qkv.split(heads.width, 1)
    for start, length in zip(rows.starts, rows.lengths, strict=True):
        part = slice(start, start + length)
        want = dense(query[part], key[part], value[part], heads)
        torch.testing.assert_close(
            out[part].double(), want, atol=ATTENTION[dtype], rtol=0, msg=lambda text, n=length: f"{n} tokens: {text}"
        )
    assert not out[rows.tokens :].any()


@pytest.mark.parametrize("dtype", list(ATTENTION))
@pytest.mark.parametrize("width", [48, 384])
def test_read_attention_is_attention(passes: simd.SimdPasses, dtype: torch.dtype, width: int) -> None:
    """Several queries per sequence over all of its rows, keys and values alike; what lies beyond the last sequence leaves no trace."""
    lengths, each = [1, 5, 17, 64, 65, 200], 12
    rows = arrange(np.array(lengths, dtype=np.int32))
    torch.manual_seed(width)
    x, query = torch.randn(rows.count, width).to(dtype), (torch.randn(len(lengths), each, width) * (2.0 / width**0.5)).to(dtype)
    x[rows.tokens :] = POISON
    out = passes.read_attention(query, x, rows, Scratch())
    for number, (start, length) in enumerate(zip(rows.starts, rows.lengths, strict=True)):
        seen = x[start : start + length]
        torch.testing.assert_close(out[number].double(), dense(query[number], seen, seen, Heads(1, width)), atol=ATTENTION[dtype], rtol=0)


@pytest.mark.parametrize("dtype", list(ATTENTION))
@pytest.mark.parametrize("shift", [-3e4, 0.0, 3e4])
def test_any_logits_will_do(passes: simd.SimdPasses, dtype: torch.dtype, shift: float) -> None:
    """Logits in the tens of thousands, all of one sign or of both: their largest is taken off first, so nothing overflows or vanishes."""
    heads = Heads(2, 32)
    rows = arrange(np.array([7, 70], dtype=np.int32))
    qkv = drawn_qkv(rows.count, heads, dtype, 300.0)
    qkv[:, 0], qkv[:, heads.width] = 1.0, shift
    out = passes.attention(heads)(qkv, rows, Scratch())
    assert bool(torch.isfinite(out).all())
    query, key, value = qkv.split(heads.width, 1)
    for start, length in zip(rows.starts, rows.lengths, strict=True):
        part = slice(start, start + length)
        want = dense(query[part], key[part], value[part], heads)
        near = (out[part].double() - want).abs().amax(1) < 0.05
        assert near.double().mean() > 0.9, "float32 sums of products of 3e4 are off by up to 0.01, which may turn a near tie"


@needs_simd
@pytest.mark.parametrize("activation", [("none", ""), *ACTIVATIONS])
@pytest.mark.parametrize(("inside", "out"), [(16, 16), (384, 48), (1536, 32), (1040, 64), (2064, 16)])
def test_products(inside: int, out: int, activation: tuple[str, str]) -> None:
    """Every number of rows that leaves another remainder, widths below, at and beyond a part; nothing behind the last row is touched."""
    passes = simd.SimdPasses(products=True)
    torch.manual_seed(out)
    linear = Linear(torch.randn(out, inside) / inside**0.5, torch.randn(out))
    product = passes.linear(linear, torch.float32, activation)
    for count in (1, 2, 5, 6, 7, 11, 191, 192, 193, 385):
        x = torch.randn(count, inside)
        want = x.double() @ linear.weight.double().T + linear.bias.double()
        if activation != ("none", ""):
            want = ACTIVATIONS[activation][0](want)
        torch.testing.assert_close(product(x).double(), want, atol=6e-6, rtol=2e-6)
    assert product.nbytes == 4 * (inside * out + out)


@needs_simd
@pytest.mark.parametrize("zero", [0, 24, 128])
@pytest.mark.parametrize(("inside", "out"), [(16, 16), (384, 48), (1536, 32), (1040, 64), (2064, 16)])
def test_products_of_bytes(inside: int, out: int, zero: int) -> None:
    """Exact but for the last rounding to float32, for every number of rows that leaves another remainder, and where sums are the largest."""
    passes = simd.SimdPasses(products=True)
    torch.manual_seed(out)
    linear = Linear(torch.randn(out, inside), torch.randn(out))
    linear.weight[0] = 3.0  # every weight the largest, and every byte with it in the last row
    factors = torch.rand(inside) + 0.5 if zero == 24 else None
    product = passes.quantised(linear, factors, zero)
    weight, step = round_weights(linear, factors, min(2**15 - 1, (2**31 - 1) // (255 * inside)))
    for count in (1, 2, 5, 6, 7, 11, 191, 192, 193, 385):
        levels = torch.randint(0, 256, (count, inside), dtype=torch.uint8)
        levels[-1] = 255
        want = ((levels.double() - zero) @ weight.double().T) * step.double()
        torch.testing.assert_close(product(levels).double(), want, atol=0, rtol=2**-22)
    assert product.nbytes == 2 * inside * out + 8 * out


@needs_simd
def test_the_products_gelu_is_exact_to_rounding() -> None:
    """Within 8e-7 and the rounding of the result from -20 to 20; nothing but the number itself, or as good as zero, far beyond."""
    product = simd.SimdPasses(products=True).linear(Linear(torch.eye(16), torch.zeros(16)), torch.float32, ("gelu", "none"))
    x = torch.cat((torch.linspace(-20, 20, 16 * 50_000), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, 3e38, -3e38]).repeat(2)))
    got = product(x.view(-1, 16)).view(-1)
    torch.testing.assert_close(got.double(), functional.gelu(x.double()), atol=8e-7, rtol=2**-23)


@needs_simd
def test_the_fastest_is_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own products in float32 where they win their race, oneDNN's where they lose it, and around int8 and bfloat16."""
    own = read_weights(model_of("bert"))
    for wins in (True, False):
        monkeypatch.setattr(fastest, "_multiplies_faster", lambda passes, own, wins=wins: wins)
        expected = "simd" if wins and library.usable()[0] == library.MULTIPLYING else "onednn+simd"
        assert fastest.fastest(own, torch.float32, int8=False).name == expected
        assert fastest.fastest(own, torch.float32, int8=True).name == ("onednn+simd" if has_vnni() else "simd")
        assert fastest.fastest(own, torch.bfloat16, int8=False).name == "onednn+simd"
    monkeypatch.undo()
    assert fastest._multiplies_faster(simd.SimdPasses(products=True), own) in (True, False)


def norm_of(width: int) -> LayerNorm:
    torch.manual_seed(width)
    return LayerNorm(Norm(torch.randn(width), torch.randn(width), 1e-5))


@pytest.mark.parametrize("width", [16, 48, 384])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.04)])
def test_residual_norm(passes: simd.SimdPasses, width: int, dtype: torch.dtype, bound: float) -> None:
    """LayerNorm of the sum, for rows of very different sizes and means, in place of the product; the residual is left alone."""
    torch.manual_seed(1)
    sizes = torch.logspace(-2, 3, 37).unsqueeze(1)
    product, residual = ((torch.randn(37, width) * sizes + sizes).to(dtype) for _ in range(2))
    norm, before = norm_of(width), residual.clone()
    want = functional.layer_norm(product.double() + residual.double(), (width,), norm.weight.double(), norm.bias.double(), norm.epsilon)
    got = passes.residual_norm(product, residual, norm, Scratch())
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, atol=bound, rtol=0.01 if dtype == torch.bfloat16 else 1e-5)
    assert torch.equal(residual, before)


def int8_product(width: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a product leaves behind: values of very different sizes, every row's step, a bias."""
    torch.manual_seed(width)
    product = torch.randn(41, width) * torch.logspace(2, 5, 41).unsqueeze(1)
    return product, torch.rand(41, 1) * 1e-3 + 1e-5, torch.randn(width)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("width", [16, 48, 1536])
def test_int8_products_are_finished(passes: simd.SimdPasses, width: int, dtype: torch.dtype, near: float) -> None:
    """Times the step, plus the bias: rounded to `dtype`; with the residual and normed; behind GELU."""
    scratch, norm = Scratch(), norm_of(width)
    product, steps, bias = int8_product(width)
    want = product.double() * steps.double() + bias.double()
    out = torch.full((41, width), POISON, dtype=dtype)
    passes.finish(product, steps, bias, out)
    torch.testing.assert_close(out.double(), want, rtol=near, atol=1e-5)
    x = torch.randn(41, width)
    normed = functional.layer_norm(want + x.double(), (width,), norm.weight.double(), norm.bias.double(), norm.epsilon)
    passes.finish_norm(x, product, steps, bias, norm)
    torch.testing.assert_close(x.double(), normed, atol=1e-4, rtol=1e-4)
    activated = passes.activate(product, steps, bias, dtype)
    assert activated.dtype == dtype
    torch.testing.assert_close(activated.double(), functional.gelu(want), rtol=near, atol=2e-4)
    levels, step = passes.activate_bytes(product, steps, bias, 24, scratch)
    error = ((levels.double() - 24) * step - functional.gelu(want)).abs()
    assert (error <= step * 0.501 + 2e-4).all()
    assert (levels.amax(1) == 255)[want.amax(1) > 3].all()


def test_gelu_is_near_everywhere(passes: simd.SimdPasses) -> None:
    """Within 1.2e-4 of it from -20 to 20 (bytes are at least 0.007 apart)."""
    x = torch.linspace(-20, 20, 16 * 40_000).view(-1, 1600)
    ones, none = torch.ones(len(x), 1), torch.zeros(1600)
    levels, steps = passes.activate_bytes(x, ones, none, 24, Scratch())
    error = (levels.double() - 24) * steps - functional.gelu(torch.linspace(-20, 20, 16 * 40_000).view(-1, 1600).double())
    assert (error.abs() <= steps / 2 + 1.2e-4).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(seed=st.integers(0, 1000), spread=st.floats(-3, 4), scaled=st.booleans())
def test_signed_bytes_are_torchs(passes: simd.SimdPasses, dtype: torch.dtype, seed: int, spread: float, scaled: bool) -> None:
    """The same bytes but for ties in rounding, and the same steps, as torch's operators give."""
    torch.manual_seed(seed)
    x = (torch.randn(33, 48) * torch.logspace(-4, spread, 33).unsqueeze(1)).to(dtype)
    x[7] = 0
    scale = torch.rand(48) + 0.5 if scaled and dtype == torch.float32 else None
    levels, steps = passes.signed_bytes(x, scale, Scratch())
    want, want_steps = TorchPasses(("gelu", "none")).signed_bytes(x, scale, Scratch())
    torch.testing.assert_close(steps, want_steps, rtol=1e-6, atol=0)
    assert int((levels.int() - want.int()).abs().max()) <= 1
    assert float((levels != want).float().mean()) < 0.01
    assert (levels[7] == 128).all()


@needs_simd
def test_the_encoder_says_which_passes_it_uses() -> None:
    """By default where they serve the model, never where they don't."""
    model = model_of("bert")
    assert PackedEncoder(model).backend in ("onednn+simd", "simd")
    assert PackedEncoder(model, backend="onednn").backend == "onednn"
    odd = PackedEncoder(model_of("bert", hidden_size=40, num_hidden_layers=1))
    assert odd.backend == "onednn"
    odd(*batch_of([3, 40]))


@needs_simd
def test_what_is_lacking_is_said() -> None:
    """Sizes that don't fill registers, and int8 with another activation."""
    own = read_weights(model_of("bert"))
    assert simd.lacking(own, torch.float32, int8=False) is None
    assert simd.lacking(own, torch.bfloat16, int8=True) is None
    assert "multiple of 16" in str(simd.lacking(read_weights(model_of("bert", hidden_size=40)), torch.float32, int8=False))
    assert simd.lacking(own, torch.float32, int8=True) is None
    relu = dataclasses.replace(own, activation=("relu", ""))
    assert "GELU" in str(simd.lacking(relu, torch.bfloat16, int8=True))
    assert simd.lacking(relu, torch.bfloat16, int8=False) is None


def test_without_the_library_torch_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that was installed without a C compiler runs as before, and says why."""
    monkeypatch.setattr(library, "LIBRARY", "batching.scoring.onednn._absent")
    library._library.cache_clear()
    try:
        assert "C compiler" in str(library.missing())
        assert PackedEncoder(model_of("bert")).backend == "onednn"
    finally:
        library._library.cache_clear()
