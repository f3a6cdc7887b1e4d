"""PlaNet's memory against lists: what is kept, what can be drawn and how often, and what is read."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.statistics import fits
from tier import budget

import jaxbuffers as jb

from .lists import ListMemory, action, episode, observation, reward, terminal


def filled(*steps, **limits):
    memory = jb.planet.Memory(**limits)
    for number, count in enumerate(steps):
        memory.append(episode(number, count))
    return memory


def check(steps, lengths, kept, length, time_first=False):
    """Compare a sample with the oracle; return the windows it shows."""
    if time_first:
        steps = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), steps)
    steps = jax.tree.map(np.asarray, steps)
    size = len(lengths)
    assert steps.reward.shape == steps.terminal.shape == (size, length)
    assert steps.action.shape == (size, length, 1)
    assert steps.observation["place"].shape == (size, length + 1, 2)
    assert steps.terminal.dtype == np.bool_
    seen = []
    for b in range(size):
        number, start = map(int, steps.observation["place"][b, 0])
        assert lengths[b] == dict(kept)[number]
        for t in range(length + 1):
            for name, leaf in observation(number, start + t).items():
                np.testing.assert_array_equal(steps.observation[name][b, t], leaf)
        for t in range(length):
            assert steps.action[b, t, 0] == action(number, start + t)
            assert steps.reward[b, t] == reward(number, start + t)
            assert steps.terminal[b, t] == terminal(number, start + t)
        seen.append((number, start))
    return seen


LIMITS = st.sampled_from([(None, None), (3, None), (None, 9), (4, 12), (1, None)])
HISTORIES = st.lists(st.integers(1, 7), min_size=1, max_size=10)


@given(LIMITS, HISTORIES)
@settings(max_examples=budget(15, 200), deadline=None)
def test_what_is_kept_and_drawn_is_what_lists_would(limits, history):
    memory, lists = jb.planet.Memory(*limits), ListMemory(*limits)
    for number, steps in enumerate(history):
        if lists.append(number, steps):
            memory.append(episode(number, steps))
        else:
            with pytest.raises(jb.errors.ConfigurationError, match="steps="):
                memory.append(episode(number, steps))
        assert len(memory) == len(lists.kept)
        assert memory.size == lists.size
    assert [int(each.observation[0]["place"][0]) for each in memory] == [number for number, _ in lists.kept]
    for length in (1, 3):
        windows = lists.windows(length)
        if not windows:
            with pytest.raises(jb.errors.EmptyReplayError):
                memory.sample(4, length)
            continue
        seen = check(*memory.sample(4, length), lists.kept, length)
        assert set(seen) <= set(windows)
        many = len({number for number, _ in windows})
        if many >= 4:
            assert (
                len({number for number, _ in check(*memory.sample(4, length, replace=False), lists.kept, length)}) == 4
            )
        else:
            with pytest.raises(jb.errors.EmptyReplayError, match=f", {many} have {length} steps"):
                memory.sample(4, length, replace=False)


@pytest.mark.parametrize("replace, size, batches", [(True, 1000, 5), (False, 3, budget(1000, 10_000))])
def test_episodes_are_equally_likely_and_so_is_every_start_in_one(replace, size, batches):
    """At ALPHA the power against other laws is above 0.999. Three different episodes of three: only starts vary."""
    lists = ListMemory(None, None)
    for number, steps in enumerate([3, 9, 1, 4]):
        lists.append(number, steps)
    memory, windows = filled(3, 9, 1, 4), lists.windows(2)
    counts = dict.fromkeys(windows, 0)
    for _ in range(batches):
        steps, _ = memory.sample(size, 2, replace=replace)
        for place in np.asarray(steps.observation["place"])[:, 0].tolist():
            counts[tuple(place)] += 1
    null = np.array(list(windows.values()))
    last = np.array([start == dict(lists.kept)[number] - 2 for number, start in windows])
    seldom = np.where(last, 0.1, 1) * null  # as those do that leave out the last start
    defects = {"windows equally likely": np.full(len(null), 1 / len(null)), "last starts seldom": seldom / seldom.sum()}
    fits(np.array(list(counts.values())), null, defects)


def test_the_time_axis_comes_first_if_asked_and_stays_at_length_one():
    memory = filled(2, 5)
    for time_first in (False, True):
        steps, lengths = memory.sample(6, 1, time_first)
        assert steps.reward.shape == ((1, 6) if time_first else (6, 1))
        assert steps.observation["image"].shape == ((2, 6, 2, 2) if time_first else (6, 2, 2, 2))
        check(steps, lengths, [(0, 2), (1, 5)], 1, time_first)


def test_the_same_key_draws_the_same_and_the_memory_draws_anew_each_time():
    one, two = filled(5, 6, 7), filled(5, 6, 7)
    key = jax.random.key(3)
    for a, b in [(one.sample(8, 2, key=key), two.sample(8, 2, key=key)), (one.sample(8, 2), two.sample(8, 2))]:
        jax.tree.map(np.testing.assert_array_equal, a, b)
    again = [np.asarray(one.sample(8, 2)[0].reward).tolist() for _ in range(4)]
    assert len({str(each) for each in again}) == 4


def test_actions_with_axes_of_their_own_keep_them():
    made = jb.planet.Episode(np.zeros(1, np.float32))
    for _ in range(3):
        made.append({"arm": np.zeros((2, 3), np.float32), "grip": np.int32(1)}, np.zeros(1, np.float32), 0.0, False)
    memory = jb.planet.Memory()
    memory.append(made)
    action = memory.sample(4, 2)[0].action
    assert action["arm"].shape == (4, 2, 2, 3)
    assert action["grip"].shape == (4, 2, 1)


def test_whole_episodes_are_padded():
    memory = filled(2, 4)
    batch = memory.sample_episodes(8)
    assert batch.rows.reward.shape == (8, 5)
    for b in range(8):
        number, length = int(batch.rows.obs["place"][b, 0, 0]), int(batch.length[b])
        assert length == (3, 5)[number]
        np.testing.assert_array_equal(batch.rows.obs["place"][b, :length, 1], np.arange(length))
        assert not np.asarray(batch.rows.obs["place"])[b, length:].any()
    assert (np.asarray(memory.sample_episodes(8, max_length=3).length) == 3).all()


def test_episodes_on_disk_are_there_again(tmp_path):
    with jb.planet.Memory(episodes=3, path=tmp_path / "memory") as memory:
        for number, steps in enumerate([2, 5, 3, 4]):
            memory.append(episode(number, steps, info=True))
    with jb.planet.Memory(steps=8, path=tmp_path / "memory") as memory:  # fewer than there are
        assert [each.size for each in memory] == [3, 4]
        again, wanted = memory[-1], episode(3, 4, info=True)
        wanted.terminate()
        jax.tree.map(np.testing.assert_array_equal, vars_of(again), vars_of(wanted))


def vars_of(made):
    return {name: getattr(made, name) for name in (*made._fields, "closed", "first_info")}


def test_a_failed_append_loses_nothing():
    memory = filled(2, 2, episodes=2)
    other = jb.planet.Episode(np.zeros(3, np.float32))
    other.append(np.float32(0), np.zeros(3, np.float32), 0.0, True)
    with pytest.raises(jb.errors.StructureError, match="obs"):
        memory.append(other)
    assert len(memory) == 2
    begun = jb.planet.Episode(observation(0, 0))
    with pytest.raises(jb.errors.IncompleteError, match="no step"):
        memory.append(begun)
    assert not other.closed
    begun.append(action(0, 0), observation(0, 1), 0.0, False)  # it goes on
    memory.append(begun)
    assert begun.closed


@pytest.mark.parametrize("replace", [True, False])
def test_episodes_that_another_thread_lets_go_are_drawn_anew(monkeypatch, replace):
    memory = filled(3, 3, episodes=2)
    draw, left = memory._draw, [4, 5]

    def drawn(*args):  # what is drawn is gone before it is read
        found = draw(*args)
        if left:
            memory.append(episode(left[0], 3))
            memory.append(episode(left[1], 3))
            left.clear()
        return found

    monkeypatch.setattr(memory, "_draw", drawn)
    steps, lengths = memory.sample(2, 3, replace=replace)
    assert {number for number, _ in check(steps, lengths, [(4, 3), (5, 3)], 3)} <= {4, 5}


def test_a_store_that_others_filled_is_a_memory_too(tmp_path):
    rows = episode(2, 5).rows()
    with jb.EpisodeStore(tmp_path / "s") as store:
        last = np.arange(6) == 5
        store.add_episode(rows.replace(extras=(), is_last=last, is_terminal=last))
    with jb.planet.Memory(path=tmp_path / "s") as memory:
        steps, lengths = memory.sample(2, 5)
        assert steps.terminal.tolist() == [[False] * 4 + [True]] * 2
        assert lengths.tolist() == [5, 5]
    with jb.EpisodeStore(tmp_path / "other") as store:
        store.add_episode({"obs": np.zeros(3, np.float32), "is_first": np.arange(3) == 0, "is_last": np.arange(3) == 2})
    with jb.planet.Memory(path=tmp_path / "other") as memory, pytest.raises(ValueError, match="'action'"):
        memory.sample(1, 1)


def test_a_replay_of_transitions_draws_as_random_sample_does():
    sampler = jb.WithoutReplacement()
    replay = jb.HostReplay(
        jb.Replay(10, num_envs=None, batch_size=5, view=jb.Items(), sampler=sampler), {"x": np.float32(0)}
    )
    seen = np.zeros(13, int)
    for x in range(13):
        replay.add({"x": np.float32(x)})
        if x >= 5:
            drawn = np.asarray(replay.sample().data["x"]).astype(int)
            assert len(set(drawn.tolist())) == 5
    for _ in range(200):
        seen[np.asarray(replay.sample().data["x"]).astype(int)] += 1
    defects = {"the oldest of those kept never comes": np.array([0.0, *[1 / 9] * 9])}
    fits(seen[3:], np.full(10, 0.1), defects)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda m: m.sample(0, 1), jb.errors.ConfigurationError, "batch_size"),
        (lambda m: m.sample(1, 0), jb.errors.ConfigurationError, "length"),
        (lambda m: m.sample(1, 1, 1), jb.errors.ConfigurationError, "time_first"),
        (lambda m: m.sample(1, 1, replace=1), jb.errors.ConfigurationError, "replace"),
        (lambda m: m.sample(1, 1, key=0), jb.errors.DtypeError, "PRNG key"),
        (lambda m: m.sample(1, 9), jb.errors.EmptyReplayError, "no legal window"),
        (lambda m: m.sample_episodes(1, 2), jb.errors.EmptyReplayError, "no legal window"),
        (lambda m: m.append(None), jb.errors.ConfigurationError, "NoneType"),
        (lambda m: m.append(jb.planet.Episode(observation(0, 0))), jb.errors.IncompleteError, "no step"),
        (lambda m: m[2], IndexError, "episode 2 of 2"),
        (lambda m: jb.planet.Memory().sample(1, 1), jb.errors.EmptyReplayError, "no episode"),
        (lambda m: jb.planet.Memory(0), jb.errors.ConfigurationError, "episodes"),
        (lambda m: jb.planet.Memory(steps=0), jb.errors.ConfigurationError, "steps"),
    ],
)
def test_mistakes_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call(filled(3, 4))
