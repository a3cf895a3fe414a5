"""Imports are data: what the fixes of a file need and may free, merged into a few edits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from cudalint.model import Edit, Need, Patch, Span
from cudalint.rewrite.edits import overlaps

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts import Facts
    from cudalint.facts.python import PythonFacts


def with_imports(patches: Iterable[Patch], facts: Facts) -> tuple[Edit, ...]:
    """All edits of the patches, and those that add and remove the imports of the file."""
    given = list(patches)
    edits = [edit for patch in given for edit in patch.edits]
    if facts.source.language != "python":
        return (*_includes(given, facts), *sorted(edits))
    from cudalint.facts.python import PythonFacts

    assert isinstance(facts, PythonFacts)
    needs = sorted({need for patch in given for need in patch.needs})
    frees = sorted({name for patch in given for name in patch.may_free})
    added = list(_added(needs, facts))
    removed = list(_removed(frees, facts, [*edits, *added]))
    taken = [edit.span for edit in edits]
    kept = [e for e in removed if not any(overlaps(e.span, span) for span in taken)]
    return tuple(sorted(_merged([*edits, *kept, *added])))


def _includes(patches: list[Patch], facts: Facts) -> Iterator[Edit]:
    """The `#include` lines of a CUDA file: a need's module is the header as it is included."""
    headers = {need.module for patch in patches for need in patch.needs}
    lines = sorted(f"#include {h}\n".encode() for h in headers)
    missing = [line for line in lines if line.strip() not in facts.text]
    if missing:
        last = list(re.finditer(rb"^[ \t]*#[ \t]*include\b.*(?:\n|\Z)", facts.text, re.MULTILINE))
        at = _plain_include(facts.text, last)
        yield Edit(Span(at, at), b"".join(missing))


def _plain_include(text: bytes, found: list[re.Match[bytes]]) -> int:
    """Where an include can stand: after the last one that no `#if` guards, else at the top."""
    at = 0
    for match in found:
        before = text[: match.start()]
        opened = len(re.findall(rb"^[ \t]*#[ \t]*if", before, re.MULTILINE))
        closed = len(re.findall(rb"^[ \t]*#[ \t]*endif", before, re.MULTILINE))
        guard = re.search(rb"^[ \t]*#[ \t]*ifndef[ \t]+(\w+)\s*#[ \t]*define[ \t]+\1", before, re.M)
        if opened - closed == (1 if guard else 0):
            at = match.end()
    return at


def _merged(edits: list[Edit]) -> Iterator[Edit]:
    """Insertions at one place become one edit, in the order given."""
    held: dict[Span, bytes] = {}
    for span, content in edits:
        held[span] = held.get(span, b"") + content
    yield from (Edit(span, content) for span, content in held.items())


# -- needed ---------------------------------------------------------------------------------------


def _added(needs: list[Need], facts: PythonFacts) -> Iterator[Edit]:
    missing = [need for need in needs if not _imported(need, facts)]
    plain = [need for need in missing if not need.name]
    by_module: dict[str, list[Need]] = {}
    for need in missing:
        if need.name:
            by_module.setdefault(need.module, []).append(need)
    statements = list(_statements(facts))
    for need in plain:
        line = f"import {need.module}" + (f" as {need.alias}" if need.alias else "")
        yield _line(line, need.module, False, statements, facts)
    for module, group in by_module.items():
        names = [need.name + (f" as {need.alias}" if need.alias else "") for need in group]
        extended = _extended(module, names, statements, facts)
        if extended is not None:
            yield extended
        else:
            yield _line(f"from {module} import {', '.join(names)}", module, True, statements, facts)


def _imported(need: Need, facts: PythonFacts) -> bool:
    path = f"{need.module}.{need.name}" if need.name else need.module
    bound = need.alias or need.name or need.module.partition(".")[0]
    wanted = path if need.name or need.alias else bound
    found = facts.names.module.bindings.get(bound, [])
    return any(binding.kind == "import" and binding.target == wanted for binding in found)


def _statements(facts: PythonFacts) -> Iterator[Node]:
    """The import statements at the top level, up to the first other code."""
    for node in facts.root.named_children:
        if node.type in ("import_statement", "import_from_statement", "future_import_statement"):
            yield node
        elif node.type == "expression_statement" and node.named_children[0].type == "string":
            continue
        elif node.type not in ("comment", "if_statement", "try_statement"):
            return


def _extended(
    module: str, names: list[str], statements: list[Node], facts: PythonFacts
) -> Edit | None:
    """The edit that adds names to a plain one-line `from module import …` of the file."""
    for node in statements:
        given = node.child_by_field_name("module_name")
        if given is None or facts.code(given) != module:
            continue
        present = node.children_by_field_name("name")
        code = facts.code(node)
        if not present or "(" in code or "\\" in code or "\n" in code:
            continue
        listed = [facts.code(name) for name in present]
        merged = sorted({*listed, *names}, key=str.lower) if _is_sorted(listed) else listed + names
        span = Span(present[0].start_byte, present[-1].end_byte)
        return Edit(span, ", ".join(merged).encode())
    return None


def _is_sorted(names: list[str]) -> bool:
    return names == sorted(names, key=str.lower) or names == sorted(names)


def _line(
    line: str, module: str, is_from: bool, statements: list[Node], facts: PythonFacts
) -> Edit:
    """A new import line in the block that imports torch, in isort's order; else after the last."""
    usable = [node for node in statements if node.type != "future_import_statement"]
    if not usable:
        at = _after_header(facts, statements)
        gap = b"\n" if facts.text[at:].strip() and not facts.text[at:].startswith(b"\n") else b""
        return Edit(Span(at, at), line.encode() + b"\n" + gap)
    block = _block(usable, facts)
    for node in block:
        other = node.child_by_field_name("module_name") or node.child_by_field_name("name")
        name = "" if other is None else facts.code(other).partition(" ")[0]
        from_other = node.type == "import_from_statement"
        if name.startswith("."):
            continue
        if (is_from, module.lower()) < (from_other, name.lower()):
            at = _line_start(facts.text, node.start_byte)
            return Edit(Span(at, at), line.encode() + b"\n")
    at = _line_end(facts.text, block[-1].end_byte)
    newline = b"" if at == 0 or facts.text[at - 1 : at] in (b"\n", b"\r") else b"\n"
    return Edit(Span(at, at), newline + line.encode() + b"\n")


def _block(statements: list[Node], facts: PythonFacts) -> list[Node]:
    """The run of neighbouring import lines that holds one of torch, else the last run."""
    runs: list[list[Node]] = [[statements[0]]]
    for before, node in pairwise(statements):
        if node.start_point[0] - before.end_point[0] > 1:
            runs.append([])
        runs[-1].append(node)
    for run in runs:
        if any(re.search(r"\btorch\b", facts.code(node)) for node in run):
            return run
    return runs[-1]


def _after_header(facts: PythonFacts, statements: list[Node]) -> int:
    """After `from __future__` imports, the docstring, or the comments at the top."""
    if statements:
        return _line_end(facts.text, statements[-1].end_byte)
    at = 0
    for node in facts.root.children:
        string = node.type == "expression_statement" and node.named_children[0].type == "string"
        if node.type != "comment" and not string:
            break
        at = _line_end(facts.text, node.end_byte)
        if string:
            break
    return at


def _line_start(text: bytes, at: int) -> int:
    return text.rfind(b"\n", 0, at) + 1


def _line_end(text: bytes, at: int) -> int:
    end = text.find(b"\n", at)
    return len(text) if end < 0 else end + 1


# -- freed ----------------------------------------------------------------------------------------


def _removed(names: list[str], facts: PythonFacts, edits: list[Edit]) -> Iterator[Edit]:
    """The removal of imports that nothing uses once the edits are made."""
    if facts.source.path.endswith("__init__.py"):  # an import there may be a re-export
        return
    gone: dict[int, tuple[Node, list[Node]]] = {}
    for name in names:
        found = facts.names.module.bindings.get(name, [])
        if len(found) != 1 or found[0].kind != "import":
            continue
        statement = found[0].statement
        if statement.parent is None or statement.parent.type != "module":
            continue
        if not _used(name, statement, facts, edits) and not _kept_on_purpose(statement, facts):
            gone.setdefault(statement.id, (statement, []))[1].append(found[0].node)
    for statement, freed in gone.values():
        yield from _without(statement, freed, facts)


def _used(name: str, statement: Node, facts: PythonFacts, edits: list[Edit]) -> bool:
    word = re.compile(rb"(?<![\w.])" + re.escape(name.encode()) + rb"(?!\w)")
    if any(word.search(content) for _, content in edits):
        return True
    own = Span(statement.start_byte, statement.end_byte)
    for match in word.finditer(facts.text):
        span = Span(*match.span())
        if overlaps(span, own) or any(e.span.start <= span.start < e.span.end for e in edits):
            continue
        node = facts.root.descendant_for_byte_range(*match.span())
        if node is None or node.type != "comment":
            return True
    return False


def _kept_on_purpose(statement: Node, facts: PythonFacts) -> bool:
    """Whether a comment on the import's line says that it is meant to stay."""
    end = _line_end(facts.text, statement.end_byte)
    rest = facts.text[statement.end_byte : end]
    return b"noqa" in rest or b";" in rest


def _without(statement: Node, freed: list[Node], facts: PythonFacts) -> Iterator[Edit]:
    names = statement.children_by_field_name("name")
    gone = {id_of(node) for node in freed}
    kept = [n for n in names if not gone & {id_of(n), *(id_of(c) for c in n.named_children)}]
    if not kept:
        start = _line_start(facts.text, statement.start_byte)
        yield Edit(Span(start, _line_end(facts.text, statement.end_byte)), b"")
        return
    for index, name in enumerate(names):
        if name in kept:
            continue
        if index + 1 < len(names):
            yield Edit(Span(name.start_byte, names[index + 1].start_byte), b"")
        else:
            last = max(i for i, n in enumerate(names) if n in kept)
            yield Edit(Span(names[last].end_byte, name.end_byte), b"")


def id_of(node: Node) -> tuple[int, int]:
    """A node by its place, which two handles of one node share."""
    return node.start_byte, node.end_byte
