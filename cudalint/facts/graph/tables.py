"""Names of torch, sorted by what a call of them does to values and memory."""

from __future__ import annotations

from cudalint.lazy import lazy_compile


def words(text: str) -> frozenset[str]:
    """A set of names, written as one text."""
    return frozenset(text.split())


# One operand, element by element; the operation is called by its own name.
UNARY = words(
    """abs absolute acos asin atan ceil cos cosh elu erf erfc exp exp2 expm1 floor hardtanh isfinite
    isinf isnan leaky_relu log log10 log1p log2 logsigmoid mish relu relu6 round selu sigmoid sign
    silu sin sinh softplus softsign tan tanh trunc"""
)
SAME = {
    "absolute": "abs",
    "swish": "silu",
}
# (operation, exponent)
POWERS = {
    "sqrt": 0.5,
    "rsqrt": -0.5,
    "square": 2,
    "reciprocal": -1,
}
BINARY = {
    "maximum": "maximum",
    "minimum": "minimum",
    "eq": "eq",
    "ne": "ne",
    "lt": "lt",
    "gt": "gt",
    "le": "le",
    "ge": "ge",
    "logical_and": "and",
    "logical_or": "or",
    "bitwise_and": "and",
    "bitwise_or": "or",
    "fmod": "mod",
    "remainder": "mod",
    "floor_divide": "floordiv",
    "atan2": "atan2",
}
REDUCTIONS = words(
    """all amax amin any logsumexp max mean median min nanmean nansum norm prod std sum var"""
)
# Same values in the same order, perhaps in the same memory.
IDENTITY = words("align_as clone contiguous refine_names requires_grad_")
CASTS = {
    "float": "float32",
    "half": "float16",
    "bfloat16": "bfloat16",
    "double": "float64",
    "long": "int64",
    "int": "int32",
    "bool": "bool",
}
DTYPES = {
    **{
        name: name
        for name in words(
            """float32 float16 bfloat16 float64 int64 int32 int16 int8 uint8 bool complex64
            float8_e4m3fn float8_e5m2"""
        )
    },
    "float": "float32",
    "half": "float16",
    "double": "float64",
    "long": "int64",
    "int": "int32",
}
# New memory, nothing written, no value of its own kind: the operation is `torch.NAME`.
PURE = words(
    """addbmm addcdiv addcmul addmm affine_grid all_finite allclose angle arange argmax argmin
    argsort argwhere as_tensor atleast_1d avg_pool1d avg_pool2d batch_norm bernoulli bilinear
    binary_cross_entropy binary_cross_entropy_with_logits bincount block_diag broadcast_tensors
    bucketize cat cdist channel_shuffle clamp clamp_max clamp_min clip complex concat concatenate
    conj conv1d conv2d conv3d corrcoef cosine_embedding_loss cosine_similarity count_nonzero cross
    cross_entropy cummax cumprod cumsum data_ptr diag diag_embed diff dim dot element_size
    embedding empty empty_like equal eye finfo flip fliplr flipud fmax fmin fold full full_like
    gather ger get_default_dtype get_device glu grid_sample group_norm gumbel_softmax hann_window
    heaviside histc hstack hypot iinfo imag index_add index_copy index_fill index_select inner
    instance_norm interpolate inverse is_autocast_enabled is_available is_complex is_contiguous
    is_cuda is_floating_point is_grad_enabled is_same_size is_tensor isclose isin item kl_div kron
    kthvalue l1_loss layer_norm lerp linspace local_response_norm log_softmax logaddexp logit
    lstsq manual_seed masked_scatter masked_select max_pool1d max_pool2d meshgrid mse_loss msort
    multi_dot multinomial nan_to_num new new_empty new_full new_ones new_tensor new_zeros nll_loss
    nonzero norm_except_dim normal numel numpy one_hot ones ones_like outer pad pairwise_distance
    pixel_shuffle polar positive promote_types put qr quantile rand rand_like randint randn
    randn_like randperm real repeat repeat_interleave result_type rms_norm roll rot90
    scaled_dot_product_attention scatter scatter_add searchsorted signbit slice_scatter
    smooth_l1_loss softmin solve sort sparse_coo_tensor stack std_mean storage_offset stride svd
    take take_along_dim tensor tensordot tile tolist topk trace trapz tri tril tril_indices triu
    triu_indices trunc type_as_dtype unfold unique upsample var_mean vdot vecdot view_as_complex
    view_as_real vstack where_ xlogy zero zeros zeros_like"""
)
RANDOM = words(
    """bernoulli empty empty_like gumbel_softmax multinomial new_empty normal rand rand_like randint
    randn randn_like randperm"""
)
# The operations among them that move the random stream.
DRAWING = frozenset(f"torch.{name}" for name in RANDOM if "empty" not in name)
# Views (or copies: which one is not known) that the graph gives no meaning beyond their name.
VIEWS = words(
    """align_to as_strided atleast_2d atleast_3d broadcast_to cpu data detach_ diagonal expand_as
    flatten hsplit imag moveaxis movedim narrow pin_memory ravel real rename reshape_as select
    split_with_sizes swapaxes_ t_ tensor_split unflatten unfold unsafe_chunk view_as vsplit"""
)
# Parts of torch that run code given to them, or write what they are given.
ACTING = (
    "torch.utils.",
    "torch.distributed.",
    "torch.autograd.",
    "torch.ops.",
    "torch.nn.init.",
    "torch.nn.parallel.",
    "torch.compile",
    "torch.func.",
    "torch.vmap",
    "torch.jit.",
    "torch.fx.",
    "torch._",
    "torch.cuda.",
    "torch.library.",
    "torch.optim.",
    "torch.save",
    "torch.testing.",
    "torch.profiler.",
    "torch.export.",
    "torch.nn.attention.",
    "torch.amp.",
    "torch.autocast",
)
# Builtins and others that write nothing they are given (`max` and `min` are compared by value).
HARMLESS = words(
    """AssertionError AttributeError DeprecationWarning Exception ImportError IndexError KeyError
    NotImplementedError RuntimeError StopIteration TypeError UserWarning ValueError Warning abs
    all any bool callable dict divmod enumerate filter float format frozenset getattr hasattr hash
    id int isinstance issubclass len list map max min object pow print property range repr
    reversed round set slice sorted str sum super tuple type zip"""
)
HARMLESS_MODULES = (
    "math.",
    "warnings.",
    "logging.",
    "numpy.",
    "typing.",
    "inspect.",
    "os.",
)
# What classes of norms are called.
NORM_CLASS = lazy_compile(r"(Layer|RMS|Rms)Norm$")
SELF_MUTATORS = words("delattr setattr vars")
REFLECTION = words("eval exec globals locals")
