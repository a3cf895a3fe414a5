"""The benchmarks, at sizes for a CPU: that they run, and that what they compare agrees."""
