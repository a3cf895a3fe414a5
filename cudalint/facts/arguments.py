"""What a call is given, by position and by keyword, and through a dict that is written in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.names import Names, Scope


class Arguments(NamedTuple):
    """The arguments of a call. `open` is true where `*args` or an unseen `**kwargs` may add more."""

    positional: list[Node]
    keywords: dict[str, Node]
    open: bool

    def get(self, keyword: str, position: int | None = None) -> Node | None:
        """The value given by keyword, or at a position counted from 0."""
        if (value := self.keywords.get(keyword)) is not None:
            return value
        if position is not None and position < len(self.positional):
            return self.positional[position]
        return None


def arguments_of(names: Names, call: Node) -> Arguments:
    """The arguments of a call; a `**kwargs` dict that is visible in the file is read."""
    positional: list[Node] = []
    keywords: dict[str, Node] = {}
    unseen = False
    given = call.child_by_field_name("arguments")
    for node in given.named_children if given is not None else ():
        if node.type == "keyword_argument":
            name = node.child_by_field_name("name")
            value = node.child_by_field_name("value")
            if name is not None and value is not None:
                keywords[names.facts.code(name)] = value
        elif node.type == "dictionary_splat":
            entries = visible_dict(names, node.named_children[0])
            keywords.update(entries or {})
            unseen = unseen or entries is None
        elif node.type == "list_splat":
            unseen = True
        elif node.type != "comment":
            positional.append(node)
    return Arguments(positional, keywords, unseen)


def visible_dict(names: Names, node: Node) -> dict[str, Node] | None:
    """The string keys of a dict display, of `dict(…)`, or of a name bound once to one.

    None where a key is not a plain string, and for a name that is subscripted or has a method
    called on it anywhere: the dict may be changed there.
    """
    if node.type == "identifier":
        found = names.lookup(node)
        if found is None or len(found[1]) != 1 or found[1][0].value is None:
            return None
        if _written(names, node, found[0]):
            return None
        node = found[1][0].value
    if node.type == "call" and names.callee(node) == "builtins.dict":
        given = arguments_of(names, node)
        return None if given.open or given.positional else given.keywords
    if node.type != "dictionary":
        return None
    entries: dict[str, Node] = {}
    for pair in node.named_children:
        if pair.type == "comment":
            continue
        key = pair.child_by_field_name("key") if pair.type == "pair" else None
        value = pair.child_by_field_name("value") if key is not None else None
        if key is None or value is None or key.type != "string":
            return None
        entries[names.facts.code(key).strip("\"'")] = value
    return entries


def _written(names: Names, name: Node, scope: Scope) -> bool:
    """Whether a dict's name is subscripted as a target or has a method called on it."""
    for use in names.facts.identifiers(names.facts.code(name)):
        parent = use.parent
        if parent is None or use.id == name.id:
            continue
        if parent.type in ("subscript", "attribute") and parent.children[0] == use:
            found = names.lookup(use)
            if found is not None and found[0] is scope:
                return True
    return False
