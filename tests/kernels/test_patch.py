"""patch on small random models of transformers and diffusers: equal with it, and as before after."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from cudalint.kernels import patch
from cudalint.kernels._patch import rope

pytest.importorskip("transformers", reason="transformers is not installed here")

ALL = ("norms", "glu", "attention", "rope")
TEXT: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


class Case(NamedTuple):
    """A model, what to call it with, and what patch says of it."""

    model: nn.Module
    arguments: dict[str, Any]
    report: str


def _text(name: str, report: str, **options: Any) -> Case:
    import transformers

    config = getattr(transformers, f"{name}Config")(**options)
    kind = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    model = getattr(transformers, f"{name}{kind}")(config)
    padded = torch.ones(2, 9, dtype=torch.long)
    padded[1, :3] = 0
    tokens = torch.randint(3, 97, (2, 9))
    return Case(model, {"input_ids": tokens, "attention_mask": padded, "use_cache": False}, report)


def llama() -> Case:
    return _text("Llama", "1 apply_rope, 1 attention, 5 rms_norm, 2 swiglu", **TEXT)


def qwen() -> Case:
    report = "1 apply_rope, 1 attention, 9 rms_norm, 2 swiglu"
    return _text("Qwen3", report, head_dim=8, **TEXT)


def gemma() -> Case:
    """Softcap, sliding windows, a weight offset of 1, and eager attention to begin with.

    Said in so many words: older transformers begin with torch's, which knows no softcap.
    """
    return _text(
        "Gemma2", "1 apply_rope, 1 attention, 2 geglu, 9 rms_norm", head_dim=8, sliding_window=4,
        attn_logit_softcapping=5.0, query_pre_attn_scalar=8, attn_implementation="eager", **TEXT,
    )  # fmt: skip


def mistral() -> Case:
    report = "1 apply_rope, 1 attention, 5 rms_norm, 2 swiglu"
    return _text("Mistral", report, sliding_window=4, **TEXT)


def phi() -> Case:
    return _text("Phi3", "1 apply_rope, 1 attention, 5 rms_norm, 2 swiglu_packed", **TEXT)


def gpt2() -> Case:
    return _text(
        "GPT2", "1 attention, 5 layer_norm", vocab_size=97, n_embd=32, n_layer=2, n_head=4,
        n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip


def dit() -> Case:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed here")
    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, num_layers=2,
        sample_size=8, num_embeds_ada_norm=10, norm_num_groups=4,
    )  # fmt: skip
    arguments = {
        "hidden_states": torch.randn(2, 4, 8, 8),
        "timestep": torch.tensor([3, 5]),
        "class_labels": torch.tensor([1, 2]),
    }
    return Case(model, arguments, "2 attention, 5 layer_norm")


def video() -> Case:
    """LTX: rotary embeddings of three axes, norms without weights, masked cross-attention."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed here")
    model = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16,
        cross_attention_dim=32, num_layers=2, caption_channels=12,
    )  # fmt: skip
    mask = torch.ones(2, 7)
    mask[1, 4:] = 0
    arguments = {
        "hidden_states": torch.randn(2, 2 * 4 * 4, 8),
        "encoder_hidden_states": torch.randn(2, 7, 12),
        "timestep": torch.tensor([3, 5]),
        "encoder_attention_mask": mask,
        "num_frames": 2, "height": 4, "width": 4,
    }  # fmt: skip
    return Case(model, arguments, "4 attention, 1 layer_norm, 12 rms_norm, 1 rope")


def hunyuan() -> Case:
    """A rotary embedding that is imported when a processor runs."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed here")
    model = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, patch_size=1, text_embed_dim=16,
        pooled_projection_dim=8, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    arguments = {
        "hidden_states": torch.randn(1, 4, 2, 4, 4),
        "encoder_hidden_states": torch.randn(1, 6, 16),
        "timestep": torch.tensor([3]),
        "encoder_attention_mask": torch.ones(1, 6),
        "pooled_projections": torch.randn(1, 8),
        "guidance": torch.tensor([6.0]),
    }
    return Case(model, arguments, "3 attention, 8 layer_norm, 6 rms_norm, 1 rope")


def unet() -> Case:
    """GEGLU with the gate in the second half."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed here")
    model = diffusers.UNet2DConditionModel(
        block_out_channels=(4, 8), layers_per_block=1, sample_size=4, cross_attention_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=4,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=4,
    )  # fmt: skip
    arguments = {
        "sample": torch.randn(1, 4, 4, 4),
        "timestep": torch.tensor([3]),
        "encoder_hidden_states": torch.randn(1, 6, 8),
    }
    return Case(model, arguments, "8 attention, 4 geglu_packed, 12 layer_norm")


MODELS = (llama, qwen, gemma, mistral, phi, gpt2, dit, video, hunyuan, unet)


def made(make: Callable[[], Case]) -> Case:
    """In evaluation mode, with norm weights that are not all ones."""
    case = make()
    case.model.eval()
    with torch.no_grad():
        for p in case.model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return case


def run(case: Case, model: nn.Module | None = None) -> tuple[Tensor, list[Tensor]]:
    """The result, where it means something, and all gradients."""
    model = model or case.model
    out = model(**case.arguments)
    out = out.logits if hasattr(out, "logits") else out.sample
    if (padded := case.arguments.get("attention_mask")) is not None:
        out = out[padded.bool()]
    parameters = [p for p in model.parameters() if p.requires_grad]
    weights = torch.linspace(-1.0, 1.0, out.numel()).view_as(out).to(out.dtype)
    gradients = torch.autograd.grad(out, parameters, weights, allow_unused=True)
    return out.detach(), [g for g in gradients if g is not None]


def assert_same(a: tuple[Tensor, list[Tensor]], b: tuple[Tensor, list[Tensor]]) -> None:
    assert torch.equal(a[0], b[0])
    assert all(torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True))


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_patched_model_computes_the_same_and_undo_brings_back_its_own(
    make: Callable[[], Case],
) -> None:
    case = made(make)
    before, state = run(case), case.model.state_dict().keys()
    patched = patch(case.model, ALL)
    assert repr(patched) == f"<patched: {case.report}>"
    ours = run(case)
    torch.testing.assert_close(ours[0], before[0], rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(ours[1], before[1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5 * theirs.abs().max().item())
    assert case.model.state_dict().keys() == state
    patched.undo()
    assert_same(run(case), before)
    assert not rope._HELD
    patched.undo()  # nothing is left to do
    assert_same(run(case), before)


def test_nothing_of_theirs_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AttentionInterface
    from transformers.models.llama import modeling_llama

    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("theirs ran")

    case = made(llama)
    with patch(case.model, ALL):
        monkeypatch.setattr(modeling_llama.LlamaRMSNorm, "forward", never)
        monkeypatch.setattr(modeling_llama.LlamaMLP, "forward", never)
        monkeypatch.setattr(modeling_llama, "rotate_half", never)
        monkeypatch.setattr(modeling_llama, "eager_attention_forward", never)
        monkeypatch.setitem(AttentionInterface._global_mapping, "sdpa", never)
        run(case)


def test_nothing_of_torchs_attention_runs_in_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """`attention` on the CPU ends in torch's too: so it is ours that is replaced here."""
    from cudalint.kernels._patch import attention as module

    calls: list[int] = []

    def noted(q: Tensor, k: Tensor, v: Tensor, *arguments: Any, **options: Any) -> Tensor:
        calls.append(len(arguments))
        return torch.zeros_like(q)

    case = made(video)
    with patch(case.model, ("attention",)) as patched:
        monkeypatch.setattr(module, "attention", noted)
        run(case)
        assert len(calls) == len(patched.swapped) == 4


def test_generation_with_the_models_own_cache() -> None:
    """Prompts padded on the left, then a token at a time, with caches that slide."""
    case = made(gemma)
    model: Any = case.model
    prompt = {name: case.arguments[name] for name in ("input_ids", "attention_mask")}
    options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    for kind in (None, "static"):
        before = model.generate(**prompt, **options, cache_implementation=kind)
        with patch(model, ALL):
            ours = model.generate(**prompt, **options, cache_implementation=kind)
        assert torch.equal(ours, before) and ours.shape == (2, 13)


@pytest.mark.parametrize("make", [llama, gemma, video], ids=lambda make: make.__name__)
def test_half_precision(make: Callable[[], Case]) -> None:
    case = made(make)
    case.model.bfloat16()
    for name, value in case.arguments.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            case.arguments[name] = value.bfloat16()
    before = run(case)
    with patch(case.model, ALL):
        out, gradients = run(case)
    torch.testing.assert_close(out, before[0], rtol=5e-2, atol=5e-2)
    assert [g.dtype for g in gradients] == [g.dtype for g in before[1]]


def test_in_a_dtype_that_was_not_proven_a_norm_runs_its_own_code() -> None:
    """T5's, with float32 weights, rounds no half precision before the weight; float64 is narrowed."""
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    norm = T5LayerNorm(32)
    with torch.no_grad():
        norm.weight.normal_()
    wide = torch.randn(4, 32)
    before = [norm(x) for x in (wide, wide.bfloat16(), wide.double())]
    patched = patch(norm)
    assert patched.swapped == (("", "rms_norm"),)
    torch.testing.assert_close(norm(wide), before[0])
    assert torch.equal(norm(wide.bfloat16()), before[1])
    assert torch.equal(norm(wide.double()), before[2])
    norm.bfloat16()
    halves = norm(wide.bfloat16())
    patched.undo()
    torch.testing.assert_close(halves, norm(wide.bfloat16()))


def test_what_only_looks_like_a_norm_is_left_alone() -> None:
    class PartialRMSNorm(nn.Module):
        """Of half the width only."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

        def forward(self, x: Tensor) -> Tensor:
            y = x * torch.rsqrt(x[..., :4].pow(2).mean(-1, keepdim=True) + self.eps)
            return y * self.weight

    class AddRMSNorm(PartialRMSNorm):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
            return x + y

    class ReluMLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_proj, self.up_proj = nn.Linear(8, 8), nn.Linear(8, 8)
            self.down_proj = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.down_proj(torch.relu(self.gate_proj(x)) * self.up_proj(x))

    torch.manual_seed(3)
    state = torch.get_rng_state()
    model = nn.Sequential(PartialRMSNorm(), AddRMSNorm(), ReluMLP(), nn.GroupNorm(2, 8))
    state = torch.get_rng_state()
    assert repr(patch(model, ALL)) == "<patched: nothing>"
    assert torch.equal(torch.get_rng_state(), state)


def hook(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """As accelerate offloads: the weights come before a call and go after it."""
    module._old_forward = module.forward  # type: ignore[assignment]

    def forward(*arguments: Any, **options: Any) -> Any:
        module._parameters.update({k: nn.Parameter(w) for k, w in weights.items()})
        try:
            return module._old_forward(*arguments, **options)  # type: ignore[operator]
        finally:
            module._parameters.update({k: nn.Parameter(w.to("meta")) for k, w in weights.items()})

    module.forward = forward  # type: ignore[method-assign]


def offload(model: nn.Module) -> None:
    for module in model.modules():
        if module._parameters:
            hook(module, {k: p.detach() for k, p in module._parameters.items() if p is not None})
            for name, p in module._parameters.items():
                module._parameters[name] = p if p is None else nn.Parameter(p.detach().to("meta"))


@pytest.mark.parametrize("first", ["patch", "offload"])
def test_offloading_before_and_after(first: str) -> None:
    case = made(llama)
    with torch.no_grad():
        before = case.model(**case.arguments).logits
        if first == "offload":
            offload(case.model)
        patched = patch(case.model)
        if first == "patch":
            offload(case.model)
        assert {kernel for _, kernel in patched.swapped} == {"rms_norm", "swiglu", "attention"}
        ours = case.model(**case.arguments).logits
        keep = case.arguments["attention_mask"].bool()
        torch.testing.assert_close(ours[keep], before[keep])
        patched.undo()
        assert torch.equal(case.model(**case.arguments).logits, before)
    norm: Any = case.model.get_submodule("model.norm")
    assert norm.forward.__name__ == "forward" and norm._old_forward.__func__ is type(norm).forward


def test_weights_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = made(llama).model
    assert "5 rms_norm" in repr(patch(model))


def test_defaults_that_the_program_has_set() -> None:
    model = made(llama).model
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            assert "5 rms_norm, 2 swiglu" in repr(patch(model))
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_deep_copy_reads_its_own_weights() -> None:
    case = made(llama)
    with patch(case.model):
        other = copy.deepcopy(case.model)
        with torch.no_grad():
            for p in other.parameters():
                p.add_(1.0)
        changed = run(case, other)
    assert not torch.equal(changed[0], run(case)[0])
    fresh = made(llama)
    fresh.model.load_state_dict(other.state_dict())
    torch.testing.assert_close(changed[0], run(case, fresh.model)[0], rtol=1e-4, atol=1e-5)


def test_rope_is_counted() -> None:
    from transformers.models.llama import modeling_llama

    theirs = modeling_llama.apply_rotary_pos_emb
    first, second = patch(made(llama).model, ("rope",)), patch(made(llama).model, ("rope",))
    ours = modeling_llama.apply_rotary_pos_emb
    assert ours is not theirs
    first.undo()
    assert modeling_llama.apply_rotary_pos_emb is ours
    second.undo()
    assert modeling_llama.apply_rotary_pos_emb is theirs
    assert repr(patch(made(llama).model)).count("rope") == 0


@pytest.mark.parametrize("order", [("rope", "attention"), ("attention", "rope")])
def test_rope_reaches_processors_whose_attention_is_ours(
    order: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = made(video)
    first = patch(case.model, order[:1])
    second = patch(case.model, order[1:])
    calls: list[int] = []
    real = rope.rope
    monkeypatch.setattr(rope, "rope", lambda *a, **o: (calls.append(1), real(*a, **o))[1])
    run(case)
    assert len(calls) == 4  # q and k of two layers' attention to themselves
    first.undo()
    second.undo()
    before = run(case)
    assert len(calls) == 4
    assert_same(run(case), before)


def test_a_forward_that_somebody_else_replaced_is_left_alone() -> None:
    case = made(llama)
    mine = case.model.get_submodule("model.norm")
    mine.forward = lambda x: x  # type: ignore[method-assign]
    patched = patch(case.model)
    assert "model.norm" not in [path for path, _ in patched.swapped]
    theirs = case.model.get_submodule("model.layers.0.mlp")
    held = theirs.forward
    theirs.forward = lambda x: held(x)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"'model.layers.0.mlp' was replaced after patch"):
        patched.undo()


def test_another_attention_that_the_owner_chose_stays() -> None:
    case = made(llama)
    case.model.config._attn_implementation = "flex_attention"  # type: ignore[union-attr]
    assert "attention" not in repr(patch(case.model))
    case.model.config._attn_implementation = "sdpa"  # type: ignore[union-attr]
    patched = patch(case.model)
    case.model.config._attn_implementation = "eager"  # type: ignore[union-attr]
    patched.undo()
    assert case.model.config._attn_implementation == "eager"  # type: ignore[union-attr]


def test_patching_twice_changes_nothing_more() -> None:
    case = made(video)
    first, before = patch(case.model), None
    second = patch(case.model)
    assert repr(second) == "<patched: nothing>"
    second.undo()
    first.undo()
    before = run(case)
    assert_same(run(case), before)


def test_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    case = made(video)
    with patch(case.model, ALL), torch.no_grad():
        compiled = torch.compile(case.model, fullgraph=True, backend="eager")
        ours, theirs = (model(**case.arguments)[0] for model in (compiled, case.model))
    torch.testing.assert_close(ours, theirs)


def test_refusals_say_what_is_accepted() -> None:
    with pytest.raises(ValueError, match=r"patch: kernels names 'norm'; accepted: 'norms', 'glu'"):
        patch(nn.Linear(2, 2), ("norm",))
    with pytest.raises(ValueError, match="patch: model is a object; accepted: a torch module"):
        patch(object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kernels names 'gpu'"):
        patch(nn.Linear(2, 2), "gpu")
