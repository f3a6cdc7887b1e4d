"""The shells for loops in Python: what they store, refuse, free and hand out."""
