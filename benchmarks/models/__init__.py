"""Models written by hand in plain eager code, and what the tool alone makes of them."""
