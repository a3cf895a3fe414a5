"""What is written instead: one fix a file, named as its rule."""
