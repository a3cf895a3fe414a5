"""The fixture harness: programs with marks, their fixes, and their runs before and after."""
