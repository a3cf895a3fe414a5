"""Torch's interface as far as the lattice needs it: what returns what."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text, as a table that reads like one."""
    return frozenset(text.split())


LOADER = "torch.utils.data.DataLoader"

COMPARISONS = words(
    "eq ne lt le gt ge greater less greater_equal less_equal not_equal isnan isinf isfinite "
    "logical_and logical_or logical_not logical_xor isclose isin any all"
)
INDICES = words(
    "argmax argmin argsort multinomial nonzero searchsorted bucketize bincount randint randperm "
    "one_hot count_nonzero tril_indices triu_indices"
)
SUMS = words("sum prod cumsum cumprod nansum")
MEANS = words("mean std var norm nanmean logsumexp")
# With no dim these leave a tensor without dimensions.
REDUCTIONS = (
    SUMS
    | MEANS
    | {"any", "all", "max", "min", "median", "argmax", "argmin", "dot", "trace", "amax", "amin"}
    | {"count_nonzero", "quantile"}
) - {"cumsum", "cumprod", "logsumexp"}
# With a dim these give values and indices.
PAIRS = words("max min median mode sort topk kthvalue cummax cummin")
SEQUENCES = words("split chunk unbind tensor_split meshgrid broadcast_tensors hsplit vsplit")
SAME = words(
    "abs neg negative clamp clip clamp_min clamp_max clone contiguous view view_as reshape "
    "flatten squeeze unsqueeze permute transpose t expand expand_as repeat flip roll detach "
    "requires_grad_ unflatten narrow index_select gather take masked_select tril triu diag "
    "masked_fill masked_fill_ fill_ zero_ sign round floor ceil amax amin cpu cuda relu "
    "repeat_interleave squeeze_ unsqueeze_ relu_ clamp_ detach_ data pin_memory swapaxes movedim "
    "select index_fill scatter scatter_ copy_ add_ sub_ mul_ div_ pow square ravel"
)
ELEMENTWISE = words(
    "abs neg negative clamp clip clamp_min clamp_max clone detach contiguous exp log sqrt rsqrt "
    "sigmoid tanh log1p expm1 pow square round floor ceil sign relu cpu cuda data requires_grad_ "
    "float double half bfloat16 long int bool to sin cos reciprocal log2 log10"
)
BINARY = words(
    "add sub mul div true_divide matmul mm bmm mv maximum minimum where lerp addmm addcmul dot "
    "fmod remainder eq ne lt le gt ge isclose"
)
CASTS = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
}
TYPES = {
    "FloatTensor": "float32",
    "DoubleTensor": "float64",
    "HalfTensor": "float16",
    "LongTensor": "int64",
    "IntTensor": "int32",
    "ByteTensor": "uint8",
    "BoolTensor": "bool",
    "Tensor": "float32",
}
DTYPES = words(
    "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool float double half long "
    "int short complex64 complex128 float8_e4m3fn float8_e5m2"
)
DTYPE_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64"}
DTYPE_ALIASES |= {"int": "int32", "short": "int16"}
FACTORIES = words(
    "zeros ones empty full rand randn randint randperm arange linspace logspace eye tensor "
    "as_tensor tril_indices triu_indices empty_strided scalar_tensor range normal from_numpy "
    "hann_window hamming_window frombuffer"
)
# Functions of `torch` itself that give no tensor.
NUMBERS = words(
    "is_tensor is_floating_point is_complex is_storage numel equal allclose seed initial_seed "
    "get_num_threads is_grad_enabled are_deterministic_algorithms_enabled is_nonzero"
)
OTHERS = words(
    "device no_grad enable_grad inference_mode set_grad_enabled autocast manual_seed save load "
    "set_default_dtype set_num_threads Generator Size finfo iinfo dtype use_deterministic_algorithms "
    "set_float32_matmul_precision set_default_device set_default_tensor_type set_printoptions "
    "get_rng_state set_rng_state get_default_dtype vmap func cond export compiler"
)
# Methods of a tensor that give Python values.
PLAIN_METHODS = words(
    "item size dim numel nelement ndimension element_size stride data_ptr storage_offset "
    "get_device is_contiguous is_floating_point is_pinned is_shared is_complex is_signed "
    "register_hook backward storage untyped_storage allclose equal is_set_to"
)
PLAIN_ATTRIBUTES = words(
    "shape ndim requires_grad is_cuda layout grad_fn is_leaf names itemsize nbytes is_sparse "
    "is_quantized batch_size num_graphs num_nodes num_edges num_features num_classes"
)
TENSOR_ATTRIBUTES = words("data grad T mT H real imag")
OUTPUT_TENSORS = words(
    "loss logits last_hidden_state pooler_output sample prediction_logits text_embeds "
    "image_embeds logits_per_image logits_per_text"
)
# Methods that neither NumPy, pandas, modules nor loggers have: their receiver is a tensor.
TORCH_ONLY = words(
    "detach unsqueeze unsqueeze_ pin_memory masked_fill masked_fill_ softmax log_softmax expand "
    "expand_as view_as permute contiguous gather scatter scatter_ topk bmm matmul mm sigmoid relu "
    "numel type_as long logsumexp index_select masked_select new_zeros new_ones new_tensor new_full "
    "unbind repeat_interleave eq ne ge le rsqrt exp tanh norm chunk narrow clamp clamp_ clamp_min "
    "clamp_max abs_ add_ mul_ div_ sub_ lerp_ neg isinf logical_and logical_or sqrt"
)
# Methods that tensors share with modules.
MOVES = words("cuda cpu float half double bfloat16 requires_grad_")
LOSSES = words(
    "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy "
    "binary_cross_entropy_with_logits kl_div cosine_embedding_loss margin_ranking_loss "
    "triplet_margin_loss hinge_embedding_loss poisson_nll_loss gaussian_nll_loss ctc_loss "
    "multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss soft_margin_loss"
)
# Packages whose results are no tensors, even where they are given some.
PLAIN_LIBRARIES = words(
    "math os sys time json re random logging collections itertools functools pathlib shutil "
    "pickle string glob datetime warnings subprocess csv typing dataclasses argparse matplotlib "
    "PIL wandb tensorboard tensorboardX tqdm yaml pandas cv2 imageio nltk sacrebleu rouge "
    "mlflow neptune rich click gym gymnasium statistics inspect copyreg"
)
ARRAY_LIBRARIES = words("numpy scipy sklearn skimage jax cupy")
