"""Sampling a store: the data is the windows' own, whoever asks at the same time; nothing of NumPy's is touched."""

import threading
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.catalog import at_goal
from oracle.statistics import fits

import jaxbuffers as jb
from jaxbuffers.episodes.laws import RecentEpisodes
from jaxbuffers.episodes.sampling import Sampling
from jaxbuffers.windows.episode_bounds import Bounded

from .twins import FLAGGED, LENGTHS, flagged_store, new_store, same, twins


def test_a_sample_is_the_windows_that_its_index_names():
    store = flagged_store([4, 7, 3, 9])
    batch = Sampling(store).sample(jb.Sequences(3), 64, jax.random.key(3))
    assert batch.valid
    assert batch.mask.all()
    assert batch.data["t"].shape == (64, 3)
    np.testing.assert_array_equal(batch.index.time, batch.data["t"])
    np.testing.assert_array_equal(batch.index.time - batch.index.time[:, :1], np.tile(np.arange(3), (64, 1)))
    lengths = dict(zip(store.table()["id"].tolist(), store.table()["length"].tolist(), strict=True))
    for stream, time in zip(batch.index.stream.tolist(), batch.index.time.tolist(), strict=True):
        assert len(set(stream)) == 1
        assert time[-1] < lengths[stream[0]]
    np.testing.assert_array_equal(batch.probability, np.full(64, 1 / (2 + 5 + 1 + 7), np.float32))


def test_the_key_decides_both_keys_of_old_and_new_style():
    sampling = Sampling(twins(jb.Items()).store)
    view = jb.Hindsight(jb.Transitions(), at_goal, achieved="obs.place", desired="obs.goal")
    samples = [sampling.sample(view, 16, key).batch for key in (jax.random.key(1), jax.random.PRNGKey(1))]
    jax.tree.map(np.testing.assert_array_equal, *samples)
    other = sampling.sample(view, 16, jax.random.key(2)).batch
    assert (np.asarray(other.index.time) != np.asarray(samples[0].index.time)).any()


def test_the_global_generator_of_numpy_is_left_alone():
    store = flagged_store([4, 7])
    before = np.random.get_state()
    Sampling(store).sample(jb.Items(), 8, jax.random.key(0), RecentEpisodes(episodes=1))
    after = np.random.get_state()
    assert before[0] == after[0]
    assert (before[1] == after[1]).all()
    assert before[2:] == after[2:]


def test_one_trace_for_each_shape_and_whole_windows_are_not_copied():
    traces = []

    @dataclass(frozen=True)
    class Counting(jb.Sequences):
        def read(self, reader):
            traces.append(len(reader.draw.start))
            return super().read(reader)

    sampling = Sampling(flagged_store([4, 7, 5]))
    for size in (3, 5, 3, 5, 3):
        for seed in range(3):
            sampling.sample(Counting(3), size, jax.random.key(seed))
    assert traces == [3, 5]


def test_two_threads_draw_what_one_would():
    store = flagged_store([4, 7, 3, 9])
    alone = Sampling(store)
    jobs = [(view, key) for key in range(12) for view in (jb.Items(), jb.Sequences(2), jb.Sequences(5, "pad"))]
    wanted = [alone.sample(view, 7, jax.random.key(key)).batch for view, key in jobs]
    shared, results, errors = Sampling(store), {}, []

    def work(name):
        try:
            for i, (view, key) in enumerate(jobs):
                if key % 2 == name % 2:
                    results[i] = shared.sample(view, 7, jax.random.key(key)).batch
                shared.count(view)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not errors
    assert len(results) == len(jobs)
    for i, batch in enumerate(wanted):
        jax.tree.map(np.testing.assert_array_equal, results[i], batch)


@dataclass(frozen=True)
class Ends(jb.View):
    """The last row before each window and the second after, as a view of users' own may."""

    required = 1
    span = 4

    def read(self, reader):
        index = reader.index([-1, 0, 2])
        return reader.rows(index), index


@dataclass(frozen=True)
class Doubled(jb.WrappingView):
    """A view of users' own that looks two rows further back."""

    view: jb.View

    @property
    def span(self):
        return self.view.span + 2

    def read(self, reader):
        def doubled(read, index):
            past = read(reader.before(index, 2))
            return {**read(index), "t": jnp.sum(past["t"], axis=-1)}

        return self.view.read(reader.edited(doubled))


def test_views_of_users_own_find_their_rows():
    sampling = Sampling(flagged_store([4, 1]))
    batch = sampling.sample(Ends(), 40, jax.random.key(0))
    t = np.asarray(batch.index.time[:, 1])
    length = np.where(np.asarray(batch.index.stream[:, 0]) == 3, 4, 1)
    wanted = np.stack([t - 1, t, t + 2], axis=1)
    wanted = np.where((wanted >= 0) & (wanted < length[:, None]), wanted, -1)
    np.testing.assert_array_equal(batch.index.time, wanted)
    np.testing.assert_array_equal(batch.data["t"], np.maximum(wanted, 0))
    batch = sampling.sample(Doubled(jb.Sequences(2)), 40, jax.random.key(0))
    sums = np.convolve(np.arange(4), [1, 1, 1])
    np.testing.assert_array_equal(batch.data["t"], sums[np.asarray(batch.index.time)])


def test_a_view_that_looks_anywhere_must_say_where():
    @dataclass(frozen=True)
    class Bounds(jb.WrappingView):
        view: jb.View

        def windows(self, ring):
            return Bounded(self.view.windows(ring))

        def read(self, reader):
            return self.view.read(reader)

    with pytest.raises(jb.errors.ConfigurationError, match=r"define Bounds.elsewhere\(\)"):
        Sampling(flagged_store([4])).sample(Bounds(jb.Items()), 1, jax.random.key(0))


def test_windows_of_users_own_must_count_themselves():
    class Other(jb.Windows):
        init = add = count = start = None

    with pytest.raises(jb.errors.ConfigurationError, match=r"define count_in\(\) and start_in\(\)"):
        Other().count_in(np.array([3]), np.array([True]))


def test_goals_follow_the_law_to_the_end_of_long_episodes():
    """Every later row is the goal as often, and no other: far beyond the rows that the window itself has."""
    store = twins(jb.Items(), (40,)).store
    view = jb.Hindsight(jb.Items(), at_goal, "future", 1.0, "obs.place", "obs.goal")
    place = np.asarray(store[3].rows.obs["place"])
    counts = np.zeros((40, 40))
    sampling = Sampling(store)
    for seed in range(20):
        batch = sampling.sample(view, 500, jax.random.key(seed))
        goal = (np.asarray(batch.data.obs["goal"])[:, None] == place[None]).all(-1)
        start = np.asarray(batch.index.time)
        assert (goal.sum(1) == (start < 39)).all()  # the last row keeps its own
        some = start < 39
        np.add.at(counts, (start[some], goal[some].argmax(1)), 1)
    assert (counts[np.tril_indices(40)] == 0).all()
    pairs = counts[np.triu_indices(40, 1)]
    null = np.concatenate([np.full(39 - s, 1 / 39 / (39 - s)) for s in range(39)])
    near = np.concatenate([np.where(np.arange(39 - s) < 12, 1.0, 0.2) for s in range(39)]) * null
    fits(pairs, null, {"goals within reach of the window": near / near.sum()})


def test_texts_come_along():
    store = jb.EpisodeStore(row={"mission": jb.text, "x": np.float32(0)})
    for words in (["go", "left"], ["jump"]):
        store.add_episode({"mission": words, "x": np.zeros(len(words), np.float32)})
    batch = Sampling(store).sample(jb.Items(), 30, jax.random.key(0))
    assert set(batch.text("mission")) == {"go", "left", "jump"}
    assert set(batch["mission"]) == {"go", "left", "jump"}


def test_some_fields_are_sampled_alone():
    store = twins(jb.Items()).store
    some = store.select(["action", "is_first", "obs"])
    whole = store.sample(jb.Sequences(2), 20, jax.random.key(4))
    batch = some.sample(jb.Sequences(2), 20, jax.random.key(4))
    assert batch.data.keys() == {"action", "is_first", "obs"}
    same(batch.index, whole.index)
    same(batch.data["obs"], whole.data.obs)
    with pytest.raises(jb.errors.MissingFieldError, match="reward"):
        some.sample(jb.Transitions(), 2, jax.random.key(0))
    assert some.count(jb.Sequences(2)) == store.count(jb.Sequences(2)) == sum(n - 1 for n in LENGTHS)


@pytest.mark.parametrize("capacity", [None, 12])
def test_a_store_on_disk_is_sampled_as_one_in_memory_and_by_a_reader(capacity, tmp_path):
    view = jb.Sequences(3, "pad", burn_in=1)
    here, there = (
        flagged_store([4, 7, 5]),
        new_store(FLAGGED, path=tmp_path / "store", capacity=capacity, segment_bytes=64),
    )
    for episode in here:
        there.add_episode(episode.rows)
    reader = jb.EpisodeStore(tmp_path / "store", read_only=True)
    wanted = here if capacity is None else here.select(["t", "is_first", "is_last"])
    where = None if capacity is None else lambda columns: columns["id"] > 3  # the first has left the other store
    batch = wanted.sample(view, 30, jax.random.key(5), where=where)
    for store in (there, reader):
        same(store.sample(view, 30, jax.random.key(5)).batch, batch.batch)
    there.add_episode({"t": np.full(2, 77, np.int32), "is_first": np.arange(2) == 0, "is_last": np.arange(2) == 1})
    assert reader.refresh()
    newest = reader.sample(jb.Items(), 5, jax.random.key(6), law=RecentEpisodes(episodes=1))
    assert newest.data["t"].tolist() == [77] * 5


@pytest.mark.parametrize("fields", ["ab", "", iter(["a", "b"])])
def test_fields_are_named_in_a_list(fields):
    store = jb.EpisodeStore()
    store.add_episode({name: np.zeros(2, np.float32) for name in ("ab", "a", "b")})
    for call in (
        lambda: store.select(fields),
        lambda: store.read([0], [0], 2, fields),
        lambda: next(store.episodes(fields=fields)),
    ):
        with pytest.raises(jb.errors.ConfigurationError, match="fields must be a list of names"):
            call()
    assert list(store.select(("ab",))[0].rows) == ["ab"]
