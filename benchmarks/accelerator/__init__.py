"""One table for whatever device there is: ``python -m benchmarks.accelerator``."""
