"""Which function a fusion fix writes, and whether the project asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cudalint.model import Need

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts


# Functions of ours that run their reference on a GPU too (`kernel_info` says so, and a test holds the
# two together): they make nothing faster yet, so a fix writes them only where it is asked for by name.
WITHOUT_KERNEL: frozenset[str] = frozenset()


class Kernel(NamedTuple):
    """How a function is spelled in the file, its import, and whose it is.

    `asked`: it adds no dependency that the project did not ask for. `waits`: what has no kernel
    yet, empty where it has one.
    """

    spelling: str
    need: Need
    source: str
    asked: bool
    waits: str = ""


def kernel(facts: PythonFacts, name: str, torch: tuple[str, str] | None = None) -> Kernel | None:
    """The function `name` of the kernel source; `torch` is torch's own, as module and name.

    None where `kernel-source` is "torch" and torch has none.
    """
    source = facts.settings.kernel_source
    if source == "torch":
        if torch is None:
            return None
        spelling, need = of_torch(facts, *torch)
        return Kernel(spelling, need, source, True)
    module = "cudalint.kernels"
    if source == "vendored":
        # a folder `src` holds packages and is none
        path = facts.settings.vendored_path.strip("/").removeprefix("./").removeprefix("src/")
        module = path.removesuffix(".py").replace("/", ".")
    spelling, need = facts.names.need(module, name)
    asked = facts.settings.kernel_source_set or b"cudalint.kernels" in facts.text
    return Kernel(spelling, need, source, asked, f"`{name}`" if name in WITHOUT_KERNEL else "")


def of_torch(facts: PythonFacts, module: str, name: str) -> tuple[str, Need]:
    """A function of torch as the file spells it (`F.softmax`, `torch.softmax`), with its import."""
    for bound, bindings in facts.names.imported():
        if len(bindings) != 1 or bindings[0].kind != "import":
            continue
        if bindings[0].target == f"{module}.{name}":
            return bound, Need(module, name, "" if bound == name else bound)
        if bindings[0].target == module:
            return f"{bound}.{name}", _held(module, bound)
    if module == "torch.nn.functional" and "F" not in facts.names.module.bindings:
        return f"F.{name}", Need(module, "", "F")
    spelling, need = facts.names.need("torch")
    return f"{module.replace('torch', spelling, 1)}.{name}", need


def _held(module: str, bound: str) -> Need:
    """The need that an import of the file already satisfies."""
    parent, _, last = module.rpartition(".")
    if not parent:
        return Need(module, "", "" if bound == module else bound)
    return Need(parent, last, "" if bound == last else bound)
