"""`python -m cudalint.kernels --include` prints the folder for nvcc's -I."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cudalint.kernels", description=__doc__)
    parser.add_argument(
        "--include",
        action="store_true",
        required=True,
        help="print the folder that holds cudalint/*.cuh",
    )
    parser.parse_args()
    print(Path(__file__).parent / "include")


if __name__ == "__main__":
    main()
