"""What the benchmarks share; not scripts."""
