"""Names: what an identifier, an attribute or a callee stands for, by imports and scopes."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.arguments import Arguments, arguments_of, visible_dict
from cudalint.facts.bindings import Binding, bindings_of
from cudalint.model import Need
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

SCOPES = {
    "module": "module",
    "function_definition": "function",
    "class_definition": "class",
    "lambda": "function",
    "list_comprehension": "comprehension",
    "set_comprehension": "comprehension",
    "dictionary_comprehension": "comprehension",
    "generator_expression": "comprehension",
}
# What a star import of a program's own file hands on under these names.
_HANDED_ON = {"torch": "torch", "nn": "torch.nn"}
# Where torch re-exports a name, its public path.
PUBLIC = {
    "torch.utils.data.dataloader.": "torch.utils.data.",
    "torch.nn.modules.activation.": "torch.nn.",
    "torch.nn.modules.batchnorm.": "torch.nn.",
    "torch.nn.modules.container.": "torch.nn.",
    "torch.nn.modules.conv.": "torch.nn.",
    "torch.nn.modules.dropout.": "torch.nn.",
    "torch.nn.modules.linear.": "torch.nn.",
    "torch.nn.modules.normalization.": "torch.nn.",
    "torch.nn.modules.module.": "torch.nn.",
    "torch.nn.modules.": "torch.nn.",
    "torch.functional.": "torch.",
    "torch.cuda.amp.autocast_mode.": "torch.cuda.amp.",
    "torch.cuda.amp.grad_scaler.": "torch.cuda.amp.",
    "torch.amp.autocast_mode.": "torch.amp.",
    "torch.amp.grad_scaler.": "torch.amp.",
    "torch.optim.adam.": "torch.optim.",
    "torch.optim.adamw.": "torch.optim.",
    "torch.optim.sgd.": "torch.optim.",
    "torch.special.softmax": "torch.softmax",
}


@record(eq=False)
class Scope:
    """A module, class, function (or lambda) or comprehension, and what it binds."""

    node: Node
    kind: str
    parent: Scope | None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)


class Names:
    """Resolves names of one file; what cannot be known is None, and rules then stay silent."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._scopes: dict[int, Scope] = {}
        self._around: dict[int, Scope] = {}
        self._qualified: dict[int, str | None] = {}
        self._attributes: dict[int, dict[str, list[Node]]] = {}

    # -- scopes -------------------------------------------------------------------------------

    @cached_property
    def module(self) -> Scope:
        trees = self.facts.trees
        return Scope(trees.module, "module", None, trees.bindings())

    @cached_property
    def imports(self) -> list[Binding]:
        """The bindings that the imports of the module make."""
        every = dict.values(self.module.bindings)  # definitions that were not parsed import nothing
        return [binding for found in every for binding in found if binding.kind == "import"]

    def scope(self, node: Node) -> Scope:
        """The scope that the code of `node` runs in (a parameter default: the one outside)."""
        passed: list[int] = []  # each step up is a walk from the root: blocks are asked for once
        while (found := self._around.get(node.id)) is None:
            passed.append(node.id)
            parent = node.parent
            if parent is None or parent.type == "module":
                found = self.module
                break
            if parent.type in SCOPES and _runs_inside(parent, node):
                found = self._scope(parent)
                break
            node = parent
        for each in passed:
            self._around[each] = found
        return found

    def _scope(self, node: Node) -> Scope:
        if (known := self._scopes.get(node.id)) is not None:
            return known
        kind = SCOPES.get(node.type)
        if kind is None or kind == "module":  # the root of a broken file is an ERROR
            return self.module
        made = self._scopes[node.id] = Scope(node, kind, self.scope(node))
        made.bindings = bindings_of(node)
        return made

    def inner(self, definition: Node) -> Scope:
        """The scope that a function, class, lambda or comprehension opens."""
        return self._scope(definition)

    def lookup(self, identifier: Node) -> tuple[Scope, list[Binding]] | None:
        """The scope that binds an identifier, and all its bindings there (in source order)."""
        return self.lookup_name(self.facts.code(identifier), self.scope(identifier))

    def lookup_name(self, name: str, scope: Scope) -> tuple[Scope, list[Binding]] | None:
        """As `lookup`, for a name read in a scope."""
        at: Scope | None = scope
        first = True
        while at is not None:
            if at.kind != "class" or first:
                found = at.bindings.get(name)
                if found and found[0].kind == "global":
                    at, first = self.module, True
                    found = at.bindings.get(name)
                if found and found[0].kind != "nonlocal":
                    return at, found
            first = first and at.kind == "comprehension"  # a comprehension sees its class's first
            at = at.parent
        return None

    # -- qualified names ----------------------------------------------------------------------

    def qualified(self, node: Node) -> str | None:
        """The dotted path that an expression stands for ("torch.nn.functional.softmax").

        Resolves imports, aliases, module-valued assignments and torch's own re-exports. Names of
        the file itself, attributes of objects and ambiguous names are None; a builtin is
        "builtins.NAME"; a relative import keeps its dots (".utils.DataLoader").
        """
        if node.id in self._qualified:
            return self._qualified[node.id]
        self._qualified[node.id] = None  # a cycle of assignments resolves to nothing
        found = self._resolve(node)
        if found is not None and found.startswith("torch."):
            found = public(found)
        self._qualified[node.id] = found
        return found

    def callee(self, call: Node) -> str | None:
        """The qualified name of what a call calls."""
        function = call.child_by_field_name("function")
        return None if function is None else self.qualified(function)

    def _resolve(self, node: Node) -> str | None:
        if node.type == "attribute":
            owner = node.child_by_field_name("object")
            attribute = node.child_by_field_name("attribute")
            if owner is None or attribute is None or owner.type not in ("identifier", "attribute"):
                return None
            base = self.qualified(owner)
            return None if base is None else f"{base}.{self.facts.code(attribute)}"
        if node.type != "identifier":
            return None
        found = self.lookup(node)
        if found is None:
            return self._unbound(self.facts.code(node))
        return self._bound(found[1])

    def _bound(self, bindings: list[Binding]) -> str | None:
        targets = {binding.target for binding in bindings if binding.kind == "import"}
        if targets:
            others = [b for b in bindings if b.kind != "import" and not _is_none(b.value)]
            return targets.pop() if len(targets) == 1 and not others else None
        if len(bindings) != 1 or bindings[0].kind != "assign" or bindings[0].value is None:
            return None
        value = bindings[0].value
        return self.qualified(value) if value.type in ("identifier", "attribute") else None

    def _unbound(self, name: str) -> str | None:
        if hasattr(builtins, name):
            return f"builtins.{name}"
        stars = self.module.bindings.get("*", [])
        if stars and name in _HANDED_ON:  # `from utils import *`, which imports torch
            return _HANDED_ON[name]
        return f"{stars[0].target}.{name}" if len(stars) == 1 else None

    # -- definitions of the file --------------------------------------------------------------

    def definition(self, node: Node) -> Node | None:
        """The one function or class of this file that a name, `self.method` or `cls.method` means.

        `Class.method` means a static method of a class of the file.
        """
        if node.type == "attribute":
            owner = node.child_by_field_name("object")
            attribute = node.child_by_field_name("attribute")
            if owner is None or attribute is None:
                return None
            if self.facts.code(owner) not in ("self", "cls"):
                return self._static(owner, self.facts.code(attribute))
            holder = self.enclosing(node, "class_definition")
            return None if holder is None else self.method(holder, self.facts.code(attribute))
        found = self.lookup(node) if node.type == "identifier" else None
        if found is None or len(found[1]) != 1 or found[1][0].kind not in ("def", "class"):
            return None
        return found[1][0].statement

    def _static(self, owner: Node, name: str) -> Node | None:
        """The static method of a class of the file that is named before it."""
        holder = self.definition(owner) if owner.type == "identifier" else None
        if holder is None or holder.type != "class_definition":
            return None
        found = self.method(holder, name)
        above = found.prev_named_sibling if found is not None else None
        is_static = above is not None and self.facts.code(above) == "@staticmethod"
        return found if is_static else None

    def method(self, holder: Node, name: str) -> Node | None:
        """The only definition of a method in a class body."""
        found = self._scope(holder).bindings.get(name, [])
        return found[0].statement if len(found) == 1 and found[0].kind == "def" else None

    def attributes(self, holder: Node) -> dict[str, list[Node]]:
        """By attribute, every value node that a class's methods assign to `self.NAME`.

        An assignment without a value of its own (unpacking a call, `del`, a loop target, an augmented
        one) contributes the target node itself, so that more than one entry means "not fixed".
        """
        if (known := self._attributes.get(holder.id)) is not None:
            return known
        made: dict[str, list[Node]] = {}
        for target, value in self._self_targets(holder):
            made.setdefault(self.facts.code(target), []).append(value or target)
        self._attributes[holder.id] = made
        return made

    def _self_targets(self, holder: Node) -> Iterator[tuple[Node, Node | None]]:
        """Every write to `self.NAME` under a class: the attribute's identifier and its value."""
        for node in self.facts.identifiers("self", inside=holder):
            owner = node.parent
            if owner is None or owner.type != "attribute" or owner.children[0] != node:
                continue
            written, value = _write_of(owner)
            if written and self.enclosing(owner, "class_definition") == holder:
                yield owner.children[-1], value

    def enclosing(self, node: Node, *types: str) -> Node | None:
        """The nearest ancestor of one of the types."""
        parent = node.parent
        while parent is not None and parent.type not in types:
            parent = parent.parent
        return parent

    def statement(self, node: Node) -> Node:
        """The statement that a node stands in: the child of its block."""
        while (parent := node.parent) is not None and parent.type not in ("block", "module"):
            node = parent
        return node

    # -- calls --------------------------------------------------------------------------------

    def arguments(self, call: Node) -> Arguments:
        """The arguments of a call; a `**kwargs` dict that is visible in the file is read."""
        return arguments_of(self, call)

    def visible_dict(self, node: Node) -> dict[str, Node] | None:
        """The string keys of a dict that is written in sight, see `arguments.visible_dict`."""
        return visible_dict(self, node)

    # -- imports ------------------------------------------------------------------------------

    def need(self, module: str, name: str = "") -> tuple[str, Need]:
        """How edits spell `module.name`, and the import they need.

        An import of the file is used as it is spelled; a taken name gets an alias.
        """
        path = f"{module}.{name}" if name else module
        for bound, bindings in self.imported():
            if all(one.kind == "import" and one.target == path for one in bindings):
                return bound, Need(module, name, "" if bound == (name or module) else bound)
        wanted = name or module.partition(".")[0]
        if any(True for _ in self.facts.identifiers(wanted)) and self._taken(wanted):
            alias = f"cudalint_{wanted}"
            return alias, Need(module, name, alias)
        return name or module, Need(module, name)

    def imported(self) -> list[tuple[str, list[Binding]]]:
        """The names that imports of the module bind, with all that binds them, in source order."""
        bindings = self.module.bindings
        known = dict.items(bindings)  # without definitions, which would be parsed for it
        names = [name for name, found in known if any(one.kind == "import" for one in found)]
        return [(name, bindings.get(name, [])) for name in names]

    def _taken(self, name: str) -> bool:
        """Whether the file gives the name a meaning of its own."""
        return any(not _is_part(node) for node in self.facts.identifiers(name))


def _is_part(node: Node) -> bool:
    """Whether an identifier is no name of its own: an attribute, a keyword, a module's path."""
    parent = node.parent
    if parent is None:
        return False
    if parent.type == "dotted_name":
        holder = parent.parent
        if holder is None or parent.named_children[0] != node:
            return True
        return holder.type == "aliased_import" or (
            holder.type == "import_from_statement"
            and holder.child_by_field_name("module_name") == parent
        )
    role = {"attribute": "attribute", "keyword_argument": "name"}.get(parent.type)
    return role is not None and parent.child_by_field_name(role) == node


def _runs_inside(scope: Node, child: Node) -> bool:
    """Whether a child of a scope node runs in that scope: bodies do, decorators do not."""
    if scope.type == "function_definition":
        return child == scope.child_by_field_name("body")
    if scope.type == "class_definition":
        return child == scope.child_by_field_name("body")
    if scope.type == "lambda":
        return child == scope.child_by_field_name("body")
    return True


_PRIVATE = tuple(PUBLIC)


def public(path: str) -> str:
    """A path of torch as it is documented, where a private module is spelled."""
    if not path.startswith(_PRIVATE):
        return path
    for private, public in PUBLIC.items():
        if path.startswith(private):
            return public + path[len(private) :]
    return path


def _is_none(value: Node | None) -> bool:
    return value is not None and value.type in ("none", "false")


def _write_of(target: Node) -> tuple[bool, Node | None]:
    parent = target.parent
    if parent is None:
        return False, None
    if parent.type == "assignment" and parent.child_by_field_name("left") == target:
        right = parent.child_by_field_name("right")
        while right is not None and right.type == "assignment":
            right = right.child_by_field_name("right")
        return right is not None, right
    if parent.type == "augmented_assignment" and parent.child_by_field_name("left") == target:
        return True, None
    if parent.type in ("pattern_list", "tuple_pattern", "list_pattern", "delete_statement"):
        return True, _beside(parent, target)
    in_loop = parent.type in ("for_statement", "for_in_clause")
    if in_loop and parent.child_by_field_name("left") == target:
        return True, None
    return False, None


def _beside(pattern: Node, target: Node) -> Node | None:
    """The value of one target of `self.a, self.b = f(), g()`; None: nothing stands beside it."""
    holder = pattern.parent
    right = holder.child_by_field_name("right") if holder is not None else None
    if pattern.type != "pattern_list" or right is None or right.type != "expression_list":
        return None
    targets, values = pattern.named_children, right.named_children
    if len(targets) != len(values) or any("splat" in node.type for node in (*targets, *values)):
        return None
    return values[targets.index(target)]
