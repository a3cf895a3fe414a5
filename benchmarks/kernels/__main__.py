"""The kernels beside their peers on one CUDA GPU: `python -m benchmarks.kernels --json OUT`.

`--shard 1/2` and `--shard 2/2` divide the families between two GPUs, and `--merge A.json B.json`
puts results together, which needs no GPU. `--markdown` and `--plot` write the table and the picture
of either. `--compare STORED` fails where ours has become slower than in a stored result.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.kernels import compare, report
from benchmarks.kernels.merge import merged
from benchmarks.kernels.run import FAMILIES, TABLES, measure, shard


def main() -> None:
    arguments = _parser().parse_args()
    stored = json.loads(arguments.compare.read_text()) if arguments.compare else None
    result = _merge(arguments.merge) if arguments.merge else _run(arguments)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(
            report.markdown(result, arguments.plot and arguments.plot.name)
        )
    if arguments.plot:
        from benchmarks.kernels import plot

        plot.draw(result, arguments.plot)
    if stored is not None:
        _fail_where_slower(result, stored)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where the result goes")
    parser.add_argument("--markdown", type=Path, help="where the table goes, if anywhere")
    parser.add_argument("--plot", type=Path, help="where the picture goes: needs matplotlib")
    parser.add_argument(
        "--only", nargs="+", default=[], choices=FAMILIES, help="time these, default: all"
    )
    parser.add_argument(
        "--matching", default="", metavar="SHAPE", help="time rows whose shape begins so, no more"
    )
    parser.add_argument(
        "--table", nargs="+", default=[], choices=TABLES, help="these, default: all"
    )
    parser.add_argument("--shard", metavar="I/N", help="time the I-th of N shares of the families")
    parser.add_argument(
        "--merge", nargs="+", type=Path, help="time nothing: results to put together"
    )
    parser.add_argument(
        "--compare", type=Path, help="a stored result: exit 1 if ours is over 5 %% slower anywhere"
    )
    return parser


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.kernels: no CUDA device here")
    families = arguments.only or FAMILIES
    if arguments.shard:
        index, _, number = arguments.shard.partition("/")
        families = shard(families, int(index), int(number))
    return measure(families, arguments.json, arguments.matching, arguments.table)


def _merge(files: list[Path]) -> dict[str, Any]:
    try:
        return merged([json.loads(file.read_text()) for file in files], FAMILIES)
    except ValueError as error:
        raise SystemExit(f"benchmarks.kernels: --merge: {error}") from None


def _fail_where_slower(result: dict[str, Any], stored: dict[str, Any]) -> None:
    try:
        lines = compare.losses(result, stored)
    except ValueError as error:
        raise SystemExit(f"benchmarks.kernels: --compare: {error}") from None
    if lines:
        raise SystemExit("slower than stored:\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
