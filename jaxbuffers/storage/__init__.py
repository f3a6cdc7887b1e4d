"""Private: how rows lie in memory, and how they are written back."""
