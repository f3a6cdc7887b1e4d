"""What authors of samplers and views, and curious users, lean on: Legal, Replay.read, Draw.of, the wrapping bases."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from oracle import check, quick_jit, rows_of, told_apart
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers import testing

ROW = jax.tree.map(lambda x: x[0], rows_of("F"))


def windows_of(view, pattern, length=8):
    """A replay of one stream with the rows of a pattern; its state, and where its legal windows begin."""
    replay = jb.Replay(length, None, 2, view)
    rows, state = rows_of(pattern), replay.init(ROW)
    add = quick_jit(replay.add)
    for t in range(len(pattern)):
        state = add(state, jax.tree.map(lambda x, t=t: x[t], rows))
    rank = jnp.arange(length, dtype=jnp.int32)

    def begin(state):
        legal = replay.legal(state)
        return legal.count()[0], legal.start(jnp.zeros_like(rank), rank)

    count, start = quick_jit(begin)(state)
    return replay, state, start[: int(count)].tolist()


@pytest.mark.long  # quick: test_legal.py
@pytest.mark.parametrize(
    "view, pattern, starts",
    long_but(
        [
            (jb.Items(), "F..F..F...", range(2, 10)),
            (jb.Sequences(3, "within"), "F..F..F...", [3, 6, 7]),
            (jb.Sequences(2, "within", period=2), "F...F...F.", [2, 4, 6, 8]),
            (jb.Transitions(), "F.F", [0]),
        ],
        quick=[2],
    ),
)
def test_known_is_true_of_the_legal_windows_and_of_nothing_else(view, pattern, starts):
    replay, state, begun = windows_of(view, pattern)
    assert begun == [*starts]
    everything = jnp.arange(-3, 20, dtype=jnp.int32)
    ask = quick_jit(lambda state, stream: replay.legal(state).known(stream, everything))
    for stream in (0, 1, -1):
        known = ask(state, jnp.full_like(everything, stream))
        assert everything[known].tolist() == ([*starts] if stream == 0 else [])


def test_chosen_windows_are_read_as_a_sample_reads_them_and_others_are_masked_and_zero():
    replay, state, starts = windows_of(jb.Sequences(3, "within"), "F..F..F...")
    stream, start = jnp.zeros(10, jnp.int32), jnp.arange(10, dtype=jnp.int32)
    read, key = quick_jit(replay.read), jax.random.key(1)
    batch = read(state, jb.Draw.of(stream, start), key)
    assert [t for t in range(10) if batch.mask[t].all()] == starts
    assert [t for t in range(10) if batch.mask[t].any()] == starts
    assert not batch.valid
    for t in range(10):
        check(batch.data.obs[t], [10 + t, 11 + t, 12 + t] if t in starts else [0, 0, 0])
    drawn = quick_jit(replay.sample)(state, key)
    again = jb.Draw.of(drawn.index.stream[:, 0], drawn.index.time[:, 0], drawn.probability)
    jax.tree.map(np.testing.assert_array_equal, read(state, again, key), drawn)


def test_legal_shows_rows_ages_and_sizes():
    replay, state, _ = windows_of(jb.Items(), "F..F..F...")
    legal = replay.legal(state)
    assert (legal.num_streams, legal.length, legal.required, legal.history) == (1, 8, 1, 0)
    assert (legal.time.tolist(), legal.size.tolist()) == ([10], [8])
    stream, time = jnp.zeros(4, jnp.int32), jnp.array([1, 2, 9, 10], jnp.int32)

    def look(state, stream, time):
        legal = replay.legal(state)
        return legal.present(stream, time), legal.read(stream, time), legal.age(stream, time)

    present, rows, age = quick_jit(look)(state, stream, time)
    assert present.tolist() == [False, True, True, False]
    check(rows.obs, [0, 12, 19, 0])
    assert age.tolist()[1:3] == [7, 0]
    with pytest.raises(jb.errors.ConfigurationError, match="bounds of episodes"):
        legal.bounds(stream, time)


def test_what_is_not_valid_in_a_draw_is_zero():
    some = jnp.array([True, False])
    draw = jb.Draw.of(jnp.array([3, 4], jnp.int32), jnp.array([5, 6], jnp.int32), jnp.array([0.5, 0.25]), some)
    assert (draw.stream.tolist(), draw.start.tolist(), draw.probability.tolist()) == ([3, 0], [5, 0], [0.5, 0])
    assert draw.valid.tolist() == [True, False]
    none = jb.Draw.of(draw.stream, draw.start, valid=jnp.bool_(False))
    assert not jnp.any(none.valid) | jnp.any(none.stream) | jnp.any(none.start) | jnp.any(none.probability)


def i(*values):
    return jnp.array(values, jnp.int32)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: jb.Draw.of(i(0, 0), i(0, 1), valid=i(2, 1)),
            "DtypeError",
            "valid must be an array of bool, got int32",
        ),
        (lambda: jb.Draw.of(i(0, 0), jnp.array([0, 1], jnp.uint8)), "DtypeError", "start must be an array of int32"),
        (lambda: jb.Draw.of(i(0, 0), jnp.zeros(2)), "DtypeError", "start must be an array of int32, got float32"),
        (lambda: jb.Draw.of(i(0, 0), [0, 1]), "DtypeError", "start must be an array of int32, got list"),
        (lambda: jb.Draw.of(i(0), i(0, 1)), "ShapeError", r"start has shape \(2,\), expected \(1,\)"),
        (lambda: jb.Draw.of(i(0, 0), i(0, 1), valid=jnp.array([True])), "ShapeError", r"valid has shape \(1,\)"),
        (lambda: jb.Draw.of(i(0, 0), i(0, 1), jnp.float32(1)), "ShapeError", r"probability has shape \(\)"),
        (lambda: jb.Draw.of(i(0, 0), i(0, 1), i(1, 1)), "DtypeError", "probability must be an array of float32"),
        (lambda: jb.Draw.of(i(0)[None], i(0)[None]), "ShapeError", r"stream has shape \(1, 1\), expected \[B\]"),
        (lambda: jb.Draw(i(0), i(0), jnp.ones(1), True), "DtypeError", "valid must be an array of bool, got bool"),
        (lambda: jb.Index(i(0), i(0)), "StructureError", r"expected a jb.Draw, got Index; write jb.Draw.of"),
    ],
)
def test_what_is_no_draw_is_refused(make, error, message):
    replay, state, _ = windows_of(jb.Items(), "F..")
    with pytest.raises(getattr(jb.errors, error), match=message):
        replay.read(state, make(), jax.random.key(0))


@struct.dataclass
class DrawsState:
    inner: object
    draws: jax.Array

    def stats(self):
        return {"draws": self.draws}


@dataclass(frozen=True)
class Tallied(jb.WrappingSampler):
    """A user's sampler around another: counts the windows that were used."""

    around: jb.Sampler

    @property
    def inner(self):
        return self.around

    def init(self, windows):
        return DrawsState(self.inner.init(windows), jnp.zeros((), jnp.int32))

    def update(self, state, legal, index, priority):
        count = jnp.sum(index.time >= 0, dtype=jnp.int32)
        return super().update(state, legal, index, priority).replace(draws=state.draws + count)


@dataclass(frozen=True)
class Doubled(jb.WrappingView):
    """A user's view around another: observations twice as large."""

    view: jb.View

    def read(self, reader):
        return self.view.read(reader.edited(lambda read, index: (lambda x: x.replace(obs=x.obs + x.obs))(read(index))))


@pytest.mark.parametrize("sampler", long_but([jb.Uniform(), jb.Prioritized(), jb.OnlineFirst()], quick=[1]), ids=str)
def test_a_users_sampler_around_ours_keeps_the_contract(sampler):
    replay = jb.Replay(capacity=24, num_envs=2, batch_size=3, view=Doubled(jb.Transitions()), sampler=Tallied(sampler))
    # Ours are put in place and transformed elsewhere; an author's guide has other samplers keep all of it.
    whole = [each for each in testing.CONTRACT if each is not testing.check_in_place]
    for each in budget([testing.check_probability, testing.check_windows], whole):
        each(replay, ROW, testing.numbered_rows(replay, ROW))


def test_a_users_sampler_is_reported_like_ours():
    replay = jb.Replay(4, None, 3, sampler=jb.Mix((0.5, Tallied(jb.Uniform())), (0.5, jb.Counted(jb.Uniform()))))
    rows = told_apart(4)
    state = replay.init(jax.tree.map(lambda x: x[0, 0], rows))
    state = quick_jit(replay.add)(state, jax.tree.map(lambda x: x[:, 0], rows))
    use = quick_jit(lambda state: replay.update(state, replay.sample(state, jax.random.key(0)).index))
    found = jb.stats(use(state))
    assert int(found["sampler/0/draws"]) == 3
    assert int(found["sampler/1/uses"].sum()) == 4


def test_a_wrapping_sampler_knows_its_own_configuration_from_another():
    row = jnp.float32(0)
    one, other = (jb.Replay(4, None, 2, sampler=Tallied(inner)) for inner in (jb.Uniform(), jb.Recent(horizon=2)))
    assert one.sampler.memory == one.sampler
    with pytest.raises(jb.errors.ConfigurationError, match="another configuration"):
        one.add(other.init(row), row)


class Pair(NamedTuple):
    count: jax.Array

    def stats(self):
        return {"count": self.count}


@dataclass(frozen=True)
class Named(jb.Sampler):
    def init(self, windows):
        return Pair(jnp.zeros((), jnp.int32))

    def draw(self, state, legal, key, batch_size):
        return jb.Uniform().draw((), legal, key, batch_size)


def test_a_state_that_is_a_named_tuple_is_reported_too():
    replay = jb.Replay(4, None, 2, sampler=Named())
    assert int(jb.stats(replay.init(jnp.float32(0)))["sampler/count"]) == 0


def test_a_users_view_around_ours_edits_what_it_reads():
    replay, state, _ = windows_of(Doubled(jb.Items()), "F..")
    assert {*np.asarray(replay.sample(state, jax.random.key(0), 32).data.obs).tolist()} <= {20, 22, 24}


def test_an_error_is_looked_for_in_its_module():
    with pytest.raises(AttributeError, match=r"no attribute 'ShapeError'. It is jb.errors.ShapeError.$"):
        jb.ShapeError  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'Nothing'.$"):
        jb.Nothing  # noqa: B018
