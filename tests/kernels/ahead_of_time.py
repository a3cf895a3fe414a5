"""Compiles Triton kernels for GPUs that are not there, and reads what came out."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

# The shared memory that a block may have, in bytes.
SHARED_LIMIT = {80: 166_912, 86: 101_376, 89: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}

SIZE = {"bf16": 2, "fp16": 2, "fp32": 4}

# Those that are not of the operands' dtype.
POINTERS = {"dw_ptr": "*fp32", "parts_ptr": "*fp32", "arrived_ptr": "*i32"}

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


@dataclass(frozen=True)
class Compiled:
    ptx: str
    stack: int
    registers: int
    shared: int

    def accesses(self, kind: str) -> set[int]:
        """The bytes of each `ld` or `st` of global memory, asynchronous copies with the loads."""
        found = re.findall(rf"\b{kind}\.global[\w.:]*?(?:\.v(\d))?\.[bfsu](\d+)", self.ptx)
        widths = {int(lanes or 1) * int(bits) // 8 for lanes, bits in found}
        if kind == "ld":
            copies = r"cp\.async\.c[ag]\.shared\.global[^;]*?, 0x([0-9a-f]+)"
            widths |= {int(size, 16) for size in re.findall(copies, self.ptx)}
        return widths


def compile_kernel(
    kernel, types, constants, *, warps, arch=90, divisible=(), ones=(), stages=None
):  # fmt: skip
    """Compiles `kernel` as its launcher would.

    `types` names each run-time parameter's type; parameters in `divisible` are known to be
    multiples of 16, those in `ones` to be the constant 1.
    """
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    signature |= dict.fromkeys(ones, "constexpr")
    values = constants | dict.fromkeys(ones, 1)
    constexprs = {(names.index(name),): value for name, value in values.items()}
    attributes = {
        (names.index(name),): [["tt.divisibility", 16]] for name in divisible if name not in ones
    }
    source = ASTSource(kernel, signature, constexprs, attributes)
    target = GPUTarget("cuda", arch, 32)
    options = {"num_warps": warps} | ({} if stages is None else {"num_stages": stages})
    result = triton.compile(source, target=target, options=options)
    return _read(result)


def _read(result) -> Compiled:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(result.asm["cubin"])
        cubin.flush()
        usage = subprocess.run(
            [CUOBJDUMP, "-res-usage", cubin.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()
    return Compiled(result.asm["ptx"], int(stack), int(registers), result.metadata.shared)


def specialised(
    function: Any,
    constants: dict[str, object],
    warps: int,
    dtype: str,
    arch: int,
    signature: str = "aligned",
    levels: int = 1,
    ones: tuple[str, ...] = (),
) -> Compiled:
    """`function` with all pointers of `dtype`, as its launcher specialises it."""
    names = function.arg_names
    types = {n: POINTERS.get(n, f"*{dtype}") for n in names if n.endswith("_ptr")}
    types |= {n: "fp32" for n in ("eps", "weight_offset") if n in names}
    numbers = [n for n in names if n not in types and n.islower()]
    types |= dict.fromkeys(numbers, "i32")
    divisible = [n for n in types if types[n] != "fp32" and not n.endswith("rows")]
    flat = [n for n in names if n.endswith(("size1", "size2")) and levels == 1]
    return compile_kernel(
        function,
        types,
        {name: value for name, value in constants.items() if name in names},
        warps=warps,
        arch=arch,
        divisible=divisible if signature == "aligned" else (),
        ones=numbers if signature == "ones" else [*flat, *ones],
    )


def assert_fits(result: Compiled, arch: int) -> None:
    assert result.stack == 0, f"{result.stack} bytes of stack: registers are spilled"
    assert result.shared <= SHARED_LIMIT[arch]
