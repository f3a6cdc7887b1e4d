"""What a sharded replay draws: as much from every shard, with the probabilities and weights of the whole law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import fits, quick_jit
from tier import long_but

import jaxbuffers as jb

from .meshes import TYPES, mesh_of, needs_devices, over

pytestmark = needs_devices

# Shards of 2 streams, of which the first has 3 windows, the second 9.
COUNTS = [1, 2, 4, 5]


def filled(sharded):
    state = sharded.init({"x": jnp.int32(0)})
    for time in range(max(COUNTS)):
        rows = {"x": jnp.int32([10 * stream + time for stream in range(4)])}
        state = sharded.add(state, rows, jnp.array([time < count for count in COUNTS]))
    return state


WINDOWS = [10 * stream + time for stream, count in enumerate(COUNTS) for time in range(count)]
LAW = {x: (1 / 3 if x < 20 else 1 / 9) / 2 for x in WINDOWS}


@pytest.fixture(scope="module")
def drawn():
    """One batch of many windows."""
    sharded = jb.Sharded(jb.Replay(32, 4, 20_000), mesh_of(2))
    state = filled(sharded)
    return sharded, state, sharded.sample(state, jax.random.key(0))


def test_each_shard_gives_half_of_the_batch_and_the_law_is_its_mixture(drawn):
    _, _, batch = drawn
    x, half = np.asarray(batch.data["x"]), 10_000
    assert (x[:half] < 20).all()
    assert (x[half:] >= 20).all()
    assert batch.valid
    for part, windows, by_stream in (
        (x[:half], WINDOWS[:3], [1 / 2, 1 / 4, 1 / 4]),
        (x[half:], WINDOWS[3:], [1 / 8] * 4 + [1 / 10] * 5),
    ):
        seen = np.array([np.sum(part == one) for one in windows])
        fits(seen, np.full(len(windows), 1 / len(windows)), {"streams alike": np.array(by_stream)})


def test_probability_is_that_of_an_entry_of_the_batch(drawn):
    _, _, batch = drawn
    for x, probability in zip(batch.data["x"].tolist(), batch.probability.tolist(), strict=True):
        assert probability == pytest.approx(LAW[x], rel=1e-6)
    assert sum(LAW.values()) == pytest.approx(1)


def test_streams_are_numbered_over_the_whole(drawn):
    sharded, state, batch = drawn
    assert (batch.index.stream == batch.data["x"] // 10).all()
    assert (batch.index.time == batch.data["x"] % 10).all()
    rows, mask = sharded.get(state, batch.index)
    assert mask.all()
    assert (rows["x"] == batch.data["x"]).all()
    assert (sharded.age(state, batch.index) == jnp.int32(COUNTS)[batch.index.stream] - 1 - batch.index.time).all()


def test_importance_weights_undo_the_law_exactly(drawn):
    """Enumerated: the expectation of the weighted value is the plain mean over all windows, not over shards."""
    sharded, state, batch = drawn
    weights = np.asarray(jb.importance_weights(batch.probability, sharded.count(state), 1.0, normalize=False))
    weight_of = dict(zip(batch.data["x"].tolist(), weights.tolist(), strict=True))
    assert weight_of.keys() == set(WINDOWS)
    expected = sum(LAW[x] * weight_of[x] * x for x in WINDOWS)
    assert expected == pytest.approx(np.mean(WINDOWS), rel=1e-5)
    assert expected != pytest.approx(sum(LAW[x] * x for x in WINDOWS), rel=0.05), "the law needs no correction"
    scaled = jb.importance_weights(batch.probability, sharded.count(state), 1.0)
    assert sorted({round(w, 5) for w in scaled.tolist()}) == [pytest.approx(1 / 3, abs=1e-5), 1]


@pytest.mark.parametrize("kind", long_but(TYPES, quick=[0]))
def test_a_shard_without_windows_gives_zeros_and_says_so(kind):
    sharded = jb.Sharded(jb.Replay(32, 4, 8), mesh_of(2, kind))
    state = sharded.init({"x": jnp.int32(0)})
    state = sharded.add(state, {"x": jnp.int32([1, 1, 1, 1])}, jnp.array([False, False, True, True]))
    batch = sharded.sample(state, jax.random.key(0))
    assert not (batch.valid | sharded.can_sample(state))
    assert batch.mask.tolist() == [False] * 4 + [True] * 4
    assert np.asarray(batch.data["x"]).tolist() == [0] * 4 + [1] * 4
    assert np.asarray(batch.probability).tolist() == [0] * 4 + [0.25] * 4
    weights = jb.importance_weights(batch.probability, sharded.count(state), 0.5)
    assert np.asarray(weights).tolist() == [0] * 4 + [1] * 4


def test_windows_of_your_own_choice_are_read_on_their_shard(drawn):
    sharded, state, _ = drawn
    draw = jb.Draw.of(jnp.int32([0, 1, 2, 3]), jnp.int32([0, 1, 3, 9]))
    batch = sharded.read(state, draw, jax.random.key(0))
    assert batch.data["x"].tolist() == [0, 11, 23, 0]  # the last one is no window
    assert batch.mask.tolist() == [True, True, True, False]
    assert not batch.valid
    assert batch.index.stream[:3].tolist() == [0, 1, 2]
    with pytest.raises(jb.errors.ShapeError, match="read: 1 entries of the index lie in the part of another shard"):
        sharded.read(state, jb.Draw.of(jnp.int32([0, 2, 2, 3]), jnp.int32([0, 1, 3, 0])), jax.random.key(0))


def test_statistics_have_an_axis_of_shards(drawn):
    sharded, state, _ = drawn
    found = sharded.stats(state)
    assert found["rows"].tolist() == [3, 9]
    assert found["rows_per_stream"].tolist() == [[1, 2], [4, 5]]


def test_a_step_of_a_learner_under_an_explicit_mesh():
    """Everything in the user's own jit, under set_mesh, with rows and a model that are sharded, too."""
    mesh = mesh_of(2, TYPES[1])
    sharded = jb.Sharded(jb.Replay(32, 4, 8), mesh)

    def step(state, weight, rows, key):
        state = sharded.add(state, rows)
        batch = sharded.sample(state, key)
        loss = jnp.mean(jnp.where(batch.mask, (weight - batch.data["x"]) ** 2, 0))
        return state, loss

    with jax.set_mesh(mesh):
        state = sharded.init({"x": jnp.float32(0)})
        rows = over(mesh, {"x": jnp.full(4, 3.0)})
        state, loss = quick_jit(step)(state, jnp.float32(1), rows, jax.random.key(0))
    assert float(loss) == 4
