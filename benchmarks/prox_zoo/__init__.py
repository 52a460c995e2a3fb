"""The operators that `benchmarks/prox.py` times, each with its peers."""
