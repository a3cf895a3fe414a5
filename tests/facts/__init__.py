"""The facts of Python files, asked directly."""
