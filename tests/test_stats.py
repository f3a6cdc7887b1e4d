"""stats counts what a loop over the rows would count."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb


def rows(rng, steps, streams, flags=0.3):
    first, last = (rng.random((steps, streams)) < flags for _ in range(2))
    number = np.arange(steps * streams, dtype=np.float32).reshape(steps, streams)
    return jb.Row(number, number, number, first, last, last), rng.random((steps, streams)) < 0.8


def filled(replay, steps=30, seed=0):
    data, mask = rows(np.random.default_rng(seed), steps, replay.num_streams)
    state = replay.init(jax.tree.map(lambda x: x[0, 0], data))
    add = quick_jit(lambda state: jax.lax.scan(lambda s, x: (replay.add(s, *x), None), state, (data, mask))[0])
    return add(state), data, mask


@pytest.mark.parametrize("steps", [1, 3, 8, 30])
def test_rows_and_episodes_are_those_that_a_loop_finds(steps):
    replay = jb.Replay(24, 3, 4, jb.Transitions())
    state, data, mask = filled(replay, steps)
    found = quick_jit(jb.stats)(state)
    kept = [np.flatnonzero(mask[:, e])[-8:] for e in range(3)]
    episodes = 0
    for e, times in enumerate(kept):
        for i, t in enumerate(times):
            episodes += i == 0 or bool(data.is_first[t, e] | data.is_last[times[i - 1], e])
    size = sum(map(len, kept))
    assert int(found["rows"]) == size
    assert int(found["episodes"]) == episodes
    np.testing.assert_array_equal(found["rows_per_stream"], [len(times) for times in kept])
    np.testing.assert_array_equal(found["rows_added"], mask.sum(0))
    np.testing.assert_array_equal(found["age_of_oldest"], [len(times) - 1 for times in kept])
    np.testing.assert_allclose(found["mean_episode_rows"], size / max(episodes, 1), rtol=1e-6)
    np.testing.assert_array_equal(found["windows"].sum(), replay.count(state))


def test_windows_are_counted_when_the_counters_of_their_queue_go_round():
    replay = jb.Replay(24, 3, 4, jb.Transitions())
    state, _, _ = filled(replay)
    cycle, queue = 2**30, state.windows
    moved = {name: (getattr(queue, name) + cycle - 8) % cycle for name in ("made", "gone")}
    assert (moved["made"] < moved["gone"]).any()
    later = replace(state, windows=replace(queue, **moved))
    np.testing.assert_array_equal(quick_jit(jb.stats)(later)["windows"], quick_jit(jb.stats)(state)["windows"])


def test_rows_without_flags_have_no_episodes_to_report():
    replay = jb.Replay(4, None, 2)
    found = jb.stats(replay.init({"x": jnp.zeros(2), "is_first": jnp.zeros(3, bool)}))
    assert "episodes" not in found
    assert int(found["rows"]) == 0


def test_uses_are_a_histogram_by_octaves():
    replay = jb.Replay(4, None, 4, sampler=jb.Counted(jb.Uniform()))
    state = quick_jit(replay.add)(replay.init(jnp.float32(0)), jnp.arange(4.0))
    index = jb.Index(jnp.zeros(6, jnp.int32), jnp.array([1, 2, 2, 2, 2, 3], jnp.int32))
    found = jb.stats(quick_jit(replay.update)(state, index))
    assert found["sampler/uses"].tolist() == [1, 2, 0, 1] + [0] * 12  # never, once and once, four times
    assert float(found["sampler/mean_uses"]) == 1.5


def test_priorities_are_a_histogram_of_the_legal_windows():
    replay = jb.Replay(8, None, 4, sampler=jb.Mix((0.5, jb.Uniform()), (0.5, jb.Prioritized(alpha=1.0))))
    state = quick_jit(replay.add)(replay.init(jnp.float32(0)), jnp.arange(5.0))
    index = jb.Index(jnp.zeros(5, jnp.int32), jnp.arange(5, dtype=jnp.int32))
    state = quick_jit(replay.update)(state, index, priority=jnp.array([1.0, 1.0, 4.0, 16.0, jnp.nan]))
    found = quick_jit(jb.stats)(state)
    counts, edges = found["sampler/1/priorities"], found["sampler/1/priority_edges"]
    assert counts.sum() == 5
    assert counts.tolist()[0] == 3
    assert counts.tolist()[-1] == 1
    np.testing.assert_allclose(np.asarray(edges)[[0, -1]], [1, 16], rtol=1e-4)
    np.testing.assert_allclose(found["sampler/1/total_weight"], 23, rtol=1e-4)
    assert int(found["sampler/1/refused"]) == 1


@pytest.mark.parametrize(
    "sampler, names",
    long_but(
        [
            (jb.RankBased(), {"ranks", "stale", "refused"}),
            (jb.WithoutReplacement(), {"to_come", "waiting"}),
            (jb.OnlineFirst(jb.Prioritized()), {"queued", "missed", "then/priorities", "then/highest"}),
            (jb.Counted(jb.WithoutReplacement()), {"uses", "mean_uses", "counted/to_come"}),
            (jb.Uniform(), set()),
        ],
        quick=[0, 3],
    ),
    ids=lambda x: type(x).__name__,
)
def test_each_sampler_reports_what_it_remembers_as_arrays(sampler, names):
    replay = jb.Replay(24, 3, 4, jb.Transitions(), sampler)
    state = filled(replay)[0]
    found = jb.stats(state)
    assert {f"sampler/{name}" for name in names} <= set(found)
    assert all(isinstance(value, jax.Array) for value in found.values())
    if names & {"ranks", "to_come"}:
        total = (
            found["sampler/ranks"].sum() if "ranks" in names else found["sampler/to_come"] + found["sampler/waiting"]
        )
        assert int(total) == int(replay.count(state))


def test_too_long_episodes_are_reported():
    replay = jb.Replay(16, None, 2, jb.Episodes(3))
    data = jb.episode_rows(jnp.arange(5.0), jnp.zeros(4), jnp.ones(4), terminated=True, truncated=False)
    state = replay.add(replay.init(jax.tree.map(lambda x: x[0], data)), data)
    assert jb.stats(state)["too_long"].tolist() == [1]
    assert jb.stats(state)["windows"].tolist() == [0]
