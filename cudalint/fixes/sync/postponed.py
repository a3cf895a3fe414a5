"""What the fixes of this family write for a proof of `cudalint.facts.postpone`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.postpone import Postponed
from cudalint.facts.respell import replace
from cudalint.model import Edit, Need, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

# Expressions that an attribute can follow without brackets.
_PRIMARY = (
    *("identifier", "attribute", "call", "subscript", "parenthesized_expression"),
    *("tuple", "list", "list_comprehension"),
)


def title(proof: Postponed) -> str:
    """What the fix does, in one line."""
    if proof.kind == "sum":
        return f"Keep `{proof.name}` on the device and read it once"
    if proof.kind == "list":
        return f"Keep tensors in `{proof.name}` and read them together"
    return f"Read `{proof.name}` where it is looked at"


def edits(proof: Postponed, facts: PythonFacts) -> tuple[tuple[Edit, ...], frozenset[Need]]:
    """The edits of a proof, and the imports they rely on."""
    made = [replace(proof.read, _kept(proof, facts))]
    made += [_read(proof, use) for use in proof.reads]
    needs: frozenset[Need] = frozenset()
    if proof.after is not None:
        text = f"{proof.name} = {proof.number}({proof.name})"
        if proof.kind == "list":
            spelling, need = facts.names.need("torch")
            text = f"{proof.name} = {spelling}.stack({proof.name}).tolist() if {proof.name} else []"
            needs = frozenset({need})
        made.append(_after(facts, proof.after, text))
    return tuple(made), needs


def _kept(proof: Postponed, facts: PythonFacts) -> str:
    text = facts.code(proof.operand)
    return (text if proof.operand.type in _PRIMARY else f"({text})") + proof.keep


def _read(proof: Postponed, use: Node) -> Edit:
    if proof.kind == "name" and proof.number == "item":
        return replace(use, f"{proof.name}.item()")
    return replace(use, f"{proof.number}({proof.name})")


def _after(facts: PythonFacts, loop: Node, text: str) -> Edit:
    """A statement on a row of its own, right after a loop and as far in as the loop is."""
    source = facts.source
    start = source.line_starts[source.row(loop.start_byte)]
    indent = facts.text[start : loop.start_byte]
    at = source.row_span(source.row(loop.end_byte)).end
    return Edit(Span(at, at), b"\n" + indent + text.encode())
