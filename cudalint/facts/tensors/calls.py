"""What a call returns: torch, the file's own functions and classes, modules, builtins, unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.devices import CPU, UNKNOWN
from cudalint.facts.tensors import tables
from cudalint.facts.tensors.builtins import builtin
from cudalint.facts.tensors.definitions import bases, class_of, constructed, returned
from cudalint.facts.tensors.library import library_call
from cudalint.facts.tensors.operations import method
from cudalint.facts.tensors.tables import LOADER, words
from cudalint.facts.tensors.values import (
    BOTTOM,
    NUMBER,
    TEXT,
    UNKNOWN_VALUE,
    Value,
    join_devices,
    output,
    sequence,
    tensor,
)
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.arguments import Arguments
    from cudalint.facts.python import PythonFacts

_ENVIRONMENT = lazy_compile(r"(?:^|[._])(?:env|envs|environment|gym|tokenizer|logger|writer)\w*$")
_TUPLE_MODULES = ("LSTM", "GRU", "RNN", "LSTMCell", "MultiheadAttention")
# What accelerate and fabric collect from all processes is what each of them gave.
_GATHERS = words("gather gather_for_metrics reduce pad_across_processes all_gather all_reduce")
_ACCELERATOR = lazy_compile(r"accelerator|fabric")
_MODEL_CLASS = lazy_compile(
    r"Model\w*$|For[A-Z]\w+$|UNet\w*$|Autoencoder\w*$|Transformer\w*$|ControlNet"
)
_BOOKKEEPING = words(
    "state_dict named_parameters parameters load_state_dict num_parameters get_num_params "
    "configure_optimizers save_pretrained named_modules modules children buffers named_buffers "
    "zero_grad register_buffer register_parameter add_module apply get_parameter"
)


def call_value(facts: PythonFacts, call: Node) -> Value:
    """The value of a call."""
    function = call.child_by_field_name("function")
    if function is None:
        return UNKNOWN_VALUE
    given = facts.names.arguments(call)
    if "return_tensors" in given.keywords:  # a tokenizer, a processor
        return output(CPU)
    path = facts.names.qualified(function)
    if path is not None and path.startswith("builtins."):
        return builtin(facts, path[9:], given)
    if (through := facts.loaders.passed_on(call)) is not None:
        return through
    if path is not None and (known := library_call(facts, path, call, given)) is not None:
        return known
    if (definition := facts.names.definition(function)) is not None:
        return _own(facts, definition, call)
    if (loader := facts.loaders.named_so(call)) is not None:
        return loader
    if function.type == "attribute":
        return _method_call(facts, function, given)
    callee = facts.tensors.value(function)
    return _called(facts, callee, function, given)


def _own(facts: PythonFacts, definition: Node, call: Node) -> Value:
    """A function or class of the file itself."""
    if definition.type == "class_definition":
        if any(facts.names.qualified(base) == LOADER for base, _ in bases(facts, definition)):
            return facts.loaders.of_subclass(call)
        return constructed(facts, definition)
    made = returned(facts, definition)
    if made.kind in ("unknown", "bottom"):
        return _of_unknown(facts, facts.names.arguments(call), call.children[0])
    return made


def _called(facts: PythonFacts, callee: Value, function: Node, given: Arguments) -> Value:
    """A call of an object."""
    if callee.kind == "module" or facts.tensors.evidence.is_module(function):
        return _forward(facts, callee, given)
    caller = (
        class_of(facts, callee.node, "__call__")
        if callee.kind == "object" and callee.node
        else None
    )
    if caller is not None:
        return returned(facts, caller)
    if callee.kind == "function" and callee.node is not None:
        return returned(facts, callee.node)
    made = _of_unknown(facts, given, function)
    if made.is_tensor and facts.tensors.evidence.is_criterion(function):
        return made.but(kind="tensor", dtype="float", scalar=True)
    return made


def _forward(facts: PythonFacts, module: Value, given: Arguments) -> Value:
    """A module called: what its `forward` returns, on its device or that of its inputs."""
    devices = _tensor_devices(facts, given)
    device = join_devices(module.device, *devices)
    if device != module.device and module.device == UNKNOWN and devices:
        device = join_devices(*devices)
        device = device if device != CPU or module.path else UNKNOWN
    if module.path:
        if module.path.endswith(_TUPLE_MODULES):
            return output(device)
        return tensor(device, "float" if module.scalar else "", scalar=module.scalar)
    if module.node is not None and (body := facts.names.method(module.node, "forward")) is not None:
        made = returned(facts, body)
        if made.is_tensor or made.kind in ("sequence", "mapping"):
            return _on(made, device)
    return output(device)


def _on(value: Value, device: str) -> Value:
    """A module's result where its inputs say more of the device than its `forward` alone."""
    if value.is_tensor and value.device == UNKNOWN:
        return value.but(device=device)
    if value.kind == "sequence" and value.item is not None:
        return value.but(
            item=_on(value.item, device), items=tuple(_on(v, device) for v in value.items)
        )
    return value


def _tensor_devices(facts: PythonFacts, given: Arguments) -> list[str]:
    return [value.device for value in _tensors_in(facts, given)]


def _tensors_in(facts: PythonFacts, given: Arguments) -> list[Value]:
    found = []
    for node in (*given.positional, *given.keywords.values()):
        value = facts.tensors.value(node)
        inner = (value.item,) if value.kind in ("sequence", "mapping") else (value,)
        found += [v for v in inner if v is not None and v.is_tensor]
    return found


def _of_unknown(facts: PythonFacts, given: Arguments, function: Node) -> Value:
    """An unknown function that is given tensors most likely returns some.

    Given a module or a batch it may move them: only plain tensors on the CPU stay there.
    """
    tensors = _tensors_in(facts, given)
    if not tensors:
        if facts.tensors.evidence.is_criterion(function) and given.positional:
            return tensor(dtype="float", scalar=True, sure=False)
        return UNKNOWN_VALUE
    device = join_devices(*(value.device for value in tensors))
    if device == CPU and any(value.kind == "output" for value in tensors):
        device = UNKNOWN
    return output(device, sure=False)


def _method_call(facts: PythonFacts, function: Node, given: Arguments) -> Value:
    owner_node = function.children[0]
    name = facts.code(function.children[-1])
    owner = facts.tensors.value(owner_node)
    if owner.kind == "bottom":
        return BOTTOM
    if owner.is_tensor:
        return method(facts, owner, name, given)
    if owner.kind in ("module", "object"):
        held = facts.tensors.value(function)  # `self.layer(x)`
        if held.kind == "module":
            return _forward(facts, held, given)
    if owner.kind == "module":
        return _module_method(facts, owner, function, name, given)
    body = class_of(facts, owner.node, name) if owner.kind == "object" and owner.node else None
    if body is not None:
        return returned(facts, body)
    if owner.kind in ("mapping", "sequence"):
        return _container_method(owner, name)
    if owner.kind == "distribution":
        return _distribution(owner, name)
    if owner.kind == "array":
        return NUMBER if name == "item" else owner
    if owner.kind in ("number", "text", "optimizer", "device", "dtype", "none"):
        return TEXT if owner.kind == "text" else UNKNOWN_VALUE
    if owner.kind == "loader":
        return owner
    return _unknown_method(facts, function, owner_node, name, given)


def _unknown_method(
    facts: PythonFacts, function: Node, owner: Node, name: str, given: Arguments
) -> Value:
    if facts.tensors.evidence.is_module(function):
        return _forward(facts, Value("module"), given)
    if facts.tensors.evidence.is_module(owner):
        return _module_method(facts, Value("module"), function, name, given)
    if name in _GATHERS and given.positional and _ACCELERATOR.search(facts.code(owner)):
        return facts.tensors.value(given.positional[0])
    if name in tables.TORCH_ONLY or ("dim" in given.keywords and name in tables.REDUCTIONS):
        return method(facts, tensor(), name, given)
    if name == "from_pretrained" and _MODEL_CLASS.search(facts.code(owner)):
        return Value("module")
    if name in ("cuda", "to") and owner.type == "call" and _is_class(facts, owner):
        return method(facts, Value("module"), name, given)
    if name in ("cuda", "cpu", "to") and (given.positional or name != "to"):
        return method(facts, output(sure=False), name, given)
    if name == "backward":
        return BOTTOM
    if _ENVIRONMENT.search(facts.code(owner)):
        return UNKNOWN_VALUE
    made = _called(facts, facts.tensors.value(function), function, given)
    return made


def _is_class(facts: PythonFacts, call: Node) -> bool:
    """Whether a call is spelled as the construction of an object: `Net(…)`, `models.UNet(…)`."""
    word = facts.code(call.children[0]).rpartition(".")[2]
    return word[:1].isupper() and not word.isupper()


def _module_method(
    facts: PythonFacts, module: Value, function: Node, name: str, given: Arguments
) -> Value:
    if name in ("to", "cuda", "cpu") or name in tables.MOVES:
        return (
            method(facts, module, name, given).but(kind="module")
            if name in ("to", "cuda")
            else module
        )
    if name in ("train", "eval", "compile", "share_memory", "requires_grad_", "apply"):
        return module
    if name in _BOOKKEEPING:
        is_items = name.startswith(("parameters", "buffers"))
        return sequence(tensor(module.device)) if is_items else UNKNOWN_VALUE
    if name in ("forward", "__call__"):
        return _forward(facts, module, given)
    if module.node is not None and (body := class_of(facts, module.node, name)) is not None:
        made = returned(facts, body)
        return made if made.kind not in ("unknown", "bottom") else output(module.device, sure=False)
    if given.positional or given.keywords or given.open:
        return output(join_devices(module.device, *_tensor_devices(facts, given)), sure=False)
    return UNKNOWN_VALUE


def _container_method(owner: Value, name: str) -> Value:
    item = owner.item or UNKNOWN_VALUE
    if owner.kind == "mapping":
        if name == "items":
            return sequence(sequence(items=(TEXT, item)))
        if name == "values":
            return sequence(item)
        if name == "keys":
            return sequence(TEXT)
        return item if name in ("get", "pop") else owner if name == "copy" else UNKNOWN_VALUE
    return item if name == "pop" else owner if name == "copy" else UNKNOWN_VALUE


def _distribution(owner: Value, name: str) -> Value:
    if name in ("sample", "rsample", "log_prob", "entropy", "mode"):
        return tensor(owner.device)
    return UNKNOWN_VALUE
