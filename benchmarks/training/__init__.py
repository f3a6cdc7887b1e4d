"""Whole training runs: the same learner with our replay and with another's, curves and wall time."""
