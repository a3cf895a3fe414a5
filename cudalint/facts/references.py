"""References: where a file names a library's object, however the name came about."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from cudalint.facts.guards import is_guarded
from cudalint.facts.names import public
from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_IMPORTS = ("import_statement", "import_from_statement")
_TABLES = {"list", "set", "tuple", "comparison_operator", "expression_list"}
_STOP = ("block", "module", "expression_statement")


class Reference(NamedTuple):
    """One mention of an object.

    `node` is the expression that stands for it and `path` its qualified name. `role` is how it is
    used: call, decorator (without a call), partial (first argument of `functools.partial`),
    isinstance, base (of a class), annotation, import, or value (anything else). `holder` is the
    call of a call, a partial or an isinstance, the class of a base, the statement of an import.
    """

    node: Node
    path: str
    role: str
    holder: Node | None = None


def references(facts: PythonFacts, paths: Collection[str]) -> Iterator[Reference]:
    """The mentions of objects by qualified name that no version guard chose on purpose.

    Imports under another name are followed. What is assigned (`ac = torch.cuda.amp.autocast`) is
    mentioned where it is assigned and not again where the variable is used; an import counts only
    where the file itself has no use of what it binds.
    """
    used: set[str] = set()
    unused: list[Reference] = []
    for node, path in _mentions(facts, paths):
        statement = facts.names.statement(node)
        if statement.type in _IMPORTS:
            unused.append(Reference(node, path, "import", statement))
            continue
        used.add(facts.code(root_of(node)))
        if not _is_deliberate(facts, node):
            reference = _reference(facts, node, path)
            if reference.role != "value" or not _is_in_table(node):
                yield reference
    for reference in unused:
        silent = facts.code(reference.node) in used or is_guarded(facts, reference.node)
        if not silent:
            yield reference


def root_of(node: Node) -> Node:
    """The leftmost name of an attribute chain."""
    while node.type == "attribute":
        node = node.children[0]
    return node


def _mentions(facts: PythonFacts, paths: Collection[str]) -> Iterator[tuple[Node, str]]:
    """Every expression or import that stands for one of the paths, in source order by name."""
    todo = sorted({path.rpartition(".")[2] for path in paths})
    seen: set[str] = set()
    while todo:
        word = todo.pop(0)
        if word in seen:
            continue
        seen.add(word)
        for node in facts.identifiers(word):
            statement = facts.names.statement(node)
            if statement.type in _IMPORTS:
                bound, path = _imported(facts, node)
                if path in paths:
                    todo.append(facts.code(bound))
                    if facts.code(bound) == word:
                        yield bound, path
                continue
            mention = _expression(node)
            found = facts.names.qualified(mention) if mention is not None else None
            if mention is not None and found in paths and not _is_variable(facts, mention):
                yield mention, found or ""


def _imported(facts: PythonFacts, node: Node) -> tuple[Node, str]:
    """The name that an import binds here, and its qualified path ("" where that is not one)."""
    parent = node.parent
    alias = parent.parent if parent is not None else None
    bound = node
    if parent is not None and parent.type == "aliased_import":
        bound = parent.child_by_field_name("alias") or node
    elif alias is not None and alias.type == "aliased_import":
        bound = alias.child_by_field_name("alias") or node
    found = facts.names.lookup_name(facts.code(bound), facts.names.scope(node))
    for binding in found[1] if found is not None else ():
        inside = binding.statement.start_byte <= node.start_byte < binding.statement.end_byte
        if inside and binding.kind == "import":
            return bound, public(binding.target)
    return bound, ""


def _expression(node: Node) -> Node | None:
    """The expression that ends in a name: `a.b.NAME` or NAME, where it is read."""
    parent = node.parent
    if parent is None:
        return None
    if parent.type == "attribute":
        return parent if parent.child_by_field_name("attribute") == node else node
    if parent.type == "keyword_argument" and parent.child_by_field_name("name") == node:
        return None
    if parent.type == "assignment" and parent.child_by_field_name("left") == node:
        return None
    return node


def _is_variable(facts: PythonFacts, mention: Node) -> bool:
    """Whether the name is a variable of the file, not an import or a module's attribute."""
    found = facts.names.lookup(root_of(mention))
    return found is not None and any(binding.kind != "import" for binding in found[1])


def _is_deliberate(facts: PythonFacts, node: Node) -> bool:
    if is_guarded(facts, node):
        return True
    found = facts.names.lookup(root_of(node))
    return found is not None and any(
        binding.target.count(".") > 0 and is_guarded(facts, binding.node) for binding in found[1]
    )


def _is_in_table(node: Node) -> bool:
    """Whether an object is an entry of a list, or compared: code that handles it, not uses it."""
    return node.parent is not None and node.parent.type in _TABLES


def _reference(facts: PythonFacts, node: Node, path: str) -> Reference:
    parent = node.parent
    if parent is None:
        return Reference(node, path, "value")
    if parent.type == "call" and parent.child_by_field_name("function") == node:
        return Reference(node, path, "call", parent)
    if parent.type == "decorator":
        return Reference(node, path, "decorator")
    at: Node | None = node
    while at is not None and at.type not in _STOP:
        if at.type == "type":
            return Reference(node, path, "annotation")
        at = at.parent
    return _argument(facts, node, path, parent)


def _argument(facts: PythonFacts, node: Node, path: str, parent: Node) -> Reference:
    given = parent.parent if parent.type == "tuple" else parent
    holder = given.parent if given is not None and given.type == "argument_list" else None
    if given is None or holder is None:
        return Reference(node, path, "value")
    if holder.type == "class_definition":
        return Reference(node, path, "base", holder)
    callee = facts.names.callee(holder) if holder.type == "call" else None
    if callee in ("builtins.isinstance", "builtins.issubclass"):
        return Reference(node, path, "isinstance", holder)
    if callee == "functools.partial" and given.named_children[0] == node:
        return Reference(node, path, "partial", holder)
    return Reference(node, path, "value")
