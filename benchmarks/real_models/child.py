"""`python -m benchmarks.real_models.child FOLDER JOBS OUT DTYPE`: run modules of a copied package.

A job is a module and the functions of it that a fix changed. What runs them is built small, from a
seed; results, gradients and the names of the functions that ran are kept. The same process runs the
package before and after, from another folder.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.real_models.building import attempts, configuration, reseed, small

LARGE = 40_000_000  # parameters


def main(folder: str, jobs: str, out: str, dtype: str) -> None:
    sys.path.insert(0, folder)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_default_dtype(getattr(torch, dtype))
    with open(jobs, encoding="utf-8") as file:
        given = json.load(file)
    results = {}
    for job in given:
        try:
            functions, guesses = set(job["functions"]), job.get("guesses")
            results[job["module"]] = _trial(job["module"], functions, guesses)
        except (Exception, SystemExit) as error:
            results[job["module"]] = {"import": f"{type(error).__name__}: {error}"[:300]}
    torch.save(results, out)


def _trial(name: str, functions: set[str], guesses: dict[str, int] | None) -> dict[str, Any]:
    """Import a module and run what runs its changed functions, until all of them ran.

    `guesses` says what ran on the other side, and with which arguments.
    """
    module = importlib.import_module(name)
    runs: dict[str, Any] = {}
    failures: list[str] = []
    missing = set(functions)
    for label, build in (*_parts(module, functions), *_models(module)):
        if guesses is not None and label not in guesses:
            continue
        if guesses is None and not missing:
            break
        try:
            found = _run(build, module, None if guesses is None else guesses[label])
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            failures.append(f"{label}: {type(error).__name__}: {error} ({where.name})"[:200])
            continue
        if found["ran"] & missing or guesses is not None:
            runs[label] = found
            missing -= found["ran"]
    return {"runs": runs, "missing": sorted(missing), "failures": failures}


def _models(module: Any) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Whole models of transformers that the module defines, smallest interface first."""
    if not module.__name__.startswith("transformers."):
        return
    base = importlib.import_module("transformers").PreTrainedModel
    kinds = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and issubclass(kind, base) and kind is not base
        and getattr(kind, "config_class", None) and not kind.__name__.endswith("PreTrainedModel")
    ]  # fmt: skip
    for kind in sorted(kinds, key=lambda kind: ("For" in kind.__name__, len(kind.__name__)))[:4]:
        yield kind.__name__, lambda kind=kind: _model(kind)


def _model(kind: type[nn.Module]) -> nn.Module:
    """A whole model, unless its configuration leaves it large."""
    given = configuration(kind.config_class)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in kind(given).parameters())
    if size > LARGE:
        raise ValueError(f"{size / 1e6:.0f} million parameters")
    return kind(given)


def _parts(module: Any, functions: set[str]) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """The changed functions and classes themselves; and models of timm that the module defines."""
    for name in sorted(f for f in functions if "." not in f):
        yield name, lambda name=name: _holding(getattr(module, name))
    for name in dict.fromkeys(f.split(".")[0] for f in sorted(functions) if "." in f):
        kind = getattr(module, name, None)
        if isinstance(kind, type) and issubclass(kind, nn.Module):
            yield name, lambda kind=kind: small(kind)
    if module.__name__.startswith("timm.models."):
        timm = importlib.import_module("timm")
        for name in timm.list_models(module=module.__name__.rsplit(".", 1)[1])[:6]:
            yield name, lambda name=name: timm.create_model(name)


def _holding(function: Callable[..., Any]) -> nn.Module:
    made = nn.Module()
    made.forward = function
    return made


def _run(build: Callable[[], nn.Module], module: Any, guess: int | None) -> dict[str, Any]:
    torch.manual_seed(0)
    made = build()
    made.eval()
    reseed(made)
    if module.__name__.startswith("timm.models.") and hasattr(made, "default_cfg"):
        side = made.default_cfg["input_size"]
        x = torch.randn(1, *side, generator=torch.Generator().manual_seed(2))
        return _called(made, {"x": x}, module) | {"guess": 0}
    failure: Exception = RuntimeError("nothing to call it with")
    for number, given in enumerate(attempts(made.forward)):
        if guess is not None and number != guess:
            continue
        try:
            return _called(made, given, module) | {"guess": number}
        except Exception as error:
            failure = error
    raise failure


def _called(made: nn.Module, given: dict[str, Any], module: Any) -> dict[str, Any]:
    """Call a module, go backward through it, and note which functions of its file ran."""
    for value in given.values():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            value.requires_grad_()
    made.zero_grad()
    torch.manual_seed(3)
    with _noted(module.__file__) as ran:
        try:
            outputs = list(_tensors(made(**given)))
        except BaseException as error:  # transformers' missing dependencies are no Exception
            if isinstance(error, (Exception, KeyboardInterrupt)):
                raise
            raise RuntimeError(repr(error)) from error
    floats = [out for out in outputs if out.is_floating_point() and out.requires_grad]
    if not outputs:
        raise RuntimeError("no tensor comes back")
    first = next((value for value in given.values() if isinstance(value, torch.Tensor)), None)
    if first is not None and outputs[0].dim() > first.dim() > 2:
        raise RuntimeError("the arguments are broadcast to more dimensions than there are")
    generator = torch.Generator().manual_seed(4)
    if floats:
        total = sum((out * torch.randn(out.shape, generator=generator)).sum() for out in floats)
        total.backward()
    named = [*made.named_parameters(), *given.items()]
    return {
        "outputs": [out.detach() for out in outputs],
        "gradients": {n: p.grad for n, p in named if getattr(p, "grad", None) is not None},
        "ran": ran,
    }


@contextlib.contextmanager
def _noted(file: str) -> Iterator[set[str]]:
    """The qualified names of the functions of a file that run inside the block."""
    ran: set[str] = set()

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == file:
            ran.add(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield ran
    finally:
        sys.setprofile(None)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _tensors(inner)


if __name__ == "__main__":
    main(*sys.argv[1:])
