"""CUDA text made readable for the grammar: what breaks it is blanked, and every offset stays true.

The grammar knows C++ and a little CUDA, but nothing is expanded before it: attributes, pragmas,
loop and qualifier macros, and conditionals that cut through a statement each cost it a whole
kernel body. They are replaced by spaces or by an equally long spelling that it knows. Facts that
need what was blanked (launch bounds, loop macros, qualifiers) read it from the source.

Each pattern begins with a literal where it can: `re` then searches as fast as `bytes.find`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from cudalint.conditionals import resolved
from cudalint.lazy import lazy_compile

# Parentheses with three levels inside, on as many rows as they take.
_ARGUMENTS = rb"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"
_DEFINE = rb"\#[ \t]*define\b(?:[^\n\\]|\\\r?\n|\\.)*"
_PRINTED = lazy_compile(rb"[^\r\n]")


def spaces(text: bytes) -> bytes:
    """As many spaces, the ends of rows kept."""
    return _PRINTED.sub(b" ", text)


class Respelling(NamedTuple):
    """What a pattern matches is respelled, where one of the words occurs at all."""

    words: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    respell: Callable[[re.Match[bytes]], bytes]


def _blank(match: re.Match[bytes]) -> bytes:
    return spaces(match.group())


def _behind_capture(match: re.Match[bytes]) -> bytes:
    """`[=] __device__ (int i)` is `[=] (int i)`."""
    return b"]" + spaces(match.group()[1:])


def _qualifier(match: re.Match[bytes]) -> bytes:
    """`CUTLASS_DEVICE` is `__device__`; what names no device is blanked."""
    lead, word = match.group(1), match.group(2)
    known = b"__device__" if b"DEVICE" in word and len(word) >= 10 else b""
    return lead + known.ljust(len(word))


def _loop(match: re.Match[bytes]) -> bytes:
    """`CUDA_KERNEL_LOOP(i, n)` is some loop: `while (1)`. A definition stays as it is."""
    name, arguments = match.group(1), match.group(2)
    if name is None:
        return match.group()
    return b"while".ljust(len(name)) + b"(1" + spaces(arguments[2:-1]) + b")"


def _namespace(match: re.Match[bytes]) -> bytes:
    """`ROCM_HIPCUB(cub)::` is `cub::`."""
    return match.group(1).rjust(len(match.group()))


def _identifier(match: re.Match[bytes]) -> bytes:
    """`decltype(n){0}` builds a value of some type: `decltype_n_{0}`."""
    return re.sub(rb"\W", b"_", match.group())


def _typename(match: re.Match[bytes]) -> bytes:
    """`= typename T::Pair(a, b)` and `typename T::Scan(s).Sum(…)` are expressions."""
    before = match.string[max(0, match.start() - 80) : match.start()].rstrip()
    in_expression = before[-1:] in b"=(,?&|+-" or before.endswith(b"return")
    starts_one = before[-1:] in b";{}" and match.group(1) is not None
    return spaces(match.group()) if in_expression or starts_one else match.group()


RESPELLINGS = (
    Respelling(
        (b"__",),
        lazy_compile(
            rb"__(?:align__|launch_bounds__|attribute__|cluster_dims__|maxnreg__|block_size__)\s*"
            + _ARGUMENTS
            + rb"|__(?:grid_constant__|restrict\b|inline_hint__|RESTRICT__)"
        ),
        _blank,
    ),
    Respelling(
        (b"alignas", b"LAUNCH_BOUNDS", b"ALIGN"),
        lazy_compile(
            rb"\b(?:alignas|[A-Z][A-Z0-9_]*LAUNCH_BOUNDS\w*|[A-Z_]*ALIGN(?:AS|ED)?)\s*" + _ARGUMENTS
        ),
        _blank,
    ),
    Respelling((b"[[",), lazy_compile(rb"\[\[[\w:, ()]+\]\]"), _blank),
    Respelling(
        (b"RESTRICT", b"_GRID_CONSTANT"),
        lazy_compile(rb"\b(?:RESTRICT|[A-Z]+_GRID_CONSTANT)\b"),
        _blank,
    ),
    Respelling(
        (b"]",),
        lazy_compile(
            rb"\](?:\s*\b(?:__device__|__host__|__forceinline__|__noinline__"
            rb"|[A-Z][A-Z0-9_]*(?:LAMBDA|DEVICE|INLINE)[A-Z0-9_]*)\b)+(?=\s*[({])"
        ),
        _behind_capture,
    ),
    Respelling(
        (b"DEVICE", b"INLINE", b"HOST"),
        lazy_compile(
            rb"^([ \t]*(?:(?:static|inline|constexpr)[ \t]+)*)"
            rb"([A-Z][A-Z0-9_]*(?:DEVICE|INLINE|HOST)[A-Z0-9_]*)(?=\s+[\w:<>~]|\s*$)",
            re.M,
        ),
        _qualifier,
    ),
    Respelling((b"pragma",), lazy_compile(rb"\#[ \t]*pragma\b(?:[^\n\\]|\\\r?\n|\\.)*"), _blank),
    Respelling(
        (b"_Pragma", b"UNROLL"),
        lazy_compile(
            rb"^[ \t]*(?:_Pragma[ \t]*\([^\n]*\)"
            rb"|[A-Z][A-Z0-9_]*UNROLL\w*(?:[ \t]*\([^()\n]*\))?[ \t]*(?=\r?$|//|/\*))",
            re.M,
        ),
        _blank,
    ),
    Respelling(
        (b"LOOP",),
        lazy_compile(
            _DEFINE + rb"|\b([A-Z][A-Z0-9_]*LOOP\w*\s*)(" + _ARGUMENTS + rb")(?=\s*[\w{#*(])"
        ),
        _loop,
    ),
    Respelling((b"UNREACHABLE",), lazy_compile(rb"UNREACHABLE\w*(?=\s*\})"), _blank),
    Respelling((b")::",), lazy_compile(rb"\b[A-Z][A-Z0-9_]+\(([\w:]+)\)(?=::)"), _namespace),
    Respelling((b"decltype",), lazy_compile(rb"decltype\(\w+\)(?=\{)"), _identifier),
    Respelling(
        (b"typename",),
        lazy_compile(
            rb"typename\b(?=\s+[\w:]+(?:<[^;{}]*>)?[\w:]*\s*[({])(?=\s+[\w:]+(\([^;{}]*\)\.))?"
        ),
        _typename,
    ),
)


def blanked(text: bytes) -> bytes:
    """`text` with the spans that break the grammar blanked, byte for byte as long."""
    for words, pattern, respell in RESPELLINGS:
        if any(word in text for word in words):
            text = pattern.sub(respell, text)
    return resolved(text) if b"#" in text else text
