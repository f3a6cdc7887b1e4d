"""A replay in plain Python that says what the real one must hold, and tools to compare the two."""

from oracle.arrays import leaves_of, row_at, windows_to_arrays
from oracle.every import Every
from oracle.patterns import check, read_all, rows_of
from oracle.quick import each_of, quick_jit, readable_jit, users_jit
from oracle.replay import OracleReplay, Window
from oracle.rows import drawn, example, filled, likely, small_row, told_apart
from oracle.statistics import ALPHA, fits, power
from oracle.wrapped import WrappedOracle, core_of, episode_of, like_of, slots_of, with_goal

__all__ = [
    "ALPHA",
    "Every",
    "OracleReplay",
    "Window",
    "WrappedOracle",
    "check",
    "core_of",
    "drawn",
    "each_of",
    "episode_of",
    "example",
    "filled",
    "fits",
    "leaves_of",
    "like_of",
    "likely",
    "power",
    "quick_jit",
    "read_all",
    "readable_jit",
    "row_at",
    "rows_of",
    "slots_of",
    "small_row",
    "told_apart",
    "users_jit",
    "windows_to_arrays",
    "with_goal",
]
