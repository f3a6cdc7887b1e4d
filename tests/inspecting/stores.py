"""A store to look at, and what its report says."""

import ml_dtypes
import numpy as np

import jaxbuffers as jb

ROW = jb.Row(
    obs={
        "image": np.zeros((9, 12, 3), np.uint8),
        "speed": np.zeros(2, np.float32),
        "low": np.zeros((), ml_dtypes.bfloat16),
        "mission": jb.text,
    },
    action=np.int32(0),
    reward=np.float32(0),
    is_first=np.bool_(0),
    is_last=np.bool_(0),
    is_terminal=np.bool_(0),
)
LENGTHS = (4, 7, 2, 9)


def rows_of(number, length):
    time = np.arange(length)
    image = np.broadcast_to((20 * number + time)[:, None, None, None], (length, 9, 12, 3)).astype(np.uint8)
    speed = np.stack([time - 3, time * 0], 1).astype(np.float32)
    speed[0, 1] = np.nan if number == 1 else 0
    return jb.Row(
        obs={
            "image": image, "speed": speed, "low": time.astype(ml_dtypes.bfloat16),
            "mission": [f"go <{number}> & back, {'far ' * 100 * number}"] * length,
        },
        action=time.astype(np.int32),
        reward=np.full(length, number, np.float32),
        is_first=time == 0,
        is_last=time == length - 1,
        is_terminal=(time == length - 1) & (number % 2 == 0),
    )  # fmt: skip


def table(report, title):
    (found,) = [each for each in report.tables if each.title == title]
    return {row[0]: row[1:] for row in found.rows[1:]}
