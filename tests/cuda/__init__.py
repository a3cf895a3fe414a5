"""CUDA C++: blanking, facts, and the rewritten programs compiled and run."""
