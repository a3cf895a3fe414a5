"""What is found: one rule a file, named after it; its docstring is its page."""
