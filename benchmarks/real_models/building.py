"""Small instances of classes that are only known by their signatures, and inputs for them."""

from __future__ import annotations

import inspect
import itertools
import re
import sys
import types
import typing
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

WIDTH, HEADS, LENGTH, VOCABULARY = 64, 4, 9, 99

# What parameters of these names are given, in configurations, constructors and calls.
SIZES: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "dim", "width", "embed_dim", "d_model", "n_embd", "normalized_shape",
         "hidden_dim", "channels", "in_channels", "in_features", "features", "num_features",
         "embedding_dim", "query_dim", "inner_dim", "input_dim", "d_embed", "embed_dims",
         "in_chs", "in_dim", "emb_dim", "time_embed_dim", "conditioning_dim", "conditioning_embedding_dim", "cond_dim", "num_channels", "d_in", "encoder_dim", "decoder_dim"),
        WIDTH,
    ),
    **dict.fromkeys(
        ("num_attention_heads", "num_heads", "heads", "n_heads", "n_head", "encoder_attention_heads",
         "decoder_attention_heads", "attention_heads", "num_local_heads", "mamba_num_heads"),
        HEADS,
    ),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "n_kv_heads"), 2),
    **dict.fromkeys(
        ("head_dim", "attention_head_dim", "dim_head", "head_size", "d_kv", "kv_channels",
         "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "d_head", "key_dim", "rotary_dim"),
        WIDTH // HEADS,
    ),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "d_ff", "moe_intermediate_size", "mlp_dim", "hidden_features",
         "encoder_ffn_dim", "decoder_ffn_dim", "shared_expert_intermediate_size", "ffn_hidden_size",
         "intermediate_dim"),
        96,
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "num_layers", "n_layer", "depth", "n_layers", "encoder_layers",
         "decoder_layers", "num_decoder_layers", "num_encoder_layers", "num_single_layers"),
        2,
    ),
    **dict.fromkeys(("vocab_size", "vocabulary_size"), VOCABULARY),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "top_k", "moe_top_k"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("pad_token_id",), 0),
    **dict.fromkeys(("bos_token_id", "decoder_start_token_id"), 1),
    "eos_token_id": 2,
    "max_position_embeddings": 64,
    "image_size": 32,
    "patch_size": 8,
    "layer_idx": 0,
    "eps": 1e-5,
}  # fmt: skip


def small(kind: type, **more: Any) -> Any:
    """An instance with what its constructor names, seeded weights included."""
    made = kind(**_given(kind, more))
    if isinstance(made, nn.Module):
        reseed(made)
    return made


def _given(kind: type, more: dict[str, Any]) -> dict[str, Any]:
    given = dict(more)
    hints = _hints(kind)
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in given or name == "self":
            continue
        if name in SIZES:
            given[name] = SIZES[name]
        elif name.endswith("config") and parameter.default in (inspect.Parameter.empty,):
            given[name] = configuration(hints.get(name) or _named(kind, parameter.annotation))
        elif parameter.default is inspect.Parameter.empty and parameter.kind in (1, 3):
            given[name] = _by_part(name)
    return given


def _by_part(name: str) -> Any:
    """A value for a name that is none of the known ones: most are sizes."""
    parts = {"drop": 0.0, "rate": 0.0, "kernel": 3, "stride": 1, "padding": 1, "eps": 1e-5}
    return next((value for part, value in parts.items() if part in name), WIDTH)


def _named(kind: type, annotation: Any) -> Any:
    """The class that an annotation names in its module, or the module's own configuration."""
    module = sys.modules[kind.__module__]
    found = getattr(module, str(annotation), None)
    return found or next(v for n, v in vars(module).items() if n.endswith("Config"))


def _hints(function: Any) -> dict[str, Any]:
    function = function.__init__ if isinstance(function, type) else function
    try:
        return typing.get_type_hints(function)
    except Exception:  # names that only a type checker sees
        return {}


def configuration(kind: Any) -> Any:
    """A small configuration of a transformers model, with small ones for its parts."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kind = next(part for part in typing.get_args(kind) if isinstance(part, type))
    known = inspect.signature(kind.__init__).parameters
    given = {name: value for name, value in SIZES.items() if name in known}
    for name, part in getattr(kind, "sub_configs", {}).items():
        if isinstance(part, type) and hasattr(part, "model_type") and part.model_type:
            given[name] = configuration(part)
    made = _accepted(kind, given)
    made._attn_implementation = "eager"
    return made


def _accepted(kind: Any, given: dict[str, Any]) -> Any:
    """A configuration without what its checks refuse by name: some sizes are lists there."""
    while True:
        try:
            return kind(**given)
        except Exception as error:
            refused = re.search(r"field '(\w+)'", str(error))
            if refused is None or given.pop(refused[1], None) is None:
                raise


def reseed(module: nn.Module) -> None:
    """Weights that are neither zeros nor ones: gains near one, all others small."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = 0.1 * torch.randn(parameter.shape)
            parameter.copy_(noise + 1 if parameter.dim() == 1 else noise)


def attempts(call: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Keyword arguments for a call, one guess after another."""
    parameters = dict(inspect.signature(call).parameters)
    for name in ("self", "kwargs", "args"):
        parameters.pop(name, None)
    required = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty]
    if "input_ids" in parameters:
        ids = torch.randint(3, VOCABULARY, (2, LENGTH), generator=_generator("ids"))
        yield {"input_ids": ids}
        if "decoder_input_ids" in parameters:
            yield {"input_ids": ids, "decoder_input_ids": ids.flip(0)}
    if "pixel_values" in parameters:
        yield {"pixel_values": _noise("pixel_values", 2, 3, 32, 32)}
    names = [*required, *(n for n in parameters if n in _CONDITIONS and n not in required)]
    names = names or list(parameters)[:1]
    conditions = _CONDITION_SHAPES if _CONDITIONS & set(names) else _CONDITION_SHAPES[:1]
    masks = (None, True) if any("mask" in name for name in names) else (None,)
    for first, condition, mask in itertools.product(_SHAPES, conditions, masks):
        yield {name: _argument(name, first, condition, mask) for name in names}


# What a call is given first, and what its condition is (the embedding of a time step).
_SHAPES = (
    *(
        (2, LENGTH, WIDTH),
        (LENGTH, 2, WIDTH),
        (2, WIDTH, 8, 8),
        (2, 8, 8, WIDTH),
        (2, WIDTH, 16),
        (6, WIDTH),
    ),
    (1, 2, 8, 8, WIDTH),
)
_CONDITIONS = {"temb", "emb", "conditioning", "conditioning_embedding", "c", "vec", "t_emb", "cond"}
_CONDITION_SHAPES = (
    *((2, WIDTH), (2, 6, WIDTH), (2, LENGTH, WIDTH), (2, 1, WIDTH), (2, 6 * WIDTH)),
    *((2, 1, 6 * WIDTH), (2, LENGTH, 6, WIDTH), (2, 3 * WIDTH)),
)


def _argument(
    name: str, shape: tuple[int, ...], condition: tuple[int, ...], mask: bool | None
) -> Any:
    turned = WIDTH // HEADS
    if name in ("position_embeddings", "image_rotary_emb", "rotary_emb"):
        angles = _noise(name, LENGTH, turned)
        return angles.cos(), angles.sin()
    if name in ("cos", "sin"):
        return _noise(name, 1, LENGTH, turned)
    if name in ("q", "k", "v", "query", "key", "value", "query_states", "key_states"):
        return _noise(name, 2, HEADS, LENGTH, turned)
    if "mask" in name:
        return None if mask is None else torch.ones(shape[:2], dtype=torch.bool)
    if name in _CONDITIONS:
        return _noise(name, *condition)
    if name.endswith("_size") or name in ("H", "W", "h", "w"):
        return 8
    return _noise(name, *shape)


def _noise(name: str, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=_generator(name))


def _generator(name: str) -> torch.Generator:
    """Other numbers for other arguments, and the same ones in every process."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))
