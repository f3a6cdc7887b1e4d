"""Which quick tests a changed file is put through, those first that notice most in the least time."""

WINDOWS = [
    "test_windows.py",
    "views/test_turnover.py",
    "test_exhaustive.py",
    "views/test_episodes.py",
    "views/test_bounds.py",
    "test_testing_windows.py",
    "views/test_exhaustive_wrapped.py",
    "errors/test_construction.py",
    "test_state_machine.py",
    "test_stats.py",
    "samplers/test_by_episode.py",
    "samplers/test_long_streams.py",
]
STORAGE = [
    "test_windows.py",
    "test_writeback.py",
    "test_dtypes.py",
    "errors/test_indices_and_keys.py",
    "test_exhaustive.py",
    "test_stats.py",
    "samplers/test_clustered.py",
    "samplers/test_weighted.py",
    "test_state_machine.py",
    "test_in_place.py",
]
TESTS = {
    "storage/ring.py": STORAGE,
    "storage/writeback.py": ["test_writeback.py", "errors/test_sample_update.py", "errors/test_indices_and_keys.py"],
    "windows/base.py": WINDOWS,
    "windows/episode_bounds.py": ["views/test_bounds.py", "views/test_hindsight_goals.py", *WINDOWS],
    "windows/legal.py": WINDOWS,
    "windows/queue.py": WINDOWS,
    "environments/recorder.py": [
        "recorder/test_recorder.py",
        "recorder/test_recorder_errors.py",
        "errors/test_environments.py",
        "recorder/test_brax.py",
        "recorder/test_gymnasium.py",
        "recorder/test_docs.py",
        "test_vmap.py",
    ],
    "host/streams.py": ["host/test_inbox.py", "host/test_inbox_refusals.py"],
    "host/inbox.py": ["host/test_inbox.py", "host/test_inbox_refusals.py"],
    "numerics/sum_tree.py": [
        "samplers/test_sum_tree.py",
        "samplers/test_prioritized_draws.py",
        "samplers/test_prioritized.py",
        "samplers/test_prioritized_update.py",
        "test_in_place_orders.py",
    ],
}
