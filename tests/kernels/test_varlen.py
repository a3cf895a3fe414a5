"""attention_varlen on the CPU: against torch's attention of one sequence after another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cudalint.kernels import attention_varlen
from cudalint.kernels._varlen import native
from cudalint.kernels._varlen.padded import Options, Sequences

H, D = 4, 8

# (queries, keys) of each sequence: more, fewer, one, none
LENGTHS = ((5, 5), (1, 7), (0, 3), (6, 4), (3, 0), (2, 9))


def operands(
    dtype: torch.dtype = torch.float64, kv_heads: int = H, width: int = D
) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    total_q, total_k = (sum(length) for length in zip(*LENGTHS, strict=True))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)

    return (
        normal(total_q, H, D),
        normal(total_k, kv_heads, D),
        normal(total_k, kv_heads, width),
    )


def offsets(which: int, dtype: torch.dtype = torch.int32) -> Tensor:
    lengths = torch.tensor([0, *(pair[which] for pair in LENGTHS)])
    return lengths.cumsum(0).to(dtype)


def ours(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    most_q, most_k = (max(length) for length in zip(*LENGTHS, strict=True))
    return attention_varlen(q, k, v, offsets(0), offsets(1), most_q, most_k, **options)


def seen(queries: int, keys: int, causal: bool, window: tuple[int, int]) -> Tensor:
    """By hand: the last query stands at the last key."""
    mask = torch.ones(queries, keys, dtype=torch.bool)
    shift = keys - queries
    mask = mask.tril(shift) if causal else mask
    mask = mask.tril(shift + window[1]) if window[1] >= 0 else mask
    return mask.triu(shift - window[0]) if window[0] >= 0 else mask


def one_by_one(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, window: tuple[int, int], scale: float | None
) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
    parts, at_q, at_k = [], 0, 0
    for queries, keys in LENGTHS:
        rows = q[at_q : at_q + queries], k[at_k : at_k + keys], v[at_k : at_k + keys]
        at_q, at_k = at_q + queries, at_k + keys
        if not keys:
            parts.append(v.new_zeros(queries, H, v.shape[2]))
            continue
        heads_first = (t.transpose(0, 1) for t in rows)
        mask = seen(queries, keys, causal, window)
        out = F.scaled_dot_product_attention(*heads_first, mask, scale=scale)
        parts.append(out.transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, (2, 1), (-1, 1), (2, -1), (3, 0)])
@pytest.mark.parametrize("kv_heads", [H, 2])
def test_each_sequence_is_torchs_attention(
    causal: bool, window: tuple[int, int] | None, kv_heads: int
) -> None:
    leaves = [t.requires_grad_() for t in operands(kv_heads=kv_heads, width=6)]
    scale = None if kv_heads == H else 0.3
    out = ours(*leaves, is_causal=causal, window=window, scale=scale, enable_gqa=kv_heads != H)
    theirs = one_by_one(*leaves, causal, window or (-1, -1), scale)
    torch.testing.assert_close(out, theirs)
    dy = torch.randn_like(out)
    torch.testing.assert_close(
        torch.autograd.grad(out, leaves, dy), torch.autograd.grad(theirs, leaves, dy)
    )


def test_softcap_is_torchs_tanh_of_the_scores() -> None:
    q, k, v = operands()
    out, at_q, at_k = ours(q, k, v, softcap=2.0), 0, 0
    for queries, keys in LENGTHS:
        s = torch.einsum("ihd,jhd->hij", q[at_q : at_q + queries], k[at_k : at_k + keys]) / D**0.5
        p = torch.softmax(2.0 * torch.tanh(s / 2.0), -1)
        theirs = torch.einsum("hij,jhd->ihd", p, v[at_k : at_k + keys])
        torch.testing.assert_close(out[at_q : at_q + queries], theirs)
        at_q, at_k = at_q + queries, at_k + keys


def test_sequences_know_nothing_of_their_neighbours() -> None:
    """Infinities and NaN of one sequence stay in it."""
    q, k, v = operands()
    clean = ours(q, k, v)
    k[3], v[-1] = torch.nan, torch.inf  # of the first and of the last sequence
    out = ours(q, k, v)
    assert torch.equal(out[5:-2], clean[5:-2])
    assert bool(out[:5].isnan().all()) and not bool(out[-2:].isfinite().any())


@pytest.mark.parametrize("bounds", [[0], [0, 0], [0, 0, 0]])
def test_nothing_at_all(bounds: list[int]) -> None:
    q, k, v = (t[:0] for t in operands())
    out = attention_varlen(q, k, v, torch.tensor(bounds), torch.tensor(bounds), 0, 0)
    assert out.shape == (0, H, D)


def test_gradcheck() -> None:
    q, k, v = (t[:7, :2].requires_grad_() for t in operands())
    bounds = torch.tensor([0, 3, 7])

    def function(*operands: Tensor) -> Tensor:
        return attention_varlen(*operands, bounds, bounds, 4, 4, is_causal=True, softcap=3.0)

    assert torch.autograd.gradcheck(function, (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes(dtype: torch.dtype) -> None:
    q, k, v = operands(dtype)
    out, exact = ours(q, k, v), ours(q.double(), k.double(), v.double())
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), exact, rtol=2e-2, atol=1e-2)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(q, k, v).dtype == torch.matmul(q, k[:1].mT).dtype == torch.bfloat16


def test_vmap_is_a_loop() -> None:
    q, k, v = (torch.stack([t, t.flip(0), t * 2]) for t in operands())
    loop = torch.stack([ours(*parts) for parts in zip(q, k, v, strict=True)])
    torch.testing.assert_close(torch.func.vmap(ours)(q, k, v), loop)


def test_compiles_in_one_graph() -> None:
    torch._dynamo.reset()
    q, k, v = operands(torch.float32)
    compiled = torch.compile(lambda *t: ours(*t, is_causal=True), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(q, k, v), ours(q, k, v, is_causal=True))


def test_torchs_own_has_the_words_for_what_it_is_given() -> None:
    """2.13's names, and a 2.10 that knows neither window nor scale."""
    assert {"scale", "window_size", "enable_gqa"} <= native.PARAMETERS
    for left, right in ((-1, -1), (-1, 0), (7, 0), (3, 4)):
        assert native._says(Options((left, right), 0.3, True, None))


def test_an_older_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "PARAMETERS", frozenset({"query", "is_causal"}))
    assert native._says(Options((-1, 0), None, True, None))
    assert not native._says(Options((7, 0), None, True, None))
    assert not native._says(Options((-1, 0), 0.3, True, None))
    monkeypatch.setattr(native, "PARAMETERS", frozenset())
    assert not native._says(Options((-1, -1), None, True, None))


@pytest.mark.parametrize("names", ["all", "2.11", "2.10"])
@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (3, 0)])
def test_torchs_own_is_called_in_its_words(
    names: str, window: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No CPU runs it: what it would be handed, in the words of each torch."""
    known = {
        "all": native.PARAMETERS,
        "2.11": frozenset({"scale", "window_size"}),
        "2.10": frozenset({"is_causal"}),
    }[names]
    monkeypatch.setattr(native, "PARAMETERS", known)
    seen: dict[str, Any] = {}

    def varlen_attn(q: Tensor, k: Tensor, v: Tensor, *arguments: Any, **options: Any) -> Tensor:
        seen.update(options, k=k, rest=arguments)
        return q

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    q, k, v = operands(kv_heads=2)
    scale = None if names == "2.10" else 0.3
    options = Options(window, scale, True, None)
    if not native._says(options):
        assert names == "2.10" and window == (3, 0)
        return
    sequences = Sequences(offsets(0, torch.int64), offsets(1, torch.int64), 6, 9)
    native.attention_varlen(q, k, v, sequences, options)
    assert [t.dtype for t in seen["rest"][:2]] == [torch.int32] * 2 and seen["rest"][2:] == (6, 9)
    if names == "all":
        assert seen["enable_gqa"] and seen["k"] is k
    else:
        assert torch.equal(seen["k"], k.repeat_interleave(2, 1)) and "enable_gqa" not in seen
    words = {"is_causal": window == (-1, 0)} if names == "2.10" else {"window_size": window}
    words |= {} if scale is None else {"scale": scale}
    assert words.items() <= seen.items()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"q": torch.ones(3, 4).double()}, "have shapes"),
    ({"k": torch.ones(28, H, D)}, "k has dtype torch.float32; accepted: q's"),
    ({"k": torch.ones(28, 2, D).double(), "v": torch.ones(28, 2, D).double()}, "enable_gqa=True"),
    ({"cu_seqlens_k": offsets(1).float()}, "cu_seqlens_k has dtype torch.float32"),
    ({"cu_seqlens_q": offsets(0)[None]}, r"cu_seqlens_q has shape \(1, 7\)"),
    ({"cu_seqlens_k": offsets(1)[:-1]}, r"cu_seqlens_k has shape \(6,\)"),
    ({"cu_seqlens_k": offsets(1).flip(0)}, "never falling"),
    ({"cu_seqlens_q": offsets(0) * 2}, "never falling"),
    ({"max_seqlen_q": torch.tensor(6)}, "max_seqlen_q is a tensor; accepted: a Python number"),
    ({"max_seqlen_q": -1}, "max_seqlen_q is -1"),
    ({"max_seqlen_k": 8}, "max_seqlen_k is 8; accepted: at least the longest sequence, 9"),
    ({"softcap": -1.0}, "attention_varlen: softcap is -1.0"),
    ({"window": (1, -2)}, r"attention_varlen: window is \(1, -2\)"),
    ({"scale": torch.ones(())}, "attention_varlen: scale is a tensor"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m for _, m in BAD])
def test_refusals_say_what_is_accepted(change: dict[str, Any], message: str) -> None:
    q, k, v = operands()
    arguments = {"q": q, "k": k, "v": v, "cu_seqlens_q": offsets(0), "cu_seqlens_k": offsets(1)}
    with pytest.raises(ValueError, match=message):
        attention_varlen(**({"max_seqlen_q": 6, "max_seqlen_k": 9} | arguments | change))
