"""What the library holds, where each function runs, and what it falls back to."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KernelInfo:
    """One function of the library.

    `forward` and `backward` name what runs on a CUDA GPU with Triton; `compiled` what
    `torch.compile` sees; `operators` the opaque `torch.ops`; `fallbacks` pairs a case with what
    runs instead and why. On the CPU, and without Triton, every case runs the reference.
    """

    name: str
    forward: str
    backward: str
    compiled: str
    operators: tuple[str, ...]
    fallbacks: tuple[tuple[str, str], ...]


_NO_FLOAT64 = ("float64", "the reference: the kernels compute in float32")
_LONG_ROWS = ("over 2,147,418,112 columns", "the reference: columns are counted in 32 bits")

_SOFTMAX = {
    "forward": "Triton; rows of any length, from 16,385 columns in the online form",
    "backward": "Triton; once differentiable",
    "compiled": "over 1,024 columns one opaque operator, else the reference, inline",
    "operators": ("cudalint::softmax", "cudalint::softmax_backward"),
    "fallbacks": (
        _NO_FLOAT64,
        _LONG_ROWS,
        ("dim is not the last", "torch's own: its spatial softmax reads whole sectors already"),
    ),
}
_INLINE = "the reference, inline, for inductor to fuse"
_FUSED: dict[str, Any] = {
    "forward": "Triton; up to 8,192 columns",
    "backward": "Triton; once differentiable; what is broadcast summed in two fixed stages",
    "compiled": _INLINE,
    "operators": ("cudalint::fused_norm", "cudalint::fused_norm_backward"),
}
_TRANSFORMED = ("under torch.func", "the reference: it knows all transforms")
_EXPANDED = "the reference: the weight is expanded, torch multiplies"
_QUANTIZED: dict[str, Any] = {
    "forward": "Triton, for up to 64 rows of x; for more the weight is expanded, torch multiplies",
    "backward": "the reference, for x and bias; once differentiable",
    "compiled": "one opaque operator where x wants no gradient, else the reference, inline",
    "operators": ("cudalint::quantized_linear", "cudalint::quantized_linear_backward"),
    "fallbacks": (
        _NO_FLOAT64,
        _TRANSFORMED,
        ("over 64 rows of x, before Ampere, or a weight that is not contiguous", _EXPANDED),
        ("groups that are no multiple of 32, in GPTQ's layouts over 64 none of 128", _EXPANDED),
        ("group_index", _EXPANDED),
    ),
}
_PACKER: dict[str, Any] = {
    "forward": "torch's own, once for each weight",
    "backward": "none: forward only",
    "compiled": "the same, inline",
    "operators": (),
    "fallbacks": (),
}
_UNEQUAL = ("gate and up of unequal shapes", "the reference: torch broadcasts them")
_GLU: dict[str, Any] = {
    "forward": "Triton",
    "backward": "Triton; once differentiable",
    "compiled": _INLINE,
    "operators": ("cudalint::glu", "cudalint::glu_backward"),
    "fallbacks": (_NO_FLOAT64, _UNEQUAL),
}
_PACKED_GLU = _GLU | {
    "operators": ("cudalint::glu_packed", "cudalint::glu_packed_backward"),
    "fallbacks": (_NO_FLOAT64,),
}
_ROPE: dict[str, Any] = {
    "forward": "Triton; q and k in one launch",
    "backward": "Triton; q and k in one launch; once differentiable",
    "compiled": _INLINE,
    "operators": ("cudalint::apply_rope", "cudalint::apply_rope_backward"),
    "fallbacks": (
        _NO_FLOAT64,
        ("cos or sin that require a gradient", "the reference: the kernel has none for them"),
        ("cos and sin that enlarge q or k", "the reference: torch broadcasts them"),
    ),
}
_WHOLE_ROWS = "the reference: the kernel holds a row in registers"
_ADAPTIVE = _FUSED | {
    "compiled": "plain torch, inline, for inductor to fuse; one opaque operator where the gradient "
    "of the modulation is a sum over all rows: inductor's of chained modulated norms were wrong "
    "(torch 2.10 to mid-2026)",
    "fallbacks": (
        _NO_FLOAT64,
        _TRANSFORMED,
        ("over 8,192 columns", _WHOLE_ROWS),
        ("over 4,096 columns with a weight or bias", _WHOLE_ROWS),
    ),
}


def _after_sum(name: str) -> tuple[tuple[str, str], ...]:
    return (
        _NO_FLOAT64,
        _TRANSFORMED,
        ("over 8,192 columns", f"`+` and `{name}`; the reference with residual_dtype"),
        ("x and residual of unequal shapes", "the reference, which broadcasts"),
    )


_OWN_ATTENTION = "the own kernel of `attention`: torch's has no such option"

_FORWARD_ONLY: dict[str, Any] = {
    "backward": "none: forward only",
    "compiled": "the same, inline",
    "operators": (),
}

_DECODE = _FORWARD_ONLY | {
    "compiled": "one opaque operator where lengths are given",
    "operators": ("cudalint::decode_attention",),
}
_MASKED = (
    "torch.nn.functional.scaled_dot_product_attention, behind a mask; pages are gathered first"
)
_NO_DECODE = (
    _NO_FLOAT64,
    ("over 64 queries of a key head, widths over 256, before Ampere", _MASKED),
    ("float32, over 1,024 numbers of a key head's queries", _MASKED),
    ("a cache whose last dimension is not dense", _MASKED),
)

_KERNELS = (
    KernelInfo(
        name="GraphPool",
        forward="memory of CUDA graphs",
        **_FORWARD_ONLY,
        fallbacks=(("the CPU", "nothing: there are no graphs"),),
    ),
    KernelInfo(
        name="KVCache",
        forward="torch's index_put_, in place",
        **_FORWARD_ONLY,
        fallbacks=(),
    ),
    KernelInfo(
        name="PagedKVCache",
        forward="torch's index_put_, in place; pages are taken and released on the device",
        **_FORWARD_ONLY,
        fallbacks=(),
    ),
    KernelInfo(name="ada_layer_norm", **_ADAPTIVE),
    KernelInfo(name="ada_rms_norm", **_ADAPTIVE),
    KernelInfo(name="add_layer_norm", **_FUSED, fallbacks=_after_sum("layer_norm")),
    KernelInfo(name="add_rms_norm", **_FUSED, fallbacks=_after_sum("rms_norm")),
    KernelInfo(name="apply_rope", **_ROPE),
    KernelInfo(
        name="attention",
        forward="torch.nn.functional.scaled_dot_product_attention; Triton for softcap, window, "
        "alibi_slopes, sinks, and bias with dropout_p",
        backward="torch's own; Triton, once differentiable, without atomics",
        compiled="torch's own inline; the Triton kernel as one opaque operator",
        operators=("cudalint::attention", "cudalint::attention_backward"),
        fallbacks=(
            (
                "softcap, window, alibi_slopes, sinks, bias with dropout_p in float64",
                _NO_FLOAT64[1],
            ),
            ("the same before Ampere", "the reference: products would have no tensor cores"),
            ("the same with heads wider than 256", "the reference: tiles would fill the registers"),
            ("alibi_slopes that require a gradient", "the reference: the kernel has none for them"),
            (
                "bias, and attn_mask that requires a gradient, in the own kernel",
                "the reference: the kernel has one gradient of what is added to the scores",
            ),
            (
                "enable_gqa in float32, with a mask before Hopper, or with a mask to differentiate",
                "key and value are repeated: no fused backend takes the case, and MATH would write "
                "the scores",
            ),
            (
                "a mask with gradients at lengths of 64 modulo 128",
                "any backend but cuDNN, whose backward is wrong there (torch 2.11 to 2.13)",
            ),
            (
                "full float32 without the causal mask, compiled or in heads wider than 256",
                "scores of up to 2 GB are written: cuBLAS is faster than the fused backends",
            ),
            (
                "full float32 in the own kernel, unless a window hides seven of eight keys",
                "scores of up to 2 GB are written: cuBLAS is faster than the kernel",
            ),
        ),
    ),
    KernelInfo(
        name="attention_varlen",
        forward="torch.nn.attention.varlen, which runs FlashAttention",
        backward="torch's own",
        compiled="the same, inline",
        operators=(),
        fallbacks=(
            ("softcap", "a padded batch in `attention`: torch's has no such option"),
            ("float32, float64", "a padded batch in `attention`: FlashAttention has halves only"),
            (
                "widths over 256 or not divisible by 8, values of another width than keys, "
                "before Ampere",
                "a padded batch in `attention`, with a mask",
            ),
        ),
    ),
    KernelInfo(
        name="cross_entropy",
        forward="Triton; rows of any length in the online form; ignored rows are not read",
        backward="Triton; once differentiable",
        compiled="one opaque operator for logits from 1 GB on, else torch's own, inline",
        operators=("cudalint::cross_entropy", "cudalint::cross_entropy_backward"),
        fallbacks=(
            _NO_FLOAT64,
            _LONG_ROWS,
            ("class weights", "the reference"),
            ("probabilities as targets", "the reference"),
            ("a single class", "the reference: its loss is 0, a kernel would give its rounding"),
        ),
    ),
    KernelInfo(
        name="decode_attention",
        forward="Triton; shares of the places, added up in a fixed order; without lengths "
        "torch.nn.functional.scaled_dot_product_attention",
        **_DECODE,
        fallbacks=(
            *_NO_DECODE,
            ("softcap, without lengths", _OWN_ATTENTION),
            ("window, without lengths", _OWN_ATTENTION),
        ),
    ),
    KernelInfo(
        name="gated_residual",
        **_ADAPTIVE
        | {
            "compiled": _INLINE,
            "operators": ("cudalint::gated_residual", "cudalint::gated_residual_backward"),
        },
    ),
    KernelInfo(name="gated_residual_ada_layer_norm", **_ADAPTIVE),
    KernelInfo(name="geglu", **_GLU),
    KernelInfo(name="geglu_packed", **_PACKED_GLU),
    KernelInfo(
        name="graphed",
        forward="a CUDA graph, replayed",
        backward="none: a graphed training step runs its own",
        compiled="fn itself, inline",
        operators=(),
        fallbacks=(
            ("tensors of the CPU", "fn itself: there are no graphs"),
            ("inside another capture", "fn itself, as a part of that graph"),
        ),
    ),
    KernelInfo(name="int4_linear", **_QUANTIZED),
    KernelInfo(name="int8_linear", **_QUANTIZED),
    KernelInfo(
        name="layer_norm",
        **_FUSED | {"compiled": "torch.nn.functional.layer_norm, inline"},
        fallbacks=(
            (
                "float64, under torch.func, over 8,192 columns, or up to 32,768 elements",
                "torch.nn.functional.layer_norm; the reference for weights of another dtype",
            ),
        ),
    ),
    KernelInfo(
        name="linear_cross_entropy",
        forward="cuBLAS products of chunks of rows, each followed by the kernel of cross_entropy",
        backward="each chunk once more, but for logits of half a chunk, which are kept; once "
        "differentiable; weight gradients summed in float32",
        compiled="one opaque operator",
        operators=("cudalint::linear_cross_entropy", "cudalint::linear_cross_entropy_backward"),
        fallbacks=(_NO_FLOAT64, _LONG_ROWS),
    ),
    KernelInfo(name="log_softmax", **_SOFTMAX),  # type: ignore[arg-type]
    KernelInfo(
        name="paged_decode_attention",
        forward="Triton, as decode_attention; a page's places are read where they lie",
        **_DECODE,
        fallbacks=_NO_DECODE,
    ),
    KernelInfo(
        name="patch",
        forward="the functions that it puts into the model",
        backward="theirs",
        compiled="theirs, in a model compiled after it",
        operators=(),
        fallbacks=(
            ("a dtype in which a norm was not seen to be equal", "the module's own code"),
            ("a layer norm under autocast", "the module's own code"),
        ),
    ),
    KernelInfo(name="quantize_int4", **_PACKER),
    KernelInfo(name="quantize_int8", **_PACKER),
    KernelInfo(
        name="rms_norm",
        forward="Triton; rows of any length",
        backward="Triton; once differentiable; weight gradients summed in two fixed stages",
        compiled=_INLINE,
        operators=("cudalint::rms_norm", "cudalint::rms_norm_backward"),
        fallbacks=(_NO_FLOAT64, _LONG_ROWS),
    ),
    KernelInfo(name="rope", **_ROPE),
    KernelInfo(name="softmax", **_SOFTMAX),  # type: ignore[arg-type]
    KernelInfo(name="swiglu", **_GLU),
    KernelInfo(name="swiglu_packed", **_PACKED_GLU),
)


def list_kernels() -> list[str]:
    """The names of the functions of the library."""
    return [kernel.name for kernel in _KERNELS]


def kernel_info(name: str) -> KernelInfo:
    """Where function `name` runs and what it falls back to."""
    for kernel in _KERNELS:
        if kernel.name == name:
            return kernel
    nearest = difflib.get_close_matches(name, list_kernels(), n=1)
    hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
    raise ValueError(f"kernel_info: no kernel is named {name!r}{hint}; accepted: {list_kernels()}")
