"""jax.vmap of every verb over stacked states does to each what the verb alone does to it: many seeds, many agents."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.testing import assert_in_place

SEEDS, ENVS = 3, 2
VIEWS = [
    jb.Items(),
    jb.Transitions(n_step=3, gamma=0.5),
    jb.Sequences(3, burn_in=1, period=2),
    jb.Sequences(3, "within", actions="previous", time_major=True),
    jb.Sequences(3, "pad"),
]
ROW = {
    "obs": jnp.zeros((11, 100), jnp.uint8),
    "action": jnp.int32(0),
    "reward": jnp.float32(0),
    **dict.fromkeys(("is_first", "is_last", "is_terminal"), jnp.bool_(False)),
}
views = pytest.mark.parametrize("view", long_but(VIEWS, quick=[3]), ids=lambda view: repr(view).replace(" ", ""))


def replay_of(view):
    return jb.Replay(capacity=8 * ENVS, num_envs=ENVS, batch_size=6, view=view)


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(tree):
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(SEEDS)]


def random_rows(seed, count=4):
    """Rows of every seed, [SEEDS, count, ENVS, ...], and masks that let the streams drift apart."""
    rng, lead = np.random.default_rng(seed), (SEEDS, count, ENVS)
    rows = {
        "obs": rng.integers(0, 256, (*lead, 11, 100), np.uint8),
        "action": rng.integers(0, 9, lead).astype(np.int32),
        "reward": rng.integers(0, 9, lead).astype(np.float32),
        "is_first": rng.random(lead) < 0.1,
        "is_last": rng.random(lead) < 0.2,
        "is_terminal": rng.random(lead) < 0.1,
    }
    return jax.tree.map(jnp.asarray, rows), jnp.asarray(rng.random(lead) < 0.8)


def each(verb, *stacked):
    """The same by a Python loop."""
    return stack([verb(*args) for args in zip(*map(unstack, stacked), strict=True)])


def test_a_turn_of_every_verb_under_vmap_equals_a_loop():
    replay = jb.Replay(8 * ENVS, ENVS, 6, jb.Sequences(2, "within"), jb.Prioritized())
    names = "action", "reward", "is_first", "is_last"

    def turn(state, before, rows, masks, key):
        state = replay.add(state, rows, masks)
        new = {"reward": jnp.ones_like(before.time, jnp.float32)}  # for rows of which some are gone
        state = replay.update(state, before, priority=jnp.arange(6.0), rows=new)
        batch = replay.sample(state, key)
        return state, batch.index, (batch, replay.get(state, before), replay.size(state), replay.can_sample(state))

    mapped, alone = quick_jit(jax.vmap(turn)), quick_jit(turn)
    none = np.zeros((SEEDS, 6, 2), np.int32)
    empty = replay.init({name: ROW[name] for name in names})
    states = jax.tree.map(lambda leaf: np.stack([leaf] * SEEDS), empty), jb.Index(none, none - 1)
    keys = jax.random.split(jax.random.key(0), (6, SEEDS))
    for number in range(6):
        rows, masks = jax.tree.map(np.asarray, random_rows(number))
        inputs = {name: rows[name] for name in names}, masks
        looped = [alone(*jax.tree.map(lambda x, i=i: x[i], (*states, *inputs)), keys[number, i]) for i in range(SEEDS)]
        got = mapped(*states, *inputs, keys[number])
        wanted = jax.tree.map(lambda *leaves: np.stack(leaves), *looped)
        chex.assert_trees_all_close(got, wanted, rtol=1e-6)
        chex.assert_trees_all_equal(got[1], wanted[1])
        states = jax.tree.map(np.asarray, got[:2])
    assert got[2][0].valid.all()
    assert states[0].dropped.any(), "no write was stale: the test shows nothing about them"


@pytest.mark.long  # quick: the test above
@views
def test_every_verb_under_vmap_equals_a_loop(view):
    replay = replay_of(view)

    def write(state, index, rows):
        return replay.update(state, index, rows=rows)

    verbs = replay.add, replay.sample, write, replay.get, replay.size, replay.can_sample
    add, sample, update, get, size, can_sample = (jax.jit(jax.vmap(verb)) for verb in verbs)
    add_1, sample_1, update_1, get_1, size_1, can_sample_1 = map(jax.jit, verbs)
    states = looped = stack([replay.init(ROW)] * SEEDS)
    for turn in range(5):
        rows, masks = random_rows(turn)
        keys = jax.random.split(jax.random.key(turn), SEEDS)
        states, looped = add(states, rows, masks), each(add_1, looped, rows, masks)
        chex.assert_trees_all_equal(states, looped)
        batch = sample(states, keys)
        chex.assert_trees_all_close(batch, each(sample_1, looped, keys), rtol=1e-6)
        chex.assert_trees_all_equal(batch.index, each(sample_1, looped, keys).index)
        chex.assert_trees_all_equal(get(states, batch.index), each(get_1, looped, batch.index))
        chex.assert_trees_all_equal(size(states), each(size_1, looped))
        chex.assert_trees_all_equal(can_sample(states), each(can_sample_1, looped))

        later, masks = random_rows(100 + turn, count=2)
        states, looped = add(states, later, masks), each(add_1, looped, later, masks)
        new = {"action": jnp.broadcast_to(jnp.arange(6, dtype=jnp.int32), (SEEDS, 6))}
        index = jax.tree.map(lambda leaf: leaf.reshape(SEEDS, -1)[:, :6], batch.index)
        states, looped = update(states, index, new), each(update_1, looped, index, new)
        chex.assert_trees_all_equal(states, looped)
    assert batch.valid.all()
    assert states.dropped.any(), "no write was stale: the test shows nothing about them"


def test_init_under_vmap_makes_empty_states():
    replay = replay_of(jb.Sequences(3, "within"))
    states = jax.vmap(lambda seed: replay.init(ROW))(jnp.arange(SEEDS))
    chex.assert_trees_all_equal(states, stack([replay.init(ROW)] * SEEDS))


def test_one_key_and_one_state_can_be_shared_over_a_mapped_axis():
    replay = replay_of(jb.Items())
    rows, masks = random_rows(0)
    state = jax.jit(replay.add)(replay.init(ROW), *(jax.tree.map(lambda leaf: leaf[0], x) for x in (rows, masks)))
    keys = jax.random.split(jax.random.key(0), SEEDS)
    shared = jax.jit(jax.vmap(replay.sample, in_axes=(None, 0)))(state, keys)
    chex.assert_trees_all_equal(shared, stack([jax.jit(replay.sample)(state, key) for key in keys]))


@pytest.mark.parametrize(
    "mode", long_but(["next_step", "same_step", "same_step without final_obs", "disabled"], quick=[0])
)
def test_a_recorder_under_vmap_equals_a_loop(mode):
    recorder = jb.Recorder(mode.split()[0])
    rng = np.random.default_rng(0)

    def step(rec, out):
        return recorder.step(rec, **out)

    def observations():
        return jnp.asarray(rng.random((SEEDS, ENVS, 3)).astype(np.float32))

    many, one = jax.jit(jax.vmap(step)), jax.jit(step)
    first = observations()
    rec = jax.vmap(recorder.init)(first)
    looped = each(recorder.init, first)
    for _ in range(8):
        out = {
            "action": jnp.asarray(rng.integers(1, 5, (SEEDS, ENVS)).astype(np.int32)),
            "obs": observations(),
            "reward": jnp.asarray(rng.random((SEEDS, ENVS)).astype(np.float32)),
            "terminated": jnp.asarray(rng.random((SEEDS, ENVS)) < 0.3),
            "truncated": jnp.asarray(rng.random((SEEDS, ENVS)) < 0.3),
        }
        if mode == "same_step":
            out["final_obs"] = observations()
        (rec, *written), (looped, *expected) = many(rec, out), each(one, looped, out)
        chex.assert_trees_all_equal((rec, written), (looped, expected))
        where = jnp.asarray(rng.random((SEEDS, ENVS)) < 0.2)
        fresh = observations()
        rec, looped = jax.vmap(recorder.reset)(rec, fresh, where), each(recorder.reset, looped, fresh, where)
        chex.assert_trees_all_equal(rec, looped)


@pytest.mark.long  # quick: test_gates.py
@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("gate", ["of each state", "of the loop"])
def test_a_cond_of_mapped_states_copies_them_and_one_of_the_loop_does_not(gate):
    """What docs/in-place.md says about gates: the first is how JAX maps a cond, the second is the remedy."""
    replay = jb.Replay(capacity=4096, num_envs=None, batch_size=2, sampler=jb.Prioritized())
    add = jax.vmap(lambda state, x: replay.add(state, jnp.full(8, x, jnp.float32)))
    states = add(jax.vmap(lambda _: replay.init(jnp.zeros(8)))(jnp.arange(2)), jnp.arange(2.0))

    def train(state, key):
        batch = replay.sample(state, key)
        return replay.update(state, batch.index, priority=batch.data.sum(1))

    def loop(states, keys):
        def step(states, inputs):
            number, keys = inputs
            if gate == "of the loop":
                mapped = jax.vmap(train)
                return jax.lax.cond(number % 2 == 0, mapped, lambda states, keys: states, states, keys), None

            def gated(state, key):
                return jax.lax.cond(replay.can_sample(state), train, lambda state, key: state, state, key)

            return jax.vmap(gated)(states, keys), None

        return jax.lax.scan(step, states, (jnp.arange(len(keys), dtype=jnp.int32), keys))[0]

    keys = jax.random.split(jax.random.key(0), (4, 2))
    if gate == "of the loop":
        assert_in_place(loop, states, keys)
    else:
        with pytest.raises(AssertionError, match=r"leaf 'sampler\.tree\.0'"):
            assert_in_place(loop, states, keys)
