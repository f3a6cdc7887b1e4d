"""One replay over many devices."""
