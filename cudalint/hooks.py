"""What runs once a step, or is a part of one, by its name."""

from __future__ import annotations

import re
from functools import cache

from cudalint.lazy import lazy_compile

# Methods that a framework calls; `forward` of a module is one too, and needs a look at its class.
HOOKS = frozenset(
    [
        "training_step",
        "validation_step",
        "test_step",
        "predict_step",
        "compute_loss",
        "prediction_step",
        "training_step_end",
        "validation_step_end",
        "optimizer_step",
        "on_before_zero_grad",
    ]
)
_BATCH_HOOK = r"on_(?:\w+_)?batch_(?:start|end)|on_(?:before|after)_backward|on_step_end"
_STEP = (
    r"_?(?:train|eval|evaluate|valid|validation|val|test)_(?:step|iter|iteration|on_batch|batch)"
    r"|optimize_parameters|train_one_batch|train_one_step|update_parameters|_shared_step"
)
_HOOK_NAME, _STEP_NAME = lazy_compile(_BATCH_HOOK), lazy_compile(_STEP)
# What a step has several of, beside optimizers and losses.
_PARTS = frozenset(["scaler", "p", "param", "parameter", "group", "critic", "name", "net"])
_NAMED = "|".join((*sorted(HOOKS), _BATCH_HOOK, _STEP, "forward"))


def is_hook(name: str) -> bool:
    """Whether a framework calls a method of this name once a step."""
    return name in HOOKS or (name[:3] == "on_" and _HOOK_NAME.fullmatch(name) is not None)


def is_step(name: str) -> bool:
    """Whether a function of this name is a step that another file calls."""
    return "_" in name and _STEP_NAME.fullmatch(name) is not None


def is_part(name: str) -> bool:
    """Whether something is named like a part of a step: one of several optimizers, or losses."""
    return "opt" in name or "loss" in name or name.removesuffix("s") in _PARTS


@cache
def headers(names: frozenset[str]) -> re.Pattern[bytes]:
    """Where a function may begin that somebody calls once a step; `names` are called so as well."""
    named = "|".join((_NAMED, *sorted(map(re.escape, names))))
    return re.compile(rb"def[ \t]+(?:%b)\b" % named.encode())
