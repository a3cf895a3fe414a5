"""Compiling and running CUDA programs as the fixtures promise: all warnings are errors."""

from __future__ import annotations

import subprocess
from pathlib import Path

INCLUDE = Path(__file__).resolve().parents[2] / "cudalint" / "kernels" / "include"
FLAGS = ("-std=c++17", "-O2", "-Werror", "all-warnings", "-I", str(INCLUDE))


def compiled(text: str, folder: Path, name: str = "program", *flags: str) -> Path:
    """The program of a source, compiled for the device at hand or for nvcc's default."""
    source, program = folder / f"{name}.cu", folder / name
    source.write_text(text, encoding="utf-8")
    command = ["nvcc", *FLAGS, *flags, str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return program


def output(program: Path, *arguments: str) -> bytes:
    """What a program writes; it must succeed."""
    done = subprocess.run([str(program), *arguments], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout
