"""The parts of a rewrite: edits merged, imports kept tidy, syntax guarded, files written whole."""
