"""Real vectorized environments through the recorder, compared with the same episodes run one environment at a time."""
