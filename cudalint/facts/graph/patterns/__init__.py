"""Computations as patterns over value graphs, shared by the checks and the fixes of a rule."""
