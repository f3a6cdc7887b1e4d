"""What every sampler points at, how likely, and what it remembers."""
