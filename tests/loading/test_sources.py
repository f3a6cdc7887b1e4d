"""Sources: batches are those of the store, whoever reads them, and every window comes once an epoch."""

import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from contract.catalog import VIEWS, at_goal, show
from episodes.twins import same, twins
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.episodes import EpisodesByLength, ShuffledEpochs, UniformWindows
from jaxbuffers.loading import Loader, StoreSteps, StoreWindows, together

from .stores import ROW, places, reached, rows_of, store_at

VIEW = jb.Sequences(2, "within")
GOALS = {"achieved": "obs.place", "desired": "obs.goal"}


def sent(source):
    """The source as another process gets it."""
    return pickle.loads(pickle.dumps(source))


@pytest.mark.parametrize("law", [None, EpisodesByLength(0), ShuffledEpochs(5)], ids=repr)
def test_batches_are_those_of_the_store_with_this_seed(tmp_path, law):
    store = store_at(tmp_path / "s", 4, 7, 1, 3)
    steps = StoreSteps(store, VIEW, 5, seed=3, law=law)
    there = sent(steps)
    for step, batch in enumerate(store.batches(VIEW, 5, 6, seed=3, law=law, prefetch=0)):
        same(steps.read(steps[step]).batch, batch.batch)
        same(steps.read(there[step]).batch, batch.batch)


SOME = [VIEWS[0], VIEWS[-1], jb.FrameStack(jb.Items(), 3), jb.Episodes(9)]
AWAY = jb.Hindsight(jb.Transitions(), at_goal, "future", 1.0, **GOALS)


@pytest.mark.parametrize("view", long_but([*SOME, AWAY], quick=[1, 3]), ids=show)  # goals, and whole episodes
def test_every_view_reads_what_it_reads_of_the_store(view):
    store = twins(view).store
    steps = StoreSteps(store, view, 6, seed=1)
    for step, batch in enumerate(store.batches(view, 6, 2, seed=1, prefetch=0)):
        same(steps.read(steps[step]).batch, batch.batch)


def test_windows_are_all_there_once_and_in_any_order(tmp_path):
    store = store_at(tmp_path / "s", 4, 1, 3)
    windows = StoreWindows([store, store_at(tmp_path / "t", 2, 3, first=10)], VIEW)
    every = [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (10, 0), (11, 0), (11, 1)]
    assert len(windows) == 8
    assert [place for i in range(8) for place in places(windows.read(windows[i]))] == every
    order = [6, 0, 7, 3, 3, 5]
    for source in (windows, sent(windows)):
        raw = source.__getitems__(order)
        assert raw.source.tolist() == [1, 0, 1, 0, 0, 1]
        assert raw.probability.tolist() == [1 / 8] * 6
        batch = windows.read(raw)
        assert places(batch) == [every[i] for i in order]
        same(batch.batch, windows.read(together([source[i] for i in order])).batch)
    assert batch.index.stream[:, 0].tolist() == [1, 0, 1, 2, 2, 0]  # ids in their stores
    with pytest.raises(IndexError, match="window 8 of 8"):
        windows[8]


def test_stores_are_mixed_at_exact_fractions(tmp_path):
    stores = [store_at(tmp_path / "s", 4, 5), store_at(tmp_path / "t", 6, first=10)]
    steps = StoreSteps(stores, jb.Items(), 8, fractions=[0.75, 0.25])
    for step in range(3):
        batch = steps.read(steps[step])
        assert [number >= 10 for number, _ in places(batch)] == [False] * 6 + [True] * 2
        assert (batch.source.tolist(), batch.counts) == ([0] * 6 + [1] * 2, (6, 2))
        np.testing.assert_allclose(batch.probability, [0.75 / 9] * 6 + [0.25 / 6] * 2, rtol=1e-6)
    uneven = StoreSteps(stores, jb.Items(), 3, fractions=[0.75, 0.25])
    counts = [int((uneven[step].source == 0).sum()) for step in range(200)]
    assert set(counts) == {2, 3}
    assert abs(np.mean(counts) - 2.25) < 0.2
    epochs = StoreSteps(stores, jb.Items(), 3, fractions=[2 / 3, 1 / 3], law=ShuffledEpochs(1))
    seen = [place for step in range(9) for place in places(epochs.read(epochs[step]))]
    assert sorted(place for place in seen if place[0] < 10) == sorted(
        [(0, t) for t in range(4)] * 2 + [(1, t) for t in range(5)] * 2
    )
    view = jb.Hindsight(jb.Items(), reached, "final", 1.0, **GOALS)
    goals = StoreSteps(stores, view, 8, fractions=[0.5, 0.5])
    raw = sent(goals)[0]
    last = np.where(raw.source == 0, np.where(raw.episode == 0, 3, 4), 5)
    found = np.asarray(goals.read(raw).data.obs["goal"])
    later = raw.start < last
    assert later.any()
    np.testing.assert_array_equal(found[later, 1], last[later])
    np.testing.assert_array_equal(found[later, 0], (raw.episode + 10 * raw.source)[later])


def test_resumed_at_fifty_places_the_stream_is_the_same(tmp_path):
    steps = StoreSteps(store_at(tmp_path / "s", 4, 7, 3), VIEW, 3, seed=2, law=ShuffledEpochs(2), steps=60)
    with Loader(steps, prefetch=0) as loader:
        whole = [places(batch) for batch in loader]
    assert len(whole) == 60
    for number, start in enumerate(random.Random(0).sample(range(58), 50)):
        with Loader(steps, start=start, prefetch=number % 3) as loader:
            assert [places(next(loader)) for _ in range(2)] == whole[start : start + 2]
            assert loader.step == start + 2
    assert list(Loader(steps, start=60)) == []


def test_rows_are_read_without_a_device(tmp_path):
    steps = StoreSteps(store_at(tmp_path / "s", 4, 7, 3), VIEW, 3)
    program = (
        "import pickle, sys; from jax._src import xla_bridge\n"
        "raw = pickle.load(sys.stdin.buffer)[1]; assert not xla_bridge._backends; print(raw.episode.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(steps), capture_output=True, check=True)
    assert done.stdout.decode().strip() == str(steps[1].episode.tolist())


def test_texts_and_chosen_fields_come_along(tmp_path):
    store = jb.EpisodeStore(
        tmp_path / "s", row={"mission": jb.text, "x": np.float32(0), "y": np.zeros(9)[0:1].astype("f4")}
    )
    store.add_episode({"mission": ["go", "stop"], "x": np.float32([1, 2]), "y": np.zeros((2, 1), np.float32)})
    windows = StoreWindows(store, jb.Items())
    assert windows.read(sent(windows).__getitems__([1, 0])).text("mission") == ["stop", "go"]
    part = StoreWindows(store.select(["x"]), jb.Items())
    assert len(sent(part)[0].rows) == 1
    assert part.read(sent(part)[1]).data["x"].tolist() == [2]
    with pytest.raises(jb.errors.StructureError, match="texts"):
        StoreWindows([store, store], jb.Items())


def test_what_leaves_or_comes_meanwhile(tmp_path):
    store = store_at(tmp_path / "s", 4, 7)
    windows = StoreWindows(store, jb.Items())
    there = sent(windows)
    store.add_episode(rows_of(2, 5))
    assert len(windows) == len(there) == 11
    assert there[10].episode.tolist() == [1]
    store.delete(0)
    for source in (windows, sent(windows)):
        with pytest.raises(jb.errors.UnknownEpisodeError, match="episode 0"):
            source[3]
        assert source[4].episode.tolist() == [1]


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda s: StoreWindows(jb.EpisodeStore(row=ROW), VIEW), jb.errors.EmptyReplayError, "no legal window"),
        (lambda s: StoreWindows(s, jb.Sequences(99, "within")), jb.errors.EmptyReplayError, "the longest has 4"),
        (lambda s: StoreWindows(3, VIEW), jb.errors.ConfigurationError, "EpisodeStore"),
        (lambda s: StoreWindows([], VIEW), jb.errors.ConfigurationError, "0 stores"),
        (lambda s: StoreWindows(s, VIEW, where=[None, None]), jb.errors.ConfigurationError, "2 values of where"),
        (lambda s: StoreWindows([s, s.select(["reward"])], jb.Items()), jb.errors.StructureError, "store 1"),
        (lambda s: StoreSteps(s, VIEW, 0), jb.errors.ConfigurationError, "batch_size"),
        (lambda s: StoreSteps(s, VIEW, 1, seed=-1), jb.errors.ConfigurationError, "seed"),
        (lambda s: StoreSteps(s, VIEW, 1, steps=0), jb.errors.ConfigurationError, "steps"),
        (lambda s: StoreSteps(s, VIEW, 1, law=UniformWindows), jb.errors.ConfigurationError, "law"),
        (lambda s: StoreSteps([s, s], VIEW, 1), jb.errors.ConfigurationError, "fractions="),
        (lambda s: StoreSteps([s, s], VIEW, 1, fractions=[1]), jb.errors.ConfigurationError, "1 fractions"),
        (
            lambda s: StoreSteps([s, s], VIEW, 3, fractions=[0.5, 0.5], law=ShuffledEpochs()),
            jb.errors.ConfigurationError,
            "must be a multiple",
        ),
        (lambda s: StoreSteps(s, VIEW, 1, steps=3)[3], IndexError, "step 3 of 3"),
        (lambda s: StoreWindows(s, VIEW).__getitems__([]), IndexError, "no window was asked for"),
        (lambda s: pickle.dumps(StoreWindows(s, VIEW)), jb.errors.WrongProcessError, "in memory cannot be sent"),
        (lambda s: Loader(s), jb.errors.ConfigurationError, "StoreSteps"),
        (lambda s: together([]), jb.errors.StructureError, "one or more"),
    ],
)
def test_mistakes_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make(store_at(None, 4))
