"""Which accesses of a kernel are scalar although neighbouring threads read neighbouring elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.cuda.access import Access, Guard, Loop, Pointer
from cudalint.facts.cuda.affine import Kind, Poly
from cudalint.facts.cuda.types import named
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from cudalint.facts.cuda.functions import Function

# Words for wide accesses that types do not show: packs, helpers, asynchronous copies, instructions.
_WIDE = lazy_compile(
    rb"\b(?:FLOAT[24]|INT[24]|HALF2|BFLOAT2|FETCH_\w+|LDST\w+|[A-Za-z_]\w*128B?(?:BITS|b|_t)?"
    rb"|Packed\d+\w*|Packed\w*\s*<|\w*[Pp]acked_?[Tt](?:ype)?|[Pp]ack_?[Tt](?:ype)?|Pack\s*<|[Vv]ec_?[Tt](?:ype)?|[Vv]ec\w*[Ll]oad\w*|\w*(?:[Ll]oad|[Ss]tore|LOAD|STORE)_?[Vv](?:ec|EC)\w*"
    rb"|\w*[Vv]ectorized?\w*|[Aa]ligned_?[Vv]ec\w*|[Aa]ligned_?[Aa]rray\w*|Vec(?:tor)?\s*<\w*|\w*[Vv]ec_?[Ss]ize\w*|VEC\w*|cp_async\w*|\w*memcpy_async"
    rb"|Block(?:Load|Store)\w*|ld_?global\w*|cuda_async\w*|tma_\w+)\b|\.v[248]\.|cp\.async"
)
_EVERY = lazy_compile(rb"\b(\w+(?:\.\w+)?)[\s)]*%[^%=!<>&|]*==")
_IDENTIFIER = lazy_compile(rb"[A-Za-z_]\w*")
_THREADS = lazy_compile(r"(?i)block_?(?:size|dim)|threads|warp_?size")
_CONSTANT = lazy_compile(r"(?:[\w:]*::)?(?:k[A-Z]\w*|[A-Z][A-Z0-9_]*)\Z|@")
_WALKS = frozenset({"warpSize", "WARP_SIZE", "kWarpSize", "WarpSize", "C10_WARP_SIZE"})


def is_vectorized(function: Function, depth: int = 0) -> bool:
    """Whether a function or a helper of the file that it calls moves several elements at once."""
    text = function.facts.text[function.node.start_byte : function.node.end_byte]
    if _WIDE.search(text) is not None:
        return True
    facts = function.facts
    for word in set(_IDENTIFIER.findall(text)):
        name = word.decode()
        if named(name).lanes > 1 or facts.types.is_pack(name):
            return True
        macro = facts.macros.get(name)
        if macro is not None and _is_wide_text(macro.body):
            return True
        if depth < 2 and any(
            helper is not function and is_vectorized(helper, depth + 1)
            for helper in facts.by_name.get(name, ())
            if helper.is_device
        ):
            return True
    return False


def _is_wide_text(text: str) -> bool:
    data = text.encode()
    return _WIDE.search(data) is not None or any(
        named(word.decode()).lanes > 1 for word in _IDENTIFIER.findall(data)
    )


class Pattern(NamedTuple):
    """The accesses of a kernel to global memory, by how neighbouring threads stand to each other.

    `dense`: one scalar a thread, side by side. `neutral`: what does no harm beside them: one
    element for many threads, runs (`bias[i % n]`), columns, atomics. `scattered`: strided,
    gathered, the neighbours of an element, or not understood.
    """

    dense: tuple[Access, ...]
    neutral: tuple[Access, ...]
    scattered: tuple[Access, ...]


def pattern(kernel: Function) -> Pattern:
    """The global accesses of a kernel in source order."""
    accesses = [
        access
        for access in kernel.facts.values(kernel).accesses
        if access.pointer.space in ("global", "unknown")
    ]
    rows = _is_same_everywhere(accesses)
    parameters = {parameter.name for parameter in kernel.parameters}
    dense = [one for one in accesses if _is_narrow(one) and _is_dense(one, parameters, rows)]
    beside = [one for one in dense if _has_neighbour(one, dense)]
    dense = [one for one in dense if one not in beside]
    dense += [one for one in accesses if _is_narrow(one) and _fills_stride(one, accesses)]
    neutral = [one for one in accesses if one not in dense + beside and _is_neutral(one)]
    scattered = [one for one in accesses if one not in dense and one not in neutral]
    return Pattern(tuple(dense), tuple(neutral), tuple(scattered))


def _is_narrow(access: Access) -> bool:
    """Whether an access moves one number of less than eight bytes, and knows where."""
    element = access.pointer.type
    return (
        access.pointer.space == "global"
        and not access.atomic
        and element.is_number
        and not element.volatile
        and element.pointer < 2
        and (element.size or 4) < 8
        and access.pointer.offset.kind <= Kind.PIECEWISE
    )


def _is_dense(access: Access, parameters: set[str], rows: bool) -> bool:
    """Whether neighbouring threads access neighbouring elements, and go on behind each other."""
    offset = access.pointer.offset
    factor = offset.coefficient("threadIdx.x")
    if factor is None or factor.constant != 1:
        return False
    step = _step(access)
    if any(_is_of_some(guard, parameters) for guard in access.guards):
        return False
    if offset.kind == Kind.PIECEWISE and not _walks_warp(access):
        return False
    if not rows:
        if step is not None and not _is_walk(step, parameters):
            return False
        if offset.names("threadIdx.z") or (offset.names("threadIdx.y") and _is_tile(step)):
            return False
    # Without a block or a loop there are no more elements than one block has threads.
    return step is not None or offset.names("blockIdx.x", "blockIdx.y", "blockIdx.z")


def _is_of_some(guard: Guard, parameters: set[str]) -> bool:
    """`if (tid % (2 * stride) == 0)`: the threads that pass have others between them."""
    text = (guard.node.text or b"") if guard.kind > Kind.UNIFORM else b""
    divided = [match.group(1).decode() for match in _EVERY.finditer(text)]
    return any(name not in parameters and not _CONSTANT.match(name) for name in divided)


def _is_tile(step: Poly | None) -> bool:
    """Whether rows of threads go on to other rows of a matrix, rather than along their own."""
    if step is None:
        return True
    names = {atom.name for atom in step.atoms}
    return any(name.startswith("gridDim.") for name in names) and "blockDim.y" not in names


def _step(access: Access) -> Poly | None:
    """How far the innermost loop that moves the index moves it in a turn."""
    for loop in reversed(access.loops):
        step = access.pointer.offset.coefficient(loop.turn)
        if step is None or step.constant != 0:
            return step
    return None


def _is_walk(step: Poly, parameters: set[str]) -> bool:
    """Whether the next turn goes on where the threads of this one end."""
    if step.constant is not None:
        return abs(step.constant) >= 16
    for atom in step.atoms:
        known = atom.name.startswith(("blockDim.", "gridDim.")) or _THREADS.search(atom.name)
        if not known and (atom.name in parameters or _CONSTANT.match(atom.name) is None):
            return False
    return True


def _walks_warp(access: Access) -> bool:
    """Whether the lanes of a warp walk a row together."""
    step = _step(access)
    return step is not None and (
        step.constant in (16, 32, 64) or any(atom.name in _WALKS for atom in step.atoms)
    )


def _is_same_everywhere(accesses: list[Access]) -> bool:
    """Whether a kernel touches one element of each array, all at the same index.

    In a matrix, rows and columns may have values of their own beside: a scale, a bias.
    """
    if len({access.pointer.offset for access in accesses}) == 1:
        return True
    if len({access.loops for access in accesses}) != 1:  # a product of matrices
        return False
    own = {access.pointer.offset for access in accesses if not _is_of_line(access)}
    return len(own) == 1 and next(iter(own)).names("threadIdx.y")


def _is_of_line(access: Access) -> bool:
    """Whether an access reads what a whole row or a whole column of threads shares."""
    offset = access.pointer.offset
    factor = offset.coefficient("threadIdx.x")
    if factor is None or not access.loads or access.atomic or offset.kind > Kind.PIECEWISE:
        return False
    column = factor.constant == 1 and not offset.names("threadIdx.y", "blockIdx.y")
    return factor.constant == 0 or column


def _fills_stride(access: Access, accesses: list[Access]) -> bool:
    """Whether a thread accesses each of the two or four elements between it and the next."""
    offset = access.pointer.offset
    factor = offset.coefficient("threadIdx.x")
    stride = factor.constant if factor is not None else None
    if stride not in (2, 4) or offset.kind > Kind.THREAD:
        return False
    apart = {
        (other.pointer.offset - offset).constant
        for other in accesses
        if other.pointer.base == access.pointer.base and other.stores == access.stores
    }
    residues = {one % stride for one in apart if one is not None and abs(one) < stride}
    return len(residues) == stride


def _is_neutral(access: Access) -> bool:
    offset = access.pointer.offset
    factor = offset.coefficient("threadIdx.x")
    if access.atomic:
        return True
    if factor is None or offset.kind > Kind.PIECEWISE:
        return False
    if factor.constant == 0:
        return True
    step = _step(access)
    creeps = step is not None and step.constant is not None and abs(step.constant) < 16
    return factor.constant == 1 and not creeps and not offset.names("threadIdx.y")


def _has_neighbour(access: Access, dense: list[Access]) -> bool:
    """Whether the kernel also accesses an element next to this one: a stencil."""
    for other in dense:
        if other.pointer.base == access.pointer.base:
            apart = (access.pointer.offset - other.pointer.offset).constant
            if apart is not None and 0 < abs(apart) < 16:
                return True
    return False


def is_worth_vectors(kernel: Function, found: Pattern) -> bool:
    """Whether the dense accesses are what the kernel does most: it moves data, scatters nothing,
    and nothing else is accessed in a loop further inside."""
    if not found.dense or found.scattered or hands_out(kernel, found.dense):
        return False
    calls = kernel.facts.values(kernel).calls
    if any(call.name.startswith(("tex", "surf")) for call in calls):
        return False
    depth = max(map(_depth, found.dense))
    if any(_depth(access) > depth for access in found.neutral if not access.atomic):
        return False
    turns = max(len(access.loops) for access in found.dense)
    if any(len(access.loops) > turns for access in found.neutral if access.atomic):
        return False  # many atomics for each element: they are what it waits for
    if _is_product(kernel, found):
        return False
    if any(access.loads for access in found.dense) or any(map(_is_run, found.neutral)):
        return True
    # What only stores moves data where it fills, and computes where it calls or loops.
    flat = not any(access.pointer.offset.names("threadIdx.y") for access in found.dense)
    return flat and not calls and depth <= 1


def _is_product(kernel: Function, found: Pattern) -> bool:
    """Whether groups of threads walk rows of one matrix while they go down those of another."""
    parameters = {parameter.name for parameter in kernel.parameters}
    walks = {one.loops for one in found.dense if one.pointer.offset.kind == Kind.PIECEWISE}
    beside = [_step(one) for one in found.neutral if one.loads and one.loops in walks]
    return any(step and step.constant is None and not _is_walk(step, parameters) for step in beside)


def _depth(access: Access) -> int:
    """How many loops stand around an access, those of a few turns left out."""
    return sum(not _is_short(loop) for loop in access.loops)


def _is_short(loop: Loop) -> bool:
    if loop.first is None or loop.bound is None:
        return False
    turns = (loop.bound - loop.first).constant
    return turns is not None and abs(turns) <= 16


def _is_run(access: Access) -> bool:
    """Whether neighbouring threads read neighbouring elements but for the ends of rows."""
    factor = access.pointer.offset.coefficient("threadIdx.x")
    return access.loads and not access.atomic and factor is not None and factor.constant == 1


def takes_vectors(kernel: Function) -> bool:
    """Whether a launch of the file puts a vector type in the place of a template parameter."""
    if not kernel.templates:
        return False
    types = kernel.facts.types
    return any(
        types.is_pack(argument) or types.of(argument).lanes > 1
        for launch in kernel.facts.launches
        if launch.kernel == kernel.name
        for argument in launch.templates
    )


def hands_out(kernel: Function, dense: tuple[Access, ...]) -> bool:
    """Whether a function that was not read gets an address which is no single element, of an
    array that the kernel does not walk itself."""
    walked = {access.pointer.base for access in dense}
    return any(
        isinstance(value, Pointer)
        and value.space == "global"
        and value.base not in walked
        and not _is_element(value)
        for call in kernel.facts.values(kernel).calls
        for value in call.arguments
    )


def _is_element(address: Pointer) -> bool:
    """Whether an address is that of the thread's own element."""
    factor = address.offset.coefficient("threadIdx.x")
    own = factor is not None and factor.constant == 1
    return own and address.offset.kind <= Kind.PIECEWISE
