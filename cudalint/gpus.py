"""GPU names as people write them in `target-gpus`, and their compute capabilities."""

from __future__ import annotations

import re

from cudalint.errors import UsageError

DEFAULT_TARGETS = ("sm_80", "sm_90", "sm_100")

_BY_ARCHITECTURE = {
    60: "p100",
    61: "p4 p40 gtx1080 gtx1080ti",
    70: "v100 titanv",
    75: "t4 rtx2080 rtx2080ti rtx5000 rtx6000",
    80: "a100 a30 a800",
    86: "a2 a10 a10g a16 a40 a4000 a5000 a6000 rtxa6000 rtx3060 rtx3070 rtx3080 rtx3090 rtx3090ti",
    87: "orin",
    89: "l4 l40 l40s l20 rtx4070 rtx4080 rtx4090 rtx6000ada",
    90: "h20 h100 h200 h800 gh200",
    100: "b100 b200 gb200",
    103: "b300 gb300",
    110: "thor",
    120: "rtx5070 rtx5080 rtx5090 rtxpro6000",
    121: "gb10",
}
NAMES = {name: number for number, names in _BY_ARCHITECTURE.items() for name in names.split()}


def architecture(gpu: str) -> int:
    """The compute capability of a target: 90 for `h100`, `H100`, `nvidia-h100`, `sm_90`."""
    plain = re.sub(r"[\s_-]|nvidia|geforce|tesla", "", gpu.lower())
    if found := re.fullmatch(r"(?:sm|compute)(\d{2,3})[af]?", plain):
        return int(found[1])
    if plain in NAMES:
        return NAMES[plain]
    from difflib import get_close_matches

    near = get_close_matches(plain, NAMES, 1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    raise UsageError(
        f"unknown GPU `{gpu}` in `target-gpus`{hint}: a name such as `h100` or `t4`, "
        "or an architecture such as `sm_90`, is accepted"
    )
