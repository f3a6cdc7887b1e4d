"""Donated, every verb and whole train loops update the ring where it lies, at a cost that capacity does not change.

XLA's cost analysis of a compiled CPU program charges a scatter or gather with its whole operand, so it grows with
the ring even where a few rows are touched. The figures compared here are therefore those of the lowered program,
which charge the rows touched, together with the temporaries of the compiled one, where any copy that XLA inserts shows.
"""

from dataclasses import fields as fields_of
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.testing import assert_in_place

pytestmark = pytest.mark.usefixtures("readable")  # compiled programs are read

ENVS, BATCH = 4, 8
VIEWS = [
    jb.Items(),
    jb.Transitions(),
    jb.Transitions(n_step=3),
    jb.Sequences(5),
    jb.Sequences(5, episodes="within", burn_in=2),
    jb.Sequences(5, episodes="pad", actions="previous", time_major=True),
]
# A large leaf of its own, small leaves that share a block, and (for some views) a queue of windows.
ROW = jb.Row(
    obs={"image": jax.ShapeDtypeStruct((20, 20, 3), jnp.uint8), "state": jax.ShapeDtypeStruct((3,), jnp.float32)},
    action=jax.ShapeDtypeStruct((), jnp.int32),
    reward=jax.ShapeDtypeStruct((), jnp.float32),
    is_first=jax.ShapeDtypeStruct((), jnp.bool_),
    is_last=jax.ShapeDtypeStruct((), jnp.bool_),
    is_terminal=jax.ShapeDtypeStruct((), jnp.bool_),
    extras={"latent": jax.ShapeDtypeStruct((4,), jnp.bfloat16)},
)
views = pytest.mark.parametrize("view", long_but(VIEWS, quick=[4]), ids=lambda view: repr(view).replace(" ", ""))


def replay_of(view, length=2048):
    return jb.Replay(capacity=ENVS * length, num_envs=ENVS, batch_size=BATCH, view=view)


def zeros(*lead):
    return jax.tree.map(lambda leaf: jnp.zeros((*lead, *leaf.shape), leaf.dtype), ROW)


def reward_of(data):
    if isinstance(data, jb.Transition):
        return data.obs["state"].sum(-1) + data.reward + data.next_obs["image"].astype(jnp.float32).mean((-1, -2, -3))
    return data.obs["state"].sum(-1) + data.reward + data.obs["image"].astype(jnp.float32).mean((-1, -2, -3))


def act(params, step):
    """The rows of one step of a toy environment, which depend on the parameters and so on earlier samples."""
    rows = zeros(ENVS)
    action = jnp.full(ENVS, (params > 0).astype(jnp.int32))
    first, last = jnp.full(ENVS, step % 7 == 0), jnp.full(ENVS, step % 7 == 6)
    return replace(rows, action=action, reward=jnp.full(ENVS, params), is_first=first, is_last=last)


def learn(replay, params, state, key):
    """One gradient step on a batch, whose result is written back to the rows it came from."""
    batch = replay.sample(state, key)
    loss, slope = jax.value_and_grad(lambda params: jnp.mean((reward_of(batch.data) - params) ** 2))(params)
    latent = jnp.full((*batch.mask.shape, 4), loss).astype(jnp.bfloat16)
    return params - 0.1 * slope, replay.update(state, batch.index, rows={"extras": {"latent": latent}})


def add_then_learn(replay):
    def train(state, params, keys):
        def body(carry, inputs):
            (state, params), (step, key) = carry, inputs
            state = replay.add(state, act(params, step))
            params, state = learn(replay, params, state, key)
            return (state, params), None

        return jax.lax.scan(body, (state, params), (jnp.arange(len(keys), dtype=jnp.int32), keys))[0]

    return train


def sample_then_add(replay, fence):
    """Rows from elsewhere, recorded before, are added after a sample that they do not depend on."""

    def train(state, recorded, keys):
        def body(state, inputs):
            rows, key = inputs
            batch = replay.sample(state, key)
            state = replay.add(jb.fence(state, batch) if fence else state, rows)
            return state, reward_of(batch.data).sum()

        return jax.lax.scan(body, state, (recorded, keys))

    return train


@pytest.mark.long  # quick: the loop below, and blocks of rows in test_in_place_orders.py
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: repr(view).replace(" ", ""))
def test_add_of_one_row_and_of_many_keeps_every_buffer(view):
    replay = replay_of(view)
    assert_in_place(replay.add, replay.init(ROW), zeros(ENVS))
    assert_in_place(replay.add, replay.init(ROW), zeros(7, ENVS), jnp.ones((7, ENVS), jnp.bool_))


@pytest.mark.parametrize("fields", long_but(["small", "large", "all"], quick=[2]))
def test_update_of_some_or_all_leaves_keeps_every_buffer(fields):
    replay = replay_of(jb.Sequences(5, episodes="within"))

    def update(state, key):
        batch = replay.sample(state, key)
        # All leaves but the flags that say which windows are legal; those cannot be replaced.
        fixed = ("is_first", "is_last")
        everything = {f.name: getattr(batch.data, f.name) for f in fields_of(batch.data) if f.name not in fixed}
        new = {"reward": batch.data.reward + 1}, {"obs": {"image": batch.data.obs["image"] ^ 1}}, everything
        return replay.update(state, batch.index, rows=new[["small", "large", "all"].index(fields)])

    assert_in_place(update, jax.jit(replay.add)(replay.init(ROW), zeros(9, ENVS)), jax.random.key(0))


@views
def test_a_scanned_loop_that_acts_adds_samples_learns_and_writes_back_copies_nothing(view):
    replay = replay_of(view)
    state = jax.jit(replay.add)(replay.init(ROW), zeros(9, ENVS))
    assert_in_place(add_then_learn(replay), state, jnp.float32(0), jax.random.split(jax.random.key(0), 3))


@pytest.mark.long  # quick: test_in_place_orders.py
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: repr(view).replace(" ", ""))
def test_a_scanned_loop_that_samples_and_then_adds_copies_nothing_behind_a_fence(view):
    replay = replay_of(view)
    state = jax.jit(replay.add)(replay.init(ROW), zeros(9, ENVS))
    assert_in_place(sample_then_add(replay, fence=True), state, zeros(3, ENVS), jax.random.split(jax.random.key(0), 3))


@pytest.mark.parametrize("scanned", long_but([False, True], quick=[1]))
def test_without_the_fence_the_copies_exist_and_are_found(scanned):
    """XLA for CPU keeps the ring for the unordered read: the reason for `fence`, and proof that the check can fail."""
    replay = replay_of(jb.Sequences(5, episodes="within"))
    state = jax.jit(replay.add)(replay.init(ROW), zeros(9, ENVS))
    keys = jax.random.split(jax.random.key(0), 3)

    def once(state, rows, key):
        batch = replay.sample(state, key)
        return replay.add(state, rows), batch

    fn = sample_then_add(replay, fence=False) if scanned else once
    args = (zeros(3, ENVS), keys) if scanned else (zeros(ENVS), keys[0])
    with pytest.raises(AssertionError) as caught:
        assert_in_place(fn, state, *args)
    for leaf in ("ring.words", "ring.blocks.0", "windows.starts"):
        assert f"copies leaf '{leaf}'" in str(caught.value)
    assert "jb.fence(state, batch)" in str(caught.value)


@pytest.mark.long  # quick: the contract counts traces, check_configuration
def test_a_train_loop_is_traced_once():
    traced = []

    @jax.jit
    def train(state, params, keys):
        traced.append(1)
        return add_then_learn(replay_of(jb.Transitions(3), length=16))(state, params, keys)

    state, params = replay_of(jb.Transitions(3), length=16).init(ROW), jnp.float32(0)
    for seed in range(4):
        state, params = train(state, params, jax.random.split(jax.random.key(seed), 3))
    assert len(traced) == 1
    assert int(state.ring.size[0]) == 12


def cost(fn, *args):
    """What a program does and holds: operations and bytes as lowered, operations and temporaries as compiled."""
    lowered = jax.jit(fn, donate_argnums=0).lower(*args)
    compiled = lowered.compile()
    figures = [lowered.cost_analysis().get(name, 0.0) for name in ("flops", "bytes accessed")]
    return *figures, compiled.cost_analysis().get("flops", 0.0), compiled.memory_analysis().temp_size_in_bytes


def small_replay(view, capacity):
    """Rows of a few bytes; nothing is allocated, only shapes are compiled."""
    replay = jb.Replay(capacity=capacity, num_envs=ENVS, batch_size=BATCH, view=view)
    row = replace(ROW, obs={"state": ROW.obs["state"], "image": jax.ShapeDtypeStruct((1025,), jnp.uint8)})
    rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((ENVS, *leaf.shape), leaf.dtype), row)
    return replay, jax.eval_shape(lambda: replay.init(row)), rows, jax.eval_shape(lambda: jax.random.key(0))


def verbs(replay):
    def update(state, rows, key):
        batch = replay.sample(state, key)
        return replay.update(state, batch.index, rows={"reward": jnp.ones(batch.mask.shape, jnp.float32)})

    def whole(state, rows, key):
        state = replay.add(state, rows)
        batch = replay.sample(state, key)
        action = {"action": jnp.ones(batch.mask.shape, jnp.int32)}
        return replay.update(jb.fence(state, batch), batch.index, rows=action), batch

    alone = {  # whose costs are part of the whole
        "add": lambda state, rows, key: replay.add(state, rows),
        "sample": lambda state, rows, key: (state, replay.sample(state, key)),
        "update": update,
    }
    return budget({}, alone) | {
        "can_sample": lambda state, rows, key: (state, replay.can_sample(state), replay.size(state)),
        "add, sample, update": whole,
    }


@pytest.mark.parametrize("view", long_but(VIEWS[2:5], quick=[2]), ids=lambda view: repr(view).replace(" ", ""))
def test_every_verb_costs_the_same_at_ten_thousand_and_ten_million_rows(view):
    costs = {}
    for capacity in (10_000, 10_000_000):
        replay, *args = small_replay(view, capacity)
        costs[capacity] = {name: cost(verb, *args) for name, verb in verbs(replay).items()}
    assert costs[10_000] == costs[10_000_000]
    assert all(held < 2**20 for *_, held in costs[10_000_000].values())


def shift_down(replay):
    """A ring without a head moves every row at each add."""

    def add(state, rows, key):
        words = jnp.roll(state.ring.words, -1, axis=0).at[-1].set(jnp.uint32(0))
        return replace(state, ring=replace(state.ring, words=words))

    return add


def select_everywhere(replay):
    """An add that asks each slot whether it is the one."""

    def add(state, rows, key):
        here = jnp.arange(replay.length, dtype=jnp.int32)[:, None, None, None] == state.ring.time[None, :, None, None]
        return replace(state, ring=replace(state.ring, words=jnp.where(here, jnp.uint32(1), state.ring.words)))

    return add


def search(replay):
    """A sample that looks at every row for legal ones."""

    def sample(state, rows, key):
        return state, jnp.cumsum(state.ring.words[:, :, 0, 0] > 0, dtype=jnp.int32)

    return sample


def unordered(replay):
    """A sample that the add after it does not wait for."""

    def both(state, rows, key):
        batch = replay.sample(state, key)
        return replay.add(state, rows), batch

    return both


@pytest.mark.parametrize("broken", long_but([shift_down, select_everywhere, search, unordered], quick=[0, 1, 2]))
def test_the_cost_figures_tell_a_verb_that_touches_the_whole_ring(broken):
    costs = []
    for capacity in (10_000, 10_000_000):
        replay, *args = small_replay(jb.Sequences(5, episodes="within"), capacity)
        costs.append(cost(broken(replay), *args))
    assert np.max(np.array(costs[1]) / np.maximum(costs[0], 1)) > 100
