"""Short tests that `cudalint vendor` copies beside the functions: torch's own operations agree.

They need nothing but torch and pytest, and run where they find themselves, on a GPU if there is one.
"""
