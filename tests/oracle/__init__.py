"""A replay in plain Python that says what the real one must hold, and tools to compare the two."""

from oracle.arrays import leaves_of, row_at, windows_to_arrays
from oracle.every import Every
from oracle.quick import quick_jit
from oracle.replay import OracleReplay, Window
from oracle.rows import drawn, example, filled, small_row, told_apart

__all__ = [
    "Every",
    "OracleReplay",
    "Window",
    "drawn",
    "example",
    "filled",
    "leaves_of",
    "quick_jit",
    "row_at",
    "small_row",
    "told_apart",
    "windows_to_arrays",
]
