"""Realistic programs with labelled spots, and the scorer that holds the linter against them."""
