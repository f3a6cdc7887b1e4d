"""Which quick tests a changed file is put through, those first that notice most in the least time."""

COUNTERS = "test_stats.py::test_windows_are_counted_when_the_counters_of_their_queue_go_round"
ON_THE_HOST = "episodes/test_laws.py::test_windows_of_each_kind_are_counted_and_found_without_a_ring"
UNBOUNDED = "test_seams.py::test_legal_shows_rows_ages_and_sizes"
WINDOWS = [ON_THE_HOST, "test_legal.py", "views/test_turnover.py", "test_windows.py"]
RECORDER = "recorder/test_recorder.py"
BY_HAND = [
    "in_next_step_mode_the_step_that_resets_gives_no_action_no_reward_and_no_end",
    "in_disabled_mode_a_finished_environment_writes_nothing_until_it_is_reset",
    "final_observations_are_read_only_where_an_episode_ends",
    "a_reset_of_some_environments_leaves_the_others_as_they_are",
    "a_reset_by_hand_right_after_an_end_opens_an_ordinary_episode",
]
TESTS = {
    "storage/ring.py": ["test_ring.py"],
    "storage/writeback.py": ["test_writeback.py", "errors/test_sample_update.py"],
    "windows/base.py": [UNBOUNDED, *WINDOWS],
    "windows/episode_bounds.py": ["test_legal.py", "views/test_bounds.py"],
    "windows/legal.py": ["test_legal.py"],
    "windows/queue.py": [COUNTERS, *WINDOWS],
    "environments/recorder.py": [
        *(f"{RECORDER}::test_{name}" for name in BY_HAND),
        "recorder/test_recorder_errors.py",
        "errors/test_environments.py",
        RECORDER,
    ],
    "host/streams.py": ["host/test_inbox.py", "host/test_inbox_refusals.py"],
    "host/inbox.py": ["host/test_inbox.py", "host/test_inbox_refusals.py"],
    "numerics/sum_tree.py": ["samplers/test_sum_tree.py"],
}
