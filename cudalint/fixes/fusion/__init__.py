"""Fused calls in place of what they compute."""
