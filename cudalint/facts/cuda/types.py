"""Types of a CUDA file: how wide an element is, and whether it is one number or a pack of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.macros import Macros

SIZES = {
    1: "char int8_t uint8_t bool uchar schar u8 i8 s8 byte __nv_fp8_e4m3 __nv_fp8_e5m2 "
    "Float8_e4m3fn Float8_e5m2 __nv_fp8_storage_t fp8_e4m3 fp8_e5m2",
    2: "short half __half Half __nv_bfloat16 nv_bfloat16 __bfloat16 bfloat16 BFloat16 bf16 "
    "int16_t uint16_t ushort u16 i16 half_t bfloat16_t float16 __nv_half nv_half",
    4: "int unsigned float int32_t uint32_t uint u32 i32 f32 signed float32_t __nv_tf32",
    8: "double long int64_t uint64_t size_t ulong u64 i64 f64 ptrdiff_t intptr_t uintptr_t "
    "float64_t",
}
SCALARS = {name: size for size, names in SIZES.items() for name in names.split()}
_VECTOR = lazy_compile(
    r"(?:__)?(?:nv_)?(char|uchar|short|ushort|int|uint|long|ulong|longlong|ulonglong|float|double"
    r"|half|bfloat16|bfloat162|bf16|fp8x?)([234])\Z|(?:__)?(?:nv_)?(half|bfloat16)([248])\Z"
)
_WORD = lazy_compile(r"[A-Za-z_]\w*")
# What projects call a number type that another file defines, and what they call packs of them.
_NUMBERS_ELSEWHERE = frozenset(
    [
        "floatX",
        "scalar_t",
        "real",
        "real_t",
        "Real",
        "REAL",
        "Dtype",
        "DType",
        "dtype",
        "DTYPE",
        "data_t",
        "value_t",
        "index_t",
        "idx_t",
        "DATA_TYPE",
        "DataType",
        "floatN_t",
        "real_type",
    ]
)
_PACK_LIKE = lazy_compile(r"[248]\Z|[Vv]ec|VEC|[Pp]ack|PACK")
_PACKED = lazy_compile(r"[Vv]ec|VEC|[Pp]ack|Array|array")
_TEMPLATE_ARGUMENTS = lazy_compile(r"<[^<>]*>")
# Words that are no name of a type.
_QUALIFIERS = frozenset(
    [
        "const",
        "volatile",
        "static",
        "extern",
        "inline",
        "constexpr",
        "typename",
        "struct",
        "class",
        "unsigned",
        "signed",
        "__restrict__",
        "__restrict",
        "restrict",
        "__shared__",
        "__constant__",
        "__device__",
        "__managed__",
        "register",
        "mutable",
        "std",
        "at",
        "c10",
        "torch",
        "cutlass",
        "thread_local",
        "__grid_constant__",
    ]
)


class CType(NamedTuple):
    """A declared type with aliases resolved.

    `size` is the bytes of one element, None where it is not known (a template parameter has a
    `scalar` of its own: true where it is used as a number). `lanes`: 1 for a number, 2 and more
    for `float4` and the like, 0 for a structure or anything unknown.
    """

    name: str
    size: int | None
    lanes: int
    pointer: int = 0
    const: bool = False
    restrict: bool = False
    reference: bool = False
    volatile: bool = False
    template: bool = False

    @property
    def is_number(self) -> bool:
        """Whether an element is one number: a known scalar, or a template's scalar type."""
        return self.lanes == 1


UNKNOWN = CType("?", None, 0)


def named(name: str) -> CType:
    """A built-in type by its last name (`c10::Half` is `Half`)."""
    last = name.rsplit("::", 1)[-1]
    if last in SCALARS:
        return CType(last, SCALARS[last], 1)
    if match := _VECTOR.match(last):
        element = (match.group(1) or match.group(3) or "").replace("ulonglong", "ulong")
        lanes = int(match.group(2) or match.group(4))
        if element == "bfloat162":
            element, lanes = "bfloat16", 2
        size = SCALARS.get(element) or SCALARS.get(element.replace("longlong", "long"), 0)
        return CType(last, (size or 1) * lanes, lanes)
    return UNKNOWN._replace(name=name)


class Types:
    """What the type names of a file stand for: `typedef`, `using`, `#define`, in any scope."""

    def __init__(self, text: bytes, macros: Macros) -> None:
        self._macros = macros
        self._text = text
        self._aliases: dict[str, set[str]] = {}
        self._known: dict[tuple[str, frozenset[str], int], CType] = {}
        for pattern in (_TYPEDEF, _USING):
            for match in pattern.finditer(text):
                groups = match.groupdict()
                name = groups["name"].decode("utf-8", "replace")
                spelled = groups["type"].decode("utf-8", "replace")
                self._aliases.setdefault(name, set()).add(" ".join(spelled.split()))

    def of(self, spelled: str, templates: frozenset[str] = frozenset()) -> CType:
        """The type that a spelling means, with `*`, `&` and qualifiers."""
        pointer = spelled.count("*")
        return self.element(spelled, templates)._replace(
            pointer=pointer,
            const=re.search(r"\bconst\b", spelled.split("*")[0]) is not None,
            restrict="restrict" in spelled.lower(),
            reference="&" in spelled,
            volatile="volatile" in spelled,
        )

    def member(self, holder: str, name: str) -> str:
        """How a structure of the file declares a pointer among its members, "" where it does not."""
        head = rb"\b(?:struct|class)\s+(?:\w+\s+)?%b\s*(?:final\s*)?\{([^{}]*)" % re.escape(
            holder.encode()
        )
        found = (
            re.search(head, self._text) if holder.isidentifier() and name.isidentifier() else None
        )
        if found is None:
            return ""
        made = rb"(?:^|[;{:])\s*((?:const\s+)?[\w:]+(?:\s+const)?\s*\*)[\w\s]*\b%b\s*[;={]"
        body = re.sub(rb"//[^\n]*|/\*.*?\*/", b"", found.group(1), flags=re.DOTALL)
        match = re.search(made % name.encode(), body)
        return match.group(1).decode("utf-8", "replace") if match is not None else ""

    def is_pack(self, name: str) -> bool:
        """Whether a name is an alias of the file for a vector type or a pack of elements."""
        meanings = self._aliases.get(name)
        if not meanings:
            return False
        return any(
            "128" in meaning
            or _PACKED.search(meaning) is not None
            or self.element(meaning).lanes > 1
            for meaning in meanings
        )

    def element(
        self, spelled: str, templates: frozenset[str] = frozenset(), depth: int = 0
    ) -> CType:
        """The element's type alone."""
        if "<" in spelled:
            return UNKNOWN._replace(name=spelled)
        words = [word for word in _WORD.findall(spelled) if word not in _QUALIFIERS]
        if not words:
            return _integer(spelled)
        if words[0] in ("long", "short", "char", "int", "double") or "unsigned" in spelled:
            return _integer(spelled)
        name = words[-1]
        known = named(name)
        if known.lanes:
            return known
        if name in templates:
            lanes = 0 if _PACK_LIKE.search(name) else 1
            return CType(name, None, lanes, template=True)
        found = self._alias(name, templates, depth)
        if not found.lanes and name in _NUMBERS_ELSEWHERE:
            return CType(name, None, 1, template=True)
        return found

    def _alias(self, name: str, templates: frozenset[str], depth: int) -> CType:
        key = (name, templates, depth)  # aliases of aliases branch: each is followed once a depth
        if key not in self._known:
            self._known[key] = self._followed(name, templates, depth)
        return self._known[key]

    def _followed(self, name: str, templates: frozenset[str], depth: int) -> CType:
        meanings = self._aliases.get(name) or set()
        macro = self._macros.get(name)
        if macro is not None and macro.parameters is None:
            meanings = {*meanings, macro.body}
        if not meanings or depth > 5:
            return UNKNOWN._replace(name=name)
        kinds = {self.element(meaning, templates, depth + 1) for meaning in meanings}
        pointers = any("*" in meaning for meaning in meanings)
        if pointers or any(kind.lanes != 1 for kind in kinds):
            widest = max(kinds, key=lambda kind: kind.lanes)
            return widest if len(kinds) == 1 and not pointers else UNKNOWN._replace(name=name)
        return next(iter(kinds)) if len(kinds) == 1 else CType(name, None, 1, template=True)


_TYPEDEF = lazy_compile(rb"\btypedef\s+(?P<type>[\w:\s*]+?)\s*\b(?P<name>\w+)\s*;")
_USING = lazy_compile(rb"\busing\s+(?P<name>\w+)\s*=\s*(?P<type>[^;{}=]+?)\s*;")


def _integer(spelled: str) -> CType:
    """`unsigned long long`, `long int`, `unsigned char`: the words in any order."""
    words = _WORD.findall(spelled)
    for name in ("char", "short", "long", "double"):
        if name in words:
            return CType(name, SCALARS[name], 1)
    if {"int", "unsigned", "signed"}.intersection(words):
        return CType("unsigned" if "unsigned" in words else "int", 4, 1)
    return UNKNOWN._replace(name=spelled)


def last_name(text: str) -> str:
    """The last name of a qualified one, template arguments left out: `f` of `A<T>::f<U>`."""
    while (shorter := _TEMPLATE_ARGUMENTS.sub("", text)) != text:
        text = shorter
    return text.split("<")[0].rsplit("::", 1)[-1].strip(" \t\r\n(*)&")


def spelled(node: Node, declarator: Node | None) -> str:
    """The words of a declaration's type with the stars and ampersands of its declarator."""
    parts = []
    for child in node.children:
        if child == declarator or child.type in (";", ","):
            break
        if child.type != "comment":
            parts.append((child.text or b"").decode("utf-8", "replace"))
    while declarator is not None:
        for child in declarator.children:
            if child.type in ("*", "&", "&&", "type_qualifier"):
                parts.append((child.text or b"").decode("utf-8", "replace"))
        declarator = inner(declarator)
    return " ".join(parts)


def inner(declarator: Node) -> Node | None:
    """The declarator inside a pointer, reference, array or initialised one."""
    found = declarator.child_by_field_name("declarator")
    if found is None and declarator.type in ("reference_declarator", "parenthesized_declarator"):
        found = declarator.named_children[-1] if declarator.named_children else None
    return found
