"""What a class's `__init__` says of `self.x`: submodules, buffers and numbers, assigned once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_REGISTERING = ("register_buffer", "register_parameter", "add_module", "register_module")
# What the tables of transformers and diffusers hold under a key.
_ACTIVATIONS = {
    **dict.fromkeys(("silu", "swish"), "SiLU"),
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh"), "GELU tanh"),
    "gelu": "GELU erf",
}


class Module(NamedTuple):
    """A torch module by its class's name, and the call that makes it.

    `certain` is false where another branch gives `nn.Identity` or None in its place.
    """

    kind: str
    call: Node
    certain: bool = True


@record(eq=False)
class Class:
    """A class with its bases of the same file: what its attributes are, where they are fixed."""

    node: Node
    bases: tuple[Class, ...] = ()
    whole: bool = True  # every base is of this file or of torch
    dynamic: bool = False  # setattr: nothing is fixed
    attributes: dict[str, list[Node]] = field(default_factory=dict)

    def assigned(self, name: str) -> Node | None:
        """The one value that the class ever gives to `self.name`."""
        values = self.values(name)
        return values[0] if len(values) == 1 and not self.is_dynamic else None

    def values(self, name: str) -> list[Node]:
        own = list(self.attributes.get(name, ()))
        return own or [value for base in self.bases for value in base.values(name)]

    @property
    def is_dynamic(self) -> bool:
        return self.dynamic or any(base.is_dynamic for base in self.bases)


class Classes:
    """The classes of one file."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._known: dict[int, Class] = {}

    def of(self, function: Node) -> Class | None:
        """The class that a method belongs to; functions nested in methods see the same `self`."""
        holder = self.facts.names.enclosing(function, "class_definition")
        return None if holder is None else self.get(holder)

    def get(self, holder: Node) -> Class:
        """The facts of a class."""
        known = self._known.get(holder.id)
        if known is not None:
            return known
        made = self._known[holder.id] = Class(holder)
        made.attributes = dict(self.facts.names.attributes(holder))
        self._registered(holder, made)
        made.dynamic = _contains(self.facts, holder, "setattr", "__setattr__", "__dict__")
        bases, whole = [], True
        for base in _bases(holder):
            found = self.facts.names.definition(base) if base.type == "identifier" else None
            if found is not None and found.type == "class_definition" and found.id != holder.id:
                bases.append(self.get(found))
            else:
                whole = whole and (self.facts.names.qualified(base) or "").startswith("torch.")
        made.bases, made.whole = tuple(bases), whole and all(base.whole for base in bases)
        return made

    def method(self, holder: Class, name: str) -> Node | None:
        """The one definition of a method, in the class or in its bases of the file."""
        found = self.facts.names.method(holder.node, name)
        if found is not None:
            return found
        scope = self.facts.names.inner(holder.node)
        if name in scope.bindings:
            return None
        for base in holder.bases:
            found = self.method(base, name)
            if found is not None:
                return found
        return None

    def module(self, holder: Class, name: str) -> list[Module] | None:
        """The torch modules that a call of `self.name` runs in turn; None where it is not known."""
        value = holder.assigned(name)
        if value is None:
            values = holder.values(name)
            return self._either(values) if len(values) == 2 and not holder.is_dynamic else None
        return self.modules(value)

    def norm_named(self, name: str) -> Module | None:
        """The norm that every class of the file means by `self.name`: that of another object too."""
        found: list[Module] = []
        for node in self.facts.identifiers(name):
            holder = node.parent
            parent = holder.parent if holder is not None and holder.type == "attribute" else None
            if parent is None or parent.type != "assignment":
                continue
            if parent.child_by_field_name("left") == holder:
                value = parent.child_by_field_name("right")
                made = self.modules(value) if value is not None else None
                if made is None or len(made) != 1 or made[0].kind not in ("LayerNorm", "RMSNorm"):
                    return None
                found += made
        return found[0] if found else None

    def _either(self, values: list[Node]) -> list[Module] | None:
        """`if p: self.drop = nn.Dropout(p) else: self.drop = nn.Identity()`; None for the latter."""
        found = [self.modules(value) or [] for value in values]
        kept = [one[0] for one in found if len(one) == 1 and one[0].kind != "Identity"]
        others = [v for v, one in zip(values, found, strict=True) if not one]
        empty = all(value.type == "none" for value in others)
        return [kept[0]._replace(certain=False)] if len(kept) == 1 and empty else None

    def modules(self, value: Node) -> list[Module] | None:
        """The torch modules that an expression makes: one, a Sequential, or one under a test."""
        if value.type == "parenthesized_expression":
            return self.modules(value.named_children[0])
        if value.type == "conditional_expression":
            return self._either([value.named_children[0], value.named_children[-1]])
        if (chosen := self._by_key(value)) is not None:
            return [Module(chosen, value)]
        if value.type != "call":
            return None
        path = self.facts.names.callee(value) or ""
        if not path.startswith("torch.nn.") or path.startswith("torch.nn.functional."):
            return None
        kind = path.removeprefix("torch.nn.")
        if kind != "Sequential":
            return [Module(kind, value)]
        found: list[Module] = []
        for child in self.facts.names.arguments(value).positional:
            inner = self.modules(child)
            if inner is None:
                return None
            found.extend(inner)
        return found

    def _by_key(self, value: Node) -> str | None:
        """The activation that `ACT2FN["silu"]` or `get_activation("silu")` is."""
        if value.type not in ("subscript", "call") or len(value.named_children) != 2:
            return None
        table, key = value.named_children
        if key.type == "argument_list" and len(key.named_children) == 1:
            key = key.named_children[0]
        name = self.facts.code(table).rpartition(".")[2]
        wanted = "get_activation" if value.type == "call" else "ACT2FN"
        if name != wanted or self.facts.names.qualified(table) is None or key.type != "string":
            return None
        return _ACTIVATIONS.get(self.facts.code(key).strip("\"'"))

    def _registered(self, holder: Node, made: Class) -> None:
        for call in self.facts.calls(*_REGISTERING, inside=holder):
            given = self.facts.names.arguments(call)
            name = given.get("name", 0)
            value = given.get("tensor", 1) or given.get("param", 1) or given.get("module", 1)
            if name is not None and value is not None and name.type == "string":
                key = self.facts.code(name).strip("\"'")
                made.attributes.setdefault(key, []).append(value)


def class_named(facts: PythonFacts, called: Node) -> str:
    """The source of the class that is called: of a parameter its default, `norm=nn.LayerNorm`."""
    found = facts.names.lookup(called) if called.type == "identifier" else None
    if found is None or len(found[1]) != 1 or found[1][0].kind != "param":
        return facts.code(called)
    default = found[1][0].value
    if default is not None and default.type == "call":  # `partial(nn.LayerNorm, eps=1e-6)`
        given = facts.names.arguments(default).positional
        default = given[0] if facts.names.callee(default) == "functools.partial" and given else None
    return facts.code(called if default is None else default)


def _bases(holder: Node) -> list[Node]:
    given = holder.child_by_field_name("superclasses")
    found = given.named_children if given is not None else []
    return [node for node in found if node.type in ("identifier", "attribute", "call")]


def _contains(facts: PythonFacts, holder: Node, *words: str) -> bool:
    text = facts.text[holder.start_byte : holder.end_byte]
    if not any(word.encode() in text for word in words):
        return False
    return any(True for _ in facts.identifiers(*words, inside=holder))
