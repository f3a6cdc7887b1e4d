"""Benchmarks: what the library promises of speed and memory, measured beside its peers."""
