"""Private: trees, random bits, exact sums and orders that samplers and returns are built on."""
