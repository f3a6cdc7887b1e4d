"""What the parts tell each other, and that parts of different replays are not mixed up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.windows.base import Added


def state_of(replay, rows=6):
    flag = np.zeros(rows, bool)
    row = jb.Row(jnp.float32(0), jnp.float32(0), jnp.float32(0), *[jnp.bool_(False)] * 3)
    state = replay.init(row)
    lead = () if replay.num_envs is None else (replay.num_envs,)
    add = quick_jit(replay.add)
    for t in range(rows):
        value = jnp.full(lead, float(t))
        state = add(state, jb.Row(value, value, value, *[jnp.full(lead, flag[t])] * 3))
    return state


OTHERS = [
    jb.Replay(24, None, 4, jb.Sequences(2, "within")),  # another capacity
    jb.Replay(12, 2, 4, jb.Sequences(2, "within")),  # other streams
    jb.Replay(12, None, 4, jb.Sequences(3, "within")),  # windows of another length
    jb.Replay(12, None, 4, jb.Sequences(2, "within", period=2)),
    jb.Replay(12, None, 4, jb.Sequences(2)),  # no queue
]


@pytest.mark.parametrize(
    "other", long_but(OTHERS, quick=[2, 4]), ids=lambda replay: f"{replay.capacity}-{replay.num_envs}-{replay.view}"
)
def test_a_state_from_another_configuration_is_refused(other):
    ours = jb.Replay(12, None, 4, jb.Sequences(2, "within"))
    for state, replay in ((state_of(ours), other), (state_of(other), ours)):
        with pytest.raises(jb.errors.ConfigurationError, match="another"):
            replay.sample(state, jax.random.key(0))
        with pytest.raises(jb.errors.ConfigurationError, match="another"):
            replay.can_sample(state)


@pytest.mark.parametrize(
    "view",
    long_but([jb.Sequences(2), jb.Sequences(3), jb.Sequences(2, "within"), jb.Transitions()], quick=[2]),
    ids=str,
)
def test_samplers_are_told_exactly_of_the_completed_windows_that_are_still_legal(view):
    """Blocks of every size up to T, so that the last rows of one overwrite what its first completed."""
    length, rng = 5, np.random.default_rng(0)
    replay = jb.Replay(length, None, 1, view)
    row = jb.Row(*[jnp.float32(0)] * 3, *[jnp.bool_(False)] * 3)
    add, tell, counted = quick_jit(replay.add), quick_jit(replay.legal(replay.init(row)).kind.add), 0
    for _ in range(budget(25, 40)):
        state, firsts = replay.init(row), []
        for _ in range(4):
            number = int(rng.integers(1, length + 1))
            first = rng.random(number) < 0.3
            queue = state.windows
            rows = jb.Row(*[np.zeros(number, np.float32)] * 3, first, *[np.zeros(number, bool)] * 2)
            before = len(firsts)
            firsts += first.tolist()
            state = add(state, rows)
            time = np.arange(before, before + number, dtype=np.int32)[:, None]
            added = Added(time, np.ones((number, 1), bool), first[:, None], np.zeros((number, 1), bool))
            _, turnover = jax.tree.map(np.asarray, tell(queue, state.ring, added))
            for n, t in enumerate(range(before, before + number)):
                start = t + 1 - view.required
                present = start >= max(0, len(firsts) - length)
                legal = present and not (view.within and any(firsts[start + 1 : t + 1]))
                assert turnover.completed[n, 0] == legal, (firsts, t)
                assert not legal or turnover.start[n, 0] == start
                counted += legal
    assert counted > budget(60, 100)


def test_a_sampler_without_priorities_refuses_them():
    replay = jb.Replay(12, None, 4)
    state = replay.add(replay.init(jnp.float32(0)), jnp.float32(1))
    with pytest.raises(jb.errors.ConfigurationError, match="priority"):
        replay.update(state, replay.sample(state, jax.random.key(0)).index, priority=jnp.ones(4))


def test_a_sampler_with_priorities_gets_them():
    class Listening(jb.Uniform):
        takes_priority = True

        def init(self, windows):
            return jnp.zeros(4)

        def update(self, state, legal, index, priority):
            return state + priority

    replay = jb.Replay(12, None, 4, sampler=Listening())
    state = replay.add(replay.init(jnp.float32(0)), jnp.float32(1))
    state = replay.update(state, replay.sample(state, jax.random.key(0)).index, priority=jnp.arange(4.0))
    np.testing.assert_array_equal(state.sampler, [0, 1, 2, 3])


@pytest.mark.parametrize("count", [2, 3])
def test_several_keys_at_once_are_refused(count):
    replay = jb.Replay(12, None, count)
    state = replay.add(replay.init(jnp.float32(0)), jnp.float32(1))
    with pytest.raises(jb.errors.ShapeError, match="one key"):
        replay.sample(state, jax.random.split(jax.random.key(0), count))


def test_gradients_never_run_through_stored_rows_of_any_size():
    for size in (4, 400):
        replay = jb.Replay(4, None, 2)
        state = replay.init(jnp.zeros(size))

        def loss(x, replay=replay, state=state):
            return replay.sample(replay.add(state, x), jax.random.key(0)).data.sum()

        np.testing.assert_array_equal(quick_jit(jax.grad(loss))(jnp.ones(size)), np.zeros(size))


def test_two_leaves_of_one_name_are_refused():
    @jax.tree_util.register_pytree_with_keys_class
    class Twice:
        def __init__(self, a, b):
            self.a, self.b = a, b

        def tree_flatten_with_keys(self):
            key = jax.tree_util.DictKey("x")
            return ((key, self.a), (key, self.b)), None

        @classmethod
        def tree_unflatten(cls, _, leaves):
            return cls(*leaves)

    with pytest.raises(jb.errors.StructureError, match="both called leaf 'x'"):
        jb.Replay(4, None).init(Twice(jnp.zeros(1), jnp.zeros(2)))


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("dtype", long_but(["int4", "uint4", "int2", "uint2"], quick=[0, 3]))
def test_narrow_integers_update_in_place(dtype):
    from jaxbuffers.testing import assert_in_place

    row = jnp.zeros(64, dtype)
    replay = jb.Replay(4096, None, 2)
    state = replay.init({"small": row, "large": jnp.zeros(1024, dtype)})
    assert_in_place(replay.add, state, {"small": row, "large": jnp.ones(1024, dtype)})


@pytest.mark.parametrize("n_step", long_but([1, 2], quick=[1]))
def test_rewards_of_no_weight_cannot_spoil_a_sum(n_step):
    rows = jb.episode_rows(jnp.arange(4.0), jnp.zeros(3), jnp.array([1.0, jnp.inf, 2.0]), True, False)
    replay = jb.Replay(4, None, 64, jb.Transitions(n_step, gamma=0.0))
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
    batch = replay.sample(state, jax.random.key(0))
    rewards = {float(o): float(r) for o, r in zip(batch.data.obs, batch.data.reward, strict=True)}
    assert rewards == {0.0: 1.0, 1.0: float("inf"), 2.0: 2.0}
