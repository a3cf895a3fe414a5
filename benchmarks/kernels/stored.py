"""Figures of peers that are not there at each run, taken on an H200 on 2026-11-21.

quack 0.6.5 beside torch 2.11 and Triton 3.6; the copy of that run made 4.27 TB/s. Calls below 16 MB
were not timed by graph replay and are left out.
"""

from __future__ import annotations

from typing import Any

QUACK = {
    ("rms_norm", "4×1024×2048", "forward"): 14.5e-6,
    ("rms_norm", "4×4096×3072", "forward"): 57e-6,
    ("rms_norm", "16×2048×4096", "forward"): 4.00,
    ("rms_norm", "4×8192×8192", "forward"): 4.10,
    ("rms_norm", "1×8192×32768", "forward"): 4.07,
    ("softmax", "32768×1024", "forward"): 3.57,
    ("softmax", "32768×4096", "forward"): 4.00,
    ("softmax", "16384×16384", "forward"): 4.09,
    ("softmax", "4096×131072", "forward"): 4.12,
    ("cross_entropy", "8192×32000", "forward+backward"): 3.63,
    ("cross_entropy", "8192×128256", "forward+backward"): 3.74,
}  # seconds, or TB/s where over 1


def quack(row: dict[str, Any]) -> float | None:
    """Seconds, on the device that they were taken on."""
    figure = QUACK.get((row["operation"], row["shape"], row["mode"]))
    if figure is None:
        return None
    return float(figure) if figure < 1 else float(row["work"] / figure / 1e12)
