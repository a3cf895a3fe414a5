"""What functions and classes of torch and of other libraries return, by qualified name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.devices import CPU, CUDA, UNKNOWN
from cudalint.facts.tensors import tables
from cudalint.facts.tensors.operations import dtype_of, operation
from cudalint.facts.tensors.tables import words
from cudalint.facts.tensors.values import (
    ARRAY,
    NUMBER,
    UNKNOWN_VALUE,
    Value,
    join,
    join_devices,
    output,
    sequence,
    tensor,
)

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.arguments import Arguments
    from cudalint.facts.python import PythonFacts

_CREATED = ("zeros", "ones", "empty", "full", "rand", "randn")
_INTEGER_FACTORIES = ("arange", "randint", "randperm", "tril_indices", "triu_indices")
_WRAPPERS = ("compile", "jit.script", "jit.trace", "autograd.Variable", "Tensor.detach")
# Packages whose loaders derive from torch's.
_LOADERS = ("monai.data.", "torch_geometric.loader.", "torch_geometric.data.", "torchdata.")
_TUPLES = words("svd eigh eig qr slogdet lstsq svd_lowrank lobpcg unique_consecutive")
_PARALLEL = (
    "nn.DataParallel",
    "nn.parallel.DataParallel",
    "nn.parallel.DistributedDataParallel",
    "nn.SyncBatchNorm.convert_sync_batchnorm",
    "distributed.fsdp.FullyShardedDataParallel",
)


def library_call(facts: PythonFacts, path: str, call: Node, given: Arguments) -> Value | None:
    """The value of a call by its qualified name; None: a name that this module does not know."""
    top = path.partition(".")[0]
    if top == "torch":
        return _torch(facts, path[6:], call, given)
    if top in tables.ARRAY_LIBRARIES:
        return ARRAY
    if top == "builtins":
        return None
    if path in ("copy.copy", "copy.deepcopy") and given.positional:
        return facts.tensors.value(given.positional[0])
    if path.startswith(_LOADERS) and path.endswith("Loader"):
        return facts.loaders.of_subclass(call)
    if path.startswith(("torchvision.models.", "timm.create_model", "torch_geometric.nn.")):
        return Value("module")
    if path == "einops.einsum" or path.startswith("einops.re"):
        return _function(facts, "rearrange", given)
    if top in tables.PLAIN_LIBRARIES and path not in _ITERATION:
        return UNKNOWN_VALUE
    return None


_ITERATION = (
    "itertools.islice",
    "itertools.cycle",
    "itertools.chain",
    "tqdm.tqdm",
    "functools.reduce",
)


def _torch(facts: PythonFacts, name: str, call: Node, given: Arguments) -> Value | None:
    head, _, last = name.rpartition(".")
    if name == tables.LOADER[6:]:
        return facts.loaders.value(call)
    if name in _WRAPPERS or name in _PARALLEL or name == "functional.checkpoint":
        first = given.get("module", 0) or given.get("model", 0)
        value = facts.tensors.value(first) if first is not None else UNKNOWN_VALUE
        if name in _PARALLEL:
            return Value("module", device=value.device, node=value.node)
        return tensor() if name.startswith("autograd") and not value.is_tensor else value
    if head == "" or head in ("_C", "functional"):
        return _function_of_torch(facts, last, given)
    if head == "nn.functional":
        return _functional(facts, last, given)
    if name.startswith(("linalg.", "fft.", "special.", "ops.")):
        return output() if last in _TUPLES else _function(facts, last, given)
    return _of_class(facts, head, last, given)


def _of_class(facts: PythonFacts, head: str, last: str, given: Arguments) -> Value | None:
    if head == "cuda" and last in tables.TYPES:
        return tensor(CUDA, tables.TYPES[last])
    if head == "nn" and last == "Parameter":
        return _function(facts, "clone", given).but(kind="tensor", grad=True)
    if head.startswith("nn.utils") and last.startswith(("clip_grad", "get_total_norm")):
        return tensor(dtype="float", scalar=True, grad=False)
    if head.startswith("nn.utils"):
        return output(sure=False) if head == "nn.utils.rnn" else Value("module")
    if head == "nn.init":
        return _function(facts, "clone", given)
    if head in ("nn", "nn.parallel") and last[:1].isupper():
        reduction = given.keywords.get("reduction")
        reduces = reduction is None or "none" not in facts.code(reduction)
        scalar = last.endswith("Loss") and reduces
        return Value("module", path=f"torch.nn.{last}", scalar=scalar)
    if head.startswith("optim"):
        return Value("optimizer") if head == "optim" else UNKNOWN_VALUE
    if head.startswith("distributions"):
        return Value("distribution", device=_devices(facts, given))
    if head == "autograd" and last == "grad":
        return sequence(tensor())
    if head in ("cuda", "distributed") or head.startswith(("cuda.", "backends")):
        return UNKNOWN_VALUE if head == "distributed" and last != "get_rank" else NUMBER
    return None


def _devices(facts: PythonFacts, given: Arguments) -> str:
    values = [facts.tensors.value(node) for node in (*given.positional, *given.keywords.values())]
    tensors = [value.device for value in values if value.is_tensor]
    return join_devices(*tensors) if tensors else UNKNOWN


def _function_of_torch(facts: PythonFacts, name: str, given: Arguments) -> Value | None:
    if name in tables.TYPES:
        return tensor(CPU, tables.TYPES[name], grad=False)
    if name in tables.FACTORIES or (name.endswith("_like") and name != "is_like"):
        return _factory(facts, name, given)
    if name in tables.NUMBERS:
        return NUMBER
    if name == "device":
        first = given.positional[0] if given.positional else None
        device = facts.devices.of(first) if first is not None else None
        return Value("device", device=device or UNKNOWN)
    if name in tables.OTHERS or name[:1].isupper() or not name:
        return None if name == "load" else UNKNOWN_VALUE
    if name == "where" and len(given.positional) + len(given.keywords) == 1:
        return sequence(tensor(dtype="int64"))
    if name in _TUPLES or name == "unique":
        return output() if len(given.keywords) else _function(facts, name, given)
    return _function(facts, name, given)


def _factory(facts: PythonFacts, name: str, given: Arguments) -> Value:
    device = given.keywords.get("device")
    first = facts.tensors.value(given.positional[0]) if given.positional else UNKNOWN_VALUE
    where = CUDA if facts.devices.sets_default else CPU
    if name.endswith("_like") or (name in ("tensor", "as_tensor") and first.kind == "tensor"):
        where = first.device if first.kind == "tensor" or name.endswith("_like") else where
    if device is not None and device.type != "none":
        where = facts.devices.of(device) or UNKNOWN
    dtype = ""
    if (node := given.keywords.get("dtype")) is not None:
        dtype = dtype_of(facts, node)
    elif name in _CREATED:
        dtype = "float"
    elif name in _INTEGER_FACTORIES:
        dtype = "int64" if name != "arange" else ""
    pinned = (
        facts.code(given.keywords["pin_memory"]) == "True"
        if "pin_memory" in given.keywords
        else False
    )
    grad = "requires_grad" in given.keywords
    scalar = name in ("tensor", "as_tensor", "scalar_tensor") and first.kind == "number"
    return tensor(where, dtype, pinned=pinned, grad=grad, scalar=scalar)


def _functional(facts: PythonFacts, name: str, given: Arguments) -> Value:
    if name in tables.LOSSES:
        made = _function(facts, name, given)
        reduction = given.keywords.get("reduction")
        scalar = reduction is None or facts.code(reduction).strip("\"'") in ("mean", "sum")
        return made.but(dtype="float", scalar=scalar, sure=True)
    if "return_indices" in given.keywords or name == "multi_head_attention_forward":
        return output()
    return _function(facts, name, given)


def _function(facts: PythonFacts, name: str, given: Arguments) -> Value:
    """A function of torch of one or more tensors, the first of which may be a list of them."""
    positional = list(given.positional)
    first = given.keywords.get("input") or given.keywords.get("tensors")
    if first is None:
        if not positional:
            return tensor()
        first = positional.pop(0)
    value = facts.tensors.value(first)
    if value.kind == "sequence":
        value = join(value.item or UNKNOWN_VALUE, *value.items).but(scalar=False)
    operand = value if value.is_tensor else tensor()
    made = operation(facts, name, operand.but(sure=True), positional, given)
    return made if made.kind == "sequence" else made.but(sure=True)
