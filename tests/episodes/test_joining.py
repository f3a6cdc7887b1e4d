"""Mixing sources: nothing is cast, windows are joined along their own axis, and texts keep their table."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.batch_axes import axes_of
from jaxbuffers.episodes import Mixture
from jaxbuffers.row import RowSpec

from .test_mixture import ring_of
from .twins import flagged_store

KEY = jax.random.key(0)


def half(*sources, **options):
    return Mixture(*((1 / len(sources), source) for source in sources), **options)


def store_with(rows):
    store = jb.EpisodeStore()
    store.add_episode(rows)
    return store


def pure(view, rows=16):
    """A function of a size and a key, whose view nobody knows."""
    replay = jb.Replay(rows, None, 4, view)
    state = replay.add(replay.init(jnp.float32(0)), jnp.arange(rows, dtype=jnp.float32))
    return lambda size, key: replay.sample(state, key, size)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.full(3, 2**24 + 1, np.int32), np.full(3, 0.5, np.float32)),
        (np.full(3, 200, np.uint8), np.full(3, -1, np.int8)),
        (np.ones(3, np.bool_), np.ones(3, np.int32)),
    ],
)
def test_other_dtypes_are_refused_by_the_name_of_the_leaf(one, other):
    sources = [store_with({"obs": {"x": rows}}).source(jb.Items()) for rows in (one, other)]
    for pair in (sources, sources[::-1]):
        with pytest.raises(jb.errors.DtypeError, match=r"'data\.obs\.x' is .* from source 0, .* from source 1"):
            half(*pair).sample(4, KEY)


def test_other_shapes_are_refused_by_the_name_of_the_leaf():
    sources = [store_with({"x": np.zeros(shape, np.float32)}).source(jb.Items()) for shape in ((3, 2), (3, 1))]
    with pytest.raises(jb.errors.ShapeError, match=r"'data\.x' has shape .*2, 2.* from source 0, .*2, 1"):
        half(*sources).sample(4, KEY)


def test_what_a_function_returns_is_checked():
    batch = pure(jb.Items())(2, KEY)
    wide = batch.replace(data=np.asarray(batch.data, np.float64))
    for wrong, error, match in (
        (batch.data, jb.errors.StructureError, "source 1 must return a jb.Batch"),
        (wide, jb.errors.DtypeError, "float64"),
        (pure(jb.Items())(3, KEY), jb.errors.ShapeError, "source 1"),
        (batch.replace(probability=jnp.ones((2, 2))), jb.errors.ShapeError, "probability of source 1"),
    ):
        with pytest.raises(error, match=match):
            half(pure(jb.Items()), lambda size, key, wrong=wrong: wrong).sample(4, KEY)
    for number in (1, 2):  # alone or not: JAX would narrow it
        with pytest.raises(jb.errors.DtypeError, match="float64"):
            half(*[lambda size, key: wide] * number).sample(2 * number, KEY)


def test_time_major_windows_as_long_as_each_share_are_joined_along_their_axis():
    view = jb.Sequences(4, time_major=True)
    store, ring = flagged_store([9, 7]), ring_of(8, view)
    batch = half(ring, store.source(view)).sample(8, KEY)
    assert batch.data["t"].shape == batch.mask.shape == (4, 8)
    t = np.asarray(batch.data["t"])
    assert (np.diff(t, axis=0) == 1).all()
    assert ((t >= 100) == [True] * 4 + [False] * 4).all()
    with pytest.raises(jb.errors.StructureError, match="batch_axis=0, but in source 0 windows lie along axis 1"):
        half(ring, store.source(view), batch_axis=0).sample(8, KEY)
    with pytest.raises(jb.errors.StructureError, match="other axes"):
        half(ring, store.source(jb.Sequences(4))).sample(8, KEY)


def test_functions_say_the_axis_by_their_shapes_or_are_asked():
    for view, axis, shape in ((jb.Sequences(4), 0, (8, 4)), (jb.Sequences(4, time_major=True), 1, (4, 8))):
        source = pure(view)
        with pytest.raises(jb.errors.StructureError, match="batch_axis="):
            half(source, source).sample(8, KEY)
        assert half(source, source, batch_axis=axis).sample(8, KEY).data.shape == shape
        mixture = half(source, source)
        assert sorted(mixture.sample(6, KEY).data.shape) == [4, 6]  # 3 windows each: it can be told
        assert mixture.sample(8, KEY).data.shape == shape  # and is remembered
        assert half(source).sample(4, KEY).data.shape == (4, 4)  # there is nothing to join
        with pytest.raises(jb.errors.ShapeError, match="batch_axis="):
            half(source, source, batch_axis=1 - axis).sample(6, KEY)


def test_a_view_that_is_known_says_it_for_functions_too():
    view = jb.Sequences(4, time_major=True)
    batch = half(pure(view), store_with(np.arange(100, 110, dtype=np.float32)).source(view)).sample(8, KEY)
    assert ((np.asarray(batch.data) >= 100) == [False] * 4 + [True] * 4).all()


def test_each_leaf_has_an_axis_of_its_own():
    @dataclass(frozen=True)
    class Summed(jb.Sequences):
        def read(self, reader):
            data, index = super().read(reader)
            return {"all": data, "sum": jnp.sum(data["t"], axis=0 if self.time_major else 1, dtype=jnp.int32)}, index

    view = Summed(4, time_major=True)
    batch = half(*(flagged_store([9]).source(view) for _ in range(2))).sample(8, KEY)
    np.testing.assert_array_equal(batch.data["sum"], np.asarray(batch.data["all"]["t"]).sum(0))


@pytest.mark.parametrize(
    "view",
    [
        jb.Items(),
        jb.Transitions(2),
        jb.Sequences(2),
        jb.Sequences(3, "pad", burn_in=1),
        jb.Episodes(2),
        jb.FrameStack(jb.Transitions(), 2),
    ],
)
def test_windows_come_first_in_most_views(view):
    row = jax.tree.map(lambda x: np.asarray(x[0]), jb.episode_rows(np.zeros(2, np.float32), np.zeros(1, np.int32),
                       np.zeros(1, np.float32), True, False))  # fmt: skip
    assert set(axes_of(view, RowSpec.of(row)).axes) == {0}


def test_texts_of_one_table_can_be_looked_up():
    store = jb.EpisodeStore(row={"say": jb.text, "x": np.float32(0)})
    store.add_episode({"say": ["go", "left"], "x": np.zeros(2, np.float32)})
    ring = jb.HostReplay(jb.Replay(4, None, 2, jb.Items()), {"say": jb.text, "x": np.float32}, table=store.texts)
    ring.insert(say="stop", x=0)
    batch = half(ring, store.source(jb.Items())).sample(6, KEY)
    assert batch.text("say")[:3] == ["stop"] * 3
    assert set(batch.text("say")[3:]) <= {"go", "left"}
    again = half(store.source(jb.Items()), lambda size, key: half(ring).sample(size, key)).sample(2, KEY)
    assert again.text("say")[1] == "stop"
    assert int(jax.jit(lambda batch: batch.data["say"].size)(batch)) == 6
    with pytest.raises(jb.errors.MissingFieldError, match="no text field"):
        half(flagged_store([4]).source(jb.Items())).sample(2, KEY).text("t")


def test_texts_of_several_tables_are_refused():
    say = {"say": jb.text}
    stores = [jb.EpisodeStore(row=say) for _ in range(2)]
    for store, said in zip(stores, ("go", "stop"), strict=True):
        store.add_episode({"say": [said]})
    known = stores[0].source(jb.Items())
    with pytest.raises(jb.errors.ConfigurationError, match="sources 0 and 1 have their texts in different tables"):
        half(known, stores[1].source(jb.Items())).sample(4, KEY)
    with pytest.raises(jb.errors.StructureError, match="does not say in which table"):
        half(known, lambda size, key: known(size, key).batch).sample(4, KEY)
    unmarked = store_with({"say": np.zeros(3, np.int32)})
    with pytest.raises(jb.errors.StructureError, match="has texts in"):
        half(known, unmarked.source(jb.Items())).sample(4, KEY)
