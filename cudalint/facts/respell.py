"""Respelling: how an edit names a torch object where the file names another one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.facts.references import root_of
from cudalint.model import Edit, Need, Span
from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


class Spelling(NamedTuple):
    """The text that names an object, the imports it needs, and those it may free."""

    text: str
    needs: frozenset[Need]
    may_free: frozenset[str]


def torch_name(facts: PythonFacts, node: Node, path: str) -> Spelling | None:
    """How `torch.X` is written in place of the expression `node`; None where a name hides torch."""
    root = root_of(node)
    used = facts.code(root)
    rest = path.removeprefix("torch")
    if facts.names.qualified(root) == "torch":
        return Spelling(used + rest, frozenset(), frozenset())
    spelling, need = facts.names.need("torch")
    found = facts.names.lookup_name(spelling, facts.names.scope(node))
    if found is not None and found[0] is not facts.names.module:
        return None
    return Spelling(spelling + rest, frozenset({need}), frozenset({used}))


def replace(node: Node, text: str) -> Edit:
    """Put a text in place of a node."""
    return Edit(Span(node.start_byte, node.end_byte), text.encode())


def insert_before(node: Node, text: str) -> Edit:
    """Put a text right before a node."""
    return Edit(Span(node.start_byte, node.start_byte), text.encode())


def insert_first(arguments: Node, text: str, label: str = "") -> Edit:
    """Put an argument into an argument list before all others; it gets a row where they have.

    `label` is put before what was the first argument (`enabled=`).
    """
    given = [child for child in arguments.named_children if child.type != "comment"]
    if not given:
        at = arguments.start_byte + 1
        return Edit(Span(at, at), text.encode())
    lead = (arguments.text or b"")[: given[0].start_byte - arguments.start_byte].decode()
    row = re.search(r"\r?\n[ \t]*$", lead)
    gap = row[0] if row else " "
    return insert_before(given[0], f"{text},{gap}{label}")


def insert_after(node: Node, text: str) -> Edit:
    """Put an argument after another one."""
    return Edit(Span(node.end_byte, node.end_byte), f", {text}".encode())


def with_argument(call: Node, given: Node | None, name: str, text: str) -> Edit:
    """Give a call the argument `name=text`: in the place of the value `given`, or after all others."""
    if given is not None:
        return replace(given, text)
    arguments = call.child_by_field_name("arguments")
    assert arguments is not None
    return insert_last(arguments, f"{name}={text}")


def insert_last(arguments: Node, text: str) -> Edit:
    """Put an argument into an argument list after all others; it gets a row where they have.

    A trailing comma stays one, and a comment stays on the row of its argument.
    """
    source = arguments.text or b""
    given = [child for child in arguments.named_children if child.type != "comment"]
    if not given:
        at = arguments.start_byte + 1
        return Edit(Span(at, at), text.encode())
    last = given[-1]
    lead = source[: last.start_byte - arguments.start_byte].decode("utf-8", "replace")
    row = re.search(r"\n[ \t]*$", lead)
    gap = row[0] if row else " "
    after = [child for child in arguments.children if child.start_byte >= last.end_byte]
    if not any(child.type == "," for child in after):
        return Edit(Span(last.end_byte, last.end_byte), f",{gap}{text}".encode())
    at = after[0].end_byte
    for child in after:
        if child.type == "comment" and child.start_point[0] == last.end_point[0]:
            at = child.end_byte
    return Edit(Span(at, at), f"{gap}{text},".encode())
