"""cudalint/vector.cuh: compiled for every architecture, wide in its code, bit-exact on a GPU."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INCLUDE = ROOT / "cudalint/kernels/include"
CHECK = Path(__file__).with_name("vector_check.cu")
ARCHITECTURES = (75, 80, 86, 89, 90, 100)

PROLOGUE = "#include <cuda_fp16.h>\n#include <cudalint/vector.cuh>\nnamespace cl = cudalint;\n"

# One kernel a form, and the widths that its loads and stores must reach.
FORMS = {
    "__global__ void f(float a, const float* x, float* y, int n) {"
    " cl::for_each(cl::covered(n), [=](float x, float& y) { y = a * x + y; },"
    " cl::in(x), cl::inout(y)); }": (128, 128),
    "__global__ void f(const __half* x, const __half* z, __half* y, size_t n) {"
    " cl::for_each(n, [](auto x, auto z, auto& y) { y = __hadd(x, z); },"
    " cl::in(x), cl::in(z), cl::out(y)); }": (128, 128),
    "__global__ void f(const __half* x, float* y, int n) {"
    " cl::for_each(n, [](__half x, float& y) { y = __half2float(x); },"
    " cl::in(x), cl::out(y)); }": (64, 128),
    "__global__ void f(const float* x, float* y, int n) {"
    " cl::for_each_in_block(n, [](float x, float& y) { y = x > 0 ? x : 0; },"
    " cl::in(x + blockIdx.x * n), cl::out(y + blockIdx.x * n)); }": (128, 128),
    "__global__ void f(const unsigned char* x, unsigned char* y, const float* table, long n) {"
    " cl::for_each_indexed(n, [=](long i, auto x, auto& y) {"
    " y = x + (unsigned char)table[i % 7]; }, cl::in(x), cl::out(y)); }": (128, 128),
}

REFUSED = {
    "cl::Vector<float, 3> v;": "the width must be a power of two",
    "cl::Vector<double, 4> v;": "a vector must be 1, 2, 4, 8 or 16 bytes",
    "struct S { S(const S&) {} float a; }; cl::Vector<S, 2>* v; v->element;": "trivially copyable",
    "cl::for_each(1.0f, [](float& y) { y = 0; }, cl::out((float*)0));": "n must be an integer",
}


def nvcc(source: str, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    file = target.with_suffix(".cu")
    file.write_text(PROLOGUE + source + "\n")
    return subprocess.run(
        ["nvcc", "-std=c++17", "-O2", "-Werror", "all-warnings", "-I", str(INCLUDE), *options,
         str(file), "-o", str(target)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiles_without_a_warning(architecture: int, tmp_path: Path) -> None:
    source = "\n".join(form.replace(" f(", f" f{i}(") for i, form in enumerate(FORMS))
    run = nvcc(source, tmp_path / "all.o", "-c", f"-arch=sm_{architecture}")
    assert run.returncode == 0, run.stderr


@pytest.mark.nvcc
@pytest.mark.parametrize("form", FORMS)
def test_moves_whole_vectors(form: str, tmp_path: Path) -> None:
    run = nvcc(form, tmp_path / "form.ptx", "-ptx", "-arch=sm_90")
    assert run.returncode == 0, run.stderr
    ptx = (tmp_path / "form.ptx").read_text()
    assert (_widest("ld", ptx), _widest("st", ptx)) == FORMS[form]


def _widest(kind: str, ptx: str) -> int:
    found = re.findall(rf"\b{kind}\.global(?:\.nc)?(?:\.v(\d))?\.[bfsu](\d+)", ptx)
    return max(int(lanes or 1) * int(bits) for lanes, bits in found)


@pytest.mark.nvcc
@pytest.mark.parametrize("statement", REFUSED)
def test_refuses_bad_template_arguments(statement: str, tmp_path: Path) -> None:
    run = nvcc(f"__global__ void f() {{ {statement} }}", tmp_path / "bad.o", "-c")
    assert run.returncode != 0
    assert REFUSED[statement] in run.stderr


@pytest.mark.nvcc
def test_the_check_program_compiles(tmp_path: Path) -> None:
    assert _build_check(tmp_path, "sm_90").returncode == 0


@pytest.mark.gpu
@pytest.mark.nvcc
def test_equals_the_scalar_loop_bit_for_bit(tmp_path: Path) -> None:
    assert _build_check(tmp_path, "native").returncode == 0
    run = subprocess.run([tmp_path / "check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert int(run.stdout.split()[1]) > 5000


def _build_check(folder: Path, architecture: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nvcc", "-std=c++17", "-O2", "-Werror", "all-warnings", f"-arch={architecture}",
         "-I", str(INCLUDE), str(CHECK), "-o", str(folder / "check")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
