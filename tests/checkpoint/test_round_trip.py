"""Every kind of state comes back bit for bit: each sampler, each kind of window, each shell, each dtype, each key."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract.catalog import EVERYTHING, ROW, SAMPLERS, VIEWS, replay_of, rows_for
from flax import nnx, struct
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb

from .same import assert_same, differ, scrambled


def comes_back(path, tree, like=None):
    jb.checkpoint.save(path, tree)
    fresh = scrambled(tree) if like is None else like
    found = jb.checkpoint.restore(path, fresh).tree
    assert_same(found, tree)
    assert like is not None or differ(fresh, tree)
    return found


def used(replay):
    """A state that has lived: filled beyond a lap, sampled and updated."""

    def live(state, rows, key):
        state, _ = jax.lax.scan(lambda state, row: (replay.add(state, row), None), state, rows)
        batch = replay.sample(state, key)
        priority = jnp.arange(1, 1 + len(batch.probability), dtype=jnp.float32)
        return replay.update(state, batch.index, priority=priority if replay.sampler.takes_priority else None)

    make = rows_for(replay)
    rows = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(make, range(12)))
    return quick_jit(live)(replay.init(ROW), rows, jax.random.key(3))


@pytest.mark.parametrize("sampler", long_but([*SAMPLERS, EVERYTHING], quick=[6]))
def test_the_state_of_every_sampler(tmp_path, sampler):
    replay = replay_of(jb.Transitions(), sampler)
    comes_back(tmp_path / "run", used(replay))


@pytest.mark.parametrize("view", long_but(VIEWS, quick=[13]))
def test_the_state_of_every_view(tmp_path, view):
    replay = replay_of(view, jb.Prioritized())
    found = comes_back(tmp_path / "run", used(replay), jax.eval_shape(replay.init, ROW))
    assert int(replay.count(found)) > 0


def test_stacked_states_of_several_seeds(tmp_path):
    replay = replay_of(jb.Items(), jb.WithoutReplacement())
    comes_back(tmp_path / "run", jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), replay.init(ROW)))


def test_everything_else_that_is_a_state(tmp_path):
    recorder, limiter, rollout = jb.Recorder("next_step"), jb.RateLimiter(4, 2, 8), jb.Rollout(3, 2)
    row = {"obs": jax.ShapeDtypeStruct((2,), jnp.float32), "reward": jax.ShapeDtypeStruct((), jnp.float32)}
    tree = {
        "recorder": recorder.init({"image": jnp.ones((2, 4), jnp.uint8)}),
        "limiter": limiter.insert(limiter.init(), 3),
        "rollout": rollout.update(rollout.init(**row), "reward", 1, jnp.ones(2)),
        "minibatches": jb.minibatches(jax.random.key(0), {"x": jnp.arange(6)}, 2),
    }
    comes_back(tmp_path / "run", tree)


def test_keys_of_every_kind(tmp_path):
    tree = {name: jax.random.key(3, impl=name) for name in ("threefry2x32", "rbg", "unsafe_rbg")}
    tree |= {"raw": jax.random.PRNGKey(5), "several": jax.random.split(jax.random.key(1), (2, 3))}
    found = comes_back(tmp_path / "run", tree)
    for name, key in tree.items():
        if name != "several":
            assert_same(jax.random.bits(found[name], (4,)), jax.random.bits(key, (4,)))
    comes_back(tmp_path / "other", tree, jax.eval_shape(lambda: tree))


DTYPES = ["bool", "int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
DTYPES += ["float16", "bfloat16", "float32", "complex64", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("shape", long_but([((),), ((5,),), ((2, 0, 3),), ((3, 4),)], quick=[0, 2]))
def test_every_dtype_and_shape_in_jax_and_numpy(tmp_path, shape):
    values = np.arange(int(np.prod(shape)) or 1).reshape(shape or ()) if np.prod(shape) else np.zeros(shape)
    tree = {name: jnp.asarray((values % 2).astype(jnp.dtype(name))) for name in DTYPES}
    tree |= {f"numpy {name}": np.asarray(leaf) for name, leaf in tree.items()}
    tree |= {f"numpy {name}": (values % 3).astype(name) for name in ("int64", "uint64", "float64", "complex128")}
    comes_back(
        tmp_path / "run", tree, jax.tree.map(lambda x: np.zeros_like(x) if isinstance(x, np.ndarray) else x, tree)
    )


def test_bits_that_are_no_numbers_stay_as_they_are(tmp_path):
    odd = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 1], np.uint32).view(np.float32)
    comes_back(
        tmp_path / "run",
        {"numpy": odd, "jax": jax.lax.bitcast_convert_type(jnp.asarray(odd.view(np.uint32)), jnp.float32)},
    )


def test_arrays_that_lie_oddly_in_memory(tmp_path):
    wide = np.arange(24, dtype=np.int32).reshape(4, 6)
    tree = {
        "every other": wide[::2, ::-1],
        "turned": wide.T,
        "scalar": np.float32(2),
        "read only": np.broadcast_to(wide[0], (3, 6)),
    }
    jb.checkpoint.save(tmp_path / "run", tree)
    found = jb.checkpoint.restore(tmp_path / "run", tree).tree
    jax.tree.map(np.testing.assert_array_equal, found, tree)
    assert found["turned"].flags.owndata or found["turned"].base.flags.owndata
    found["turned"][0] = 0  # is the caller's own


def test_weak_types_promote_as_before(tmp_path):
    tree = {"one": jnp.asarray(1.5), "int": jnp.asarray(3), "many": jnp.full((3,), 0.25), "strong": jnp.float32(1)}
    assert [leaf.weak_type for leaf in jax.tree.leaves(tree)] == [True, True, True, False]
    found = comes_back(tmp_path / "run", tree)
    assert (found["one"] * jnp.bfloat16(1)).dtype == jnp.bfloat16


def test_python_values(tmp_path):
    tree = {
        "int": 10**30,
        "float": [0.1, float("inf"), -0.0],
        "bool": True,
        "str": 'é \ud800 \0 "',
        "none": None,
        "empty": {},
    }
    comes_back(
        tmp_path / "run",
        tree,
        {"int": 0, "float": [0.0, 0.0, 0.0], "bool": False, "str": "", "none": None, "empty": {}},
    )
    jb.checkpoint.save(tmp_path / "nan", float("nan"))
    assert np.isnan(jb.checkpoint.restore(tmp_path / "nan", 0.0).tree)


@struct.dataclass
class Mine:
    weights: jax.Array
    name: str = struct.field(pytree_node=False)


def test_what_users_train(tmp_path):
    """NamedTuples of optax, a dataclass of flax with a static field, states and modules of nnx."""
    params = nnx.state(nnx.Linear(3, 2, rngs=nnx.Rngs(0, dropout=1)))
    optimizer = optax.chain(optax.clip(1.0), optax.adam(1e-3))
    tree = {
        "params": params,
        "optimizer": optimizer.init(params),
        "mine": Mine(jnp.arange(3.0), "static"),
        "rngs": nnx.state(nnx.Rngs(1)),
    }
    found = comes_back(tmp_path / "run", tree)
    assert found["mine"].name == "static"
    comes_back(tmp_path / "shapes", tree, jax.eval_shape(lambda: tree))


def test_one_array_alone_and_nothing_at_all(tmp_path):
    comes_back(tmp_path / "one", jnp.arange(3))
    comes_back(tmp_path / "none", {}, {})


def test_it_is_the_callers_own_and_can_be_donated(tmp_path):
    tree = {"x": jnp.arange(1000), "y": jnp.arange(1000)}
    jb.checkpoint.save(tmp_path / "run", tree)
    add = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    once, twice = (jb.checkpoint.restore(tmp_path / "run", tree).tree for _ in range(2))
    add(once)
    assert_same(twice, tree)
    assert_same(add(twice), add(tree))


def test_saving_leaves_nothing_behind_that_makes_the_next_step_copy(tmp_path):
    """A view of NumPy's on an array keeps it from being updated in place."""
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jax.block_until_ready(add(jnp.arange(100_000)))
    place = x.unsafe_buffer_pointer()
    jb.checkpoint.save(tmp_path / "run", {"x": x})
    assert jax.block_until_ready(add(x)).unsafe_buffer_pointer() == place
