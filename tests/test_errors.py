"""Every mistake raises an error that names the leaf or number at fault and the remedy; the state stays good."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxbuffers as jb


def zeros(shape=(), dtype=jnp.float32):
    """Zeros of one dtype, with or without 64-bit types."""
    return jnp.zeros(shape, dtype)


FLAGS = dict.fromkeys(("is_first", "is_last", "is_terminal"), jnp.bool_(False))
ROW = {
    "obs": {"image": zeros((3, 5), jnp.uint8), "s": zeros(3)},
    "action": jnp.int32(0),
    "reward": jnp.float32(0),
}
ROW |= FLAGS
NARROW = not jax.config.jax_enable_x64
ENVS = 2


def rows(*lead, **changed):
    return jax.tree.map(lambda leaf: zeros((*lead, *leaf.shape), leaf.dtype), ROW) | changed


@pytest.fixture(scope="module")
def replay():
    return jb.Replay(capacity=12, num_envs=ENVS, batch_size=4, view=jb.Transitions())


@pytest.fixture(scope="module")
def filled(replay):
    return replay.add(replay.init(ROW), rows(3, ENVS))


@pytest.fixture
def state(replay, filled):
    """Every mistake below leaves the state as it was, and good for the next call."""
    before = jax.tree.map(np.asarray, filled)
    yield filled
    chex.assert_trees_all_equal(filled, before)


def says(caught, *parts):
    for part in parts:
        assert part in str(caught.value), f"{part!r} is not in: {caught.value}"


# Construction.


def test_a_capacity_that_does_not_divide_names_the_two_nearest_sizes():
    with pytest.raises(jb.ConfigurationError) as caught:
        jb.Replay(capacity=1003, num_envs=16, view=jb.Items())
    says(caught, "capacity=1003", "num_envs=16", "992 or 1008")


def test_a_capacity_below_one_row_a_stream_names_the_next_size_only():
    with pytest.raises(jb.ConfigurationError) as caught:
        jb.Replay(capacity=3, num_envs=16, view=jb.Items())
    says(caught, "capacity=3", "nearest sizes are 16.")


@pytest.mark.parametrize(
    "view, least",
    [
        (jb.Transitions(), 4),
        (jb.Transitions(n_step=3), 8),
        (jb.Sequences(6), 12),
        (jb.Sequences(4, "within", burn_in=2), 12),
        (jb.Sequences(4, "pad", actions="previous"), 10),
    ],
    ids=repr,
)
def test_a_capacity_smaller_than_a_window_names_the_least_that_fits(view, least):
    with pytest.raises(jb.ConfigurationError) as caught:
        jb.Replay(capacity=least - 2, num_envs=2, view=view)
    says(caught, f"capacity={least - 2}", f"at least {least}")
    jb.Replay(capacity=least, num_envs=2, view=view)


def test_a_capacity_beyond_int32_addresses_is_refused():
    with pytest.raises(jb.ConfigurationError, match=r"2\*\*28"):
        jb.Replay(capacity=2**28 + 1, num_envs=None, view=jb.Items())


@pytest.mark.parametrize("size", [0, -1, True, False, 2.0, "2", None, np.float32(2)])
@pytest.mark.parametrize(
    "make, name",
    [
        (lambda size: jb.Replay(capacity=size, num_envs=None), "capacity"),
        (lambda size: jb.Replay(capacity=8, num_envs=size if size is not None else 0), "num_envs"),
        (lambda size: jb.Replay(capacity=8, num_envs=None, batch_size=size), "batch_size"),
        (lambda size: jb.Sequences(size), "length"),
        (lambda size: jb.Sequences(4, period=size), "period"),
        (lambda size: jb.Sequences(4, burn_in=size if size != 0 or isinstance(size, bool) else -1), "burn_in"),
        (lambda size: jb.Transitions(n_step=size), "n_step"),
    ],
    ids=["capacity", "num_envs", "batch_size", "length", "period", "burn_in", "n_step"],
)
def test_sizes_that_are_not_positive_ints_are_refused_by_name(make, name, size):
    with pytest.raises(jb.ConfigurationError) as caught:
        make(size)
    says(caught, name, "must be an int of at least", repr(size) if size not in (None, 0) else "")


@pytest.mark.parametrize(
    "make, name, choices",
    [
        (lambda mode: jb.Sequences(4, episodes=mode), "episodes", ("cross", "within", "pad")),
        (lambda mode: jb.Sequences(4, actions=mode), "actions", ("taken", "previous")),
        (lambda mode: jb.Recorder(mode), "mode", ("next_step", "same_step", "disabled")),
        (lambda mode: jb.Replay(capacity=8, num_envs=None, layout=mode), "layout", ("auto", "flat", "tiled")),
    ],
    ids=["episodes", "actions", "recorder", "layout"],
)
@pytest.mark.parametrize("mode", ["Cross", "", None, 1, True])
def test_unknown_modes_name_the_choices(make, name, choices, mode):
    with pytest.raises(jb.ConfigurationError) as caught:
        make(mode)
    says(caught, name, repr(mode), *map(repr, choices))


@pytest.mark.parametrize("gamma", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_discount_outside_the_unit_interval_is_refused(gamma):
    with pytest.raises(jb.ConfigurationError) as caught:
        jb.Transitions(gamma=gamma)
    says(caught, "gamma", "[0, 1]", repr(gamma))


def test_time_major_must_be_a_bool():
    with pytest.raises(jb.ConfigurationError, match="time_major must be a bool, got 1"):
        jb.Sequences(4, time_major=1)


@pytest.mark.parametrize("name", ["view", "sampler"])
def test_a_class_in_place_of_an_instance_is_refused(name):
    wrong = {"view": jb.Items, "sampler": jb.Uniform}[name]
    with pytest.raises(jb.ConfigurationError, match=f"{name} must be a .* instance"):
        jb.Replay(**{"capacity": 8, "num_envs": None, name: wrong})


# init.


@pytest.mark.parametrize(
    "view, fields",
    [
        (jb.Transitions(), ("obs", "action", "reward", "is_first", "is_terminal")),
        (jb.Sequences(3, "within"), ("is_first",)),
        (jb.Sequences(3, "pad"), ("is_first",)),
        (jb.Sequences(3, actions="previous"), ("is_first", "action")),
    ],
    ids=repr,
)
def test_each_view_names_the_field_that_the_row_lacks(view, fields):
    replay = jb.Replay(capacity=12, num_envs=None, view=view)
    for field in fields:
        with pytest.raises(jb.MissingFieldError) as caught:
            replay.init({name: leaf for name, leaf in ROW.items() if name != field})
        says(caught, type(view).__name__, repr(field), "Add it to the row given to init()")
    with pytest.raises(jb.MissingFieldError, match="no named fields"):
        replay.init(zeros(3))
    replay.init({name: leaf for name, leaf in ROW.items() if name in fields})


def test_items_and_crossing_sequences_need_no_field():
    for view in (jb.Items(), jb.Sequences(3)):
        jb.Replay(capacity=12, num_envs=None, view=view).init(zeros(3))


def test_transitions_refuse_integer_rewards_by_name():
    with pytest.raises(jb.DtypeError, match=r"needs 'reward' to be floating; leaf 'reward' is int32"):
        jb.Replay(capacity=12, num_envs=None, view=jb.Transitions()).init(ROW | {"reward": jnp.int32(0)})


BAD_LEAVES = {
    "int": (0, "leaf 'x' is 0 of type int"),
    "float": (0.5, "numpy.float32(0.5)"),
    "bool": (True, "leaf 'x' is True of type bool"),
    "str": ("text", "table.intern(text)"),
    "bytes": (b"text", "Store text as int32 ids"),
    "object array": (np.array([None, "a"], object), "leaf 'x' has dtype object"),
    "str array": (np.array(["a"]), "Store text as int32 ids"),
    "datetime array": (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
    "structured array": (np.zeros(2, [("a", np.int32)]), "which JAX cannot hold"),
    "typed key": (jax.random.key(0), "jax.random.key_data(key)"),
    "empty axis": (zeros((3, 0)), "axis of size 0"),
}
if NARROW:
    BAD_LEAVES |= {
        "float64": (np.zeros(3), "would cut to float32"),
        "int64": (np.zeros(3, np.int64), "would cut to int32"),
        "complex128": (np.zeros(3, np.complex128), "would cut to complex64"),
    }


@pytest.mark.parametrize("kind", BAD_LEAVES)
def test_leaves_that_cannot_be_stored_are_refused_by_init_with_their_name(kind):
    leaf, message = BAD_LEAVES[kind]
    with pytest.raises((jb.DtypeError, jb.ShapeError)) as caught:
        jb.Replay(capacity=8, num_envs=None, view=jb.Items()).init({"y": zeros(2), "x": leaf})
    says(caught, "'x'", message)


def test_a_row_without_leaves_is_refused():
    with pytest.raises(jb.StructureError, match="no leaves"):
        jb.Replay(capacity=8, num_envs=None, view=jb.Items()).init({"obs": ()})


# add.


def test_more_rows_than_a_stream_holds_name_both_numbers(replay, state):
    with pytest.raises(jb.ShapeError) as caught:
        replay.add(state, rows(7, ENVS))
    says(caught, "7 rows", "6", "capacity 12", "Add fewer at a time")


@pytest.mark.parametrize(
    "change, path",
    [
        (lambda r: {name: leaf for name, leaf in r.items() if name != "reward"}, "missing leaves: reward"),
        (lambda r: r | {"rewards": r["reward"]}, "unknown leaves: rewards"),
        (lambda r: r | {"obs": {"s": r["obs"]["s"], "picture": r["obs"]["image"]}}, "missing leaves: obs.image"),
        (lambda r: r | {"obs": (r["obs"]["image"], r["obs"]["s"])}, "missing leaves: obs.image, obs.s"),
        (lambda r: r | {"action": None}, "missing leaves: action"),
        (lambda r: jb.Row(**r), "expected: PyTreeDef"),
    ],
)
def test_another_structure_names_the_missing_and_the_unknown_leaves(replay, state, change, path):
    with pytest.raises(jb.StructureError) as caught:
        replay.add(state, change(rows(ENVS)))
    says(caught, path, "the row given to init()")


WRONG_SHAPES = [(1,), (4,), (2,), (), (3, 1), (1, 3), (3, 3)]


@pytest.mark.parametrize("lead", [(ENVS,), (2, ENVS)], ids=["one row", "many rows"])
@pytest.mark.parametrize("shape", WRONG_SHAPES, ids=str)
def test_every_wrong_axis_of_a_vector_leaf_is_refused_with_its_name(replay, state, shape, lead):
    obs = {"image": zeros((*lead, 3, 5), jnp.uint8), "s": zeros((*lead, *shape))}
    with pytest.raises(jb.ShapeError) as caught:
        replay.add(state, rows(*lead, obs=obs))
    says(caught, "'obs.s'", "(3,)")


@pytest.mark.parametrize("shape", [(1, 5), (3, 1), (1, 1), (5, 3), (15,), (3, 5, 1), (2, 5), (3, 4), (5,), ()], ids=str)
def test_every_wrong_axis_of_a_matrix_leaf_is_refused_with_its_name(replay, state, shape):
    obs = {"image": zeros((ENVS, *shape), jnp.uint8), "s": zeros((ENVS, 3))}
    with pytest.raises(jb.ShapeError) as caught:
        replay.add(state, rows(ENVS, obs=obs))
    says(caught, "'obs.image'", "(3, 5)")


@pytest.mark.parametrize("lead", [(), (1,), (3,), (ENVS, 1), (1, 1, ENVS), (2, 3)], ids=str)
def test_wrong_leading_axes_are_refused_and_never_broadcast(replay, state, lead):
    with pytest.raises(jb.ShapeError) as caught:
        replay.add(state, rows(*lead))
    says(caught, "[2, ...] or [N, 2, ...]", str(lead))


def test_leaves_that_disagree_on_leading_axes_are_both_named(replay, state):
    with pytest.raises(jb.ShapeError) as caught:
        replay.add(state, rows(ENVS, reward=zeros((1, ENVS))))
    says(caught, "'action' has (2,)", "'reward' has (1, 2)")


def test_an_environment_axis_where_there_is_none_is_refused():
    replay = jb.Replay(capacity=4, num_envs=None, view=jb.Items())
    with pytest.raises(jb.ShapeError) as caught:
        replay.add(replay.init(zeros(3)), zeros((1, 2, 3)))
    says(caught, "num_envs=None", "(1, 2)")


@pytest.mark.parametrize("dtype", ["int8", "float16", "bool", "int32", "complex64"])
def test_another_dtype_is_never_cast(replay, state, dtype):
    with pytest.raises(jb.DtypeError) as caught:
        replay.add(state, rows(ENVS, reward=zeros(ENVS, dtype)))
    says(caught, "leaf 'reward'", dtype, "expected float32", "astype('float32')")


@pytest.mark.parametrize(
    "leaf",
    [0.0, [0.0, 0.0], "text", np.array([None, None]), jax.random.split(jax.random.key(0))],
    ids=["scalar", "list", "str", "object array", "typed keys"],
)
def test_leaves_that_are_not_arrays_are_refused_by_add(replay, state, leaf):
    with pytest.raises((jb.DtypeError, jb.StructureError, jb.ShapeError)) as caught:
        replay.add(state, rows(ENVS, reward=leaf))
    says(caught, "reward")


@pytest.mark.skipif(not NARROW, reason="these dtypes are legal with 64-bit types")
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_wide_numpy_rows_are_not_cut_in_silence(replay, state, dtype):
    with pytest.raises(jb.DtypeError, match=r"leaf 'reward' has dtype (float64|int64)"):
        replay.add(state, rows(ENVS, reward=np.zeros(ENVS, dtype)))


@pytest.mark.parametrize(
    "mask",
    [
        np.ones(3, bool),
        np.ones((), bool),
        np.ones((1, ENVS), bool),
        np.ones(ENVS, np.int32),
        np.ones(ENVS, np.float32),
        [True, False],
        True,
    ],
    ids=lambda mask: repr(mask).replace(" ", ""),
)
def test_a_mask_of_another_shape_or_dtype_is_refused(replay, state, mask):
    error = jb.ShapeError if getattr(mask, "dtype", None) == np.bool_ else jb.DtypeError
    with pytest.raises(error) as caught:
        replay.add(state, rows(ENVS), mask=mask)
    says(caught, "mask must be a bool array of shape [2]")


def test_the_same_errors_come_under_jit(replay, state):
    with pytest.raises(jb.ShapeError, match=r"'obs\.s'"):
        jax.jit(replay.add)(state, rows(ENVS, obs={"image": zeros((ENVS, 3, 5), jnp.uint8), "s": zeros((ENVS, 1))}))


# sample.


@pytest.mark.parametrize("size", [0, -1, True, 2.0])
def test_a_bad_batch_size_is_refused(replay, state, size):
    with pytest.raises(jb.ConfigurationError, match="batch_size must be an int of at least 1"):
        replay.sample(state, jax.random.key(0), size)


@pytest.mark.parametrize("added", [0, 1, 3])
@pytest.mark.parametrize("view", [jb.Sequences(4), jb.Sequences(4, "within"), jb.Transitions(), jb.Items()], ids=repr)
def test_too_few_rows_give_an_invalid_batch_of_zeros_and_raise_under_debug_checks(view, added):
    replay = jb.Replay(capacity=12, num_envs=ENVS, batch_size=4, view=view)
    state = replay.init(ROW)
    for _ in range(added):
        state = jax.jit(replay.add)(state, jax.tree.map(jnp.ones_like, rows(ENVS)) | {"is_first": zeros(ENVS, bool)})
    enough = added >= view.required and not (
        isinstance(view, jb.Transitions | jb.Sequences) and view.within and added > 1
    )
    batch = jax.jit(replay.sample)(state, jax.random.key(0))
    with jb.debug_checks():
        error, _ = jax.jit(checkify.checkify(replay.sample))(state, jax.random.key(0))
    assert bool(batch.valid) == enough == bool(replay.can_sample(state))
    if enough:
        error.throw()
        return
    assert not batch.mask.any()
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves((batch.data, batch.probability)))
    with pytest.raises(checkify.JaxRuntimeError, match=r"no legal window to draw; see can_sample\(\)"):
        error.throw()


# update.

INDEX = jb.Index(zeros(4, jnp.int32), zeros(4, jnp.int32))


@pytest.mark.parametrize(
    "new, error, parts",
    [
        ({"rewards": zeros(4)}, jb.StructureError, ("'rewards'", "obs.image", "reward")),
        ({"obs": {"picture": zeros(4)}}, jb.StructureError, ("'obs.picture'",)),
        ({"obs": zeros(4)}, jb.StructureError, ("'obs'",)),
        (zeros(4), jb.StructureError, ("the only leaf",)),
        ({}, jb.StructureError, ("no leaves",)),
        ({"obs": {"s": zeros((4, 1))}}, jb.ShapeError, ("'obs.s'", "(3,)")),
        ({"reward": zeros(3)}, jb.ShapeError, ("'reward'", "(3,)", "(4,)", "batch.mask")),
        ({"reward": zeros(())}, jb.ShapeError, ("'reward'", "()", "(4,)")),
        ({"reward": zeros((4, 1))}, jb.ShapeError, ("'reward'", "(4, 1)", "(4,)")),
        ({"reward": zeros(4, jnp.float16)}, jb.DtypeError, ("'reward'", "float16", "float32")),
        ({"action": 1}, jb.DtypeError, ("'action'",)),
    ],
)
def test_bad_rows_to_write_back_are_refused_by_name(replay, state, new, error, parts):
    with pytest.raises(error) as caught:
        replay.update(state, INDEX, rows=new)
    says(caught, *parts)


def test_a_priority_for_a_sampler_that_takes_none_is_refused(replay, state):
    with pytest.raises(jb.ConfigurationError, match=r"Uniform\(\) takes no priority; leave it out"):
        replay.update(state, INDEX, priority=jnp.ones(4))


# Recorder.


def step(recorder, rec, **changed):
    fields = {"action": zeros(2, jnp.int32), "obs": zeros((2, 3)), "reward": zeros(2)}
    fields |= {"terminated": zeros(2, bool), "truncated": zeros(2, bool)}
    return recorder.step(rec, **(fields | changed))


@pytest.mark.parametrize("mode", ["next_step", "disabled"])
def test_a_final_observation_in_a_mode_without_one_is_refused(mode):
    recorder = jb.Recorder(mode)
    with pytest.raises(
        jb.ConfigurationError, match=f"final_obs belongs to mode 'same_step', not '{mode}'; leave it out"
    ):
        step(recorder, recorder.init(zeros((2, 3))), final_obs=zeros((2, 3)))


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
@pytest.mark.parametrize(
    "changed, error, name",
    [
        ({"obs": zeros((2, 1))}, jb.ShapeError, "obs"),
        ({"obs": zeros((1, 3))}, jb.ShapeError, "obs"),
        ({"obs": zeros((2, 2, 3))}, jb.ShapeError, "obs"),
        ({"obs": zeros((2, 3), jnp.int32)}, jb.DtypeError, "obs"),
        ({"obs": {"s": zeros((2, 3))}}, jb.StructureError, "obs"),
        ({"action": zeros((3,), jnp.int32)}, jb.ShapeError, "action"),
        ({"action": jnp.int32(0)}, jb.ShapeError, "action"),
        ({"action": [0, 1]}, jb.DtypeError, "action"),
        ({"reward": zeros((2, 1))}, jb.ShapeError, "reward"),
        ({"reward": jnp.float32(0)}, jb.ShapeError, "reward"),
        ({"reward": zeros(2, jnp.int32)}, jb.DtypeError, "reward"),
        ({"reward": 0.5}, jb.ShapeError, "reward"),
        ({"terminated": zeros(2)}, jb.DtypeError, "terminated"),
        ({"terminated": zeros((), bool)}, jb.ShapeError, "terminated"),
        ({"truncated": zeros((2, 2), bool)}, jb.ShapeError, "truncated"),
        ({"truncated": False}, jb.ShapeError, "truncated"),
        ({"extras": zeros(3)}, jb.ShapeError, "extras"),
    ],
)
def test_bad_environment_outputs_are_refused_by_name(mode, changed, error, name):
    recorder = jb.Recorder(mode)
    with pytest.raises(error) as caught:
        step(recorder, recorder.init(zeros((2, 3))), **changed)
    says(caught, name)


@pytest.mark.parametrize("final", [zeros((2, 1)), zeros((3, 3)), zeros(3), zeros((2, 3), jnp.int32)], ids=str)
def test_a_bad_final_observation_is_refused_by_name(final):
    recorder = jb.Recorder("same_step")
    with pytest.raises((jb.ShapeError, jb.DtypeError), match="final_obs"):
        step(recorder, recorder.init(zeros((2, 3))), final_obs=final)


@pytest.mark.parametrize("obs", [jnp.float32(0), {"a": zeros(2), "b": zeros(3)}], ids=["scalar", "two sizes"])
def test_first_observations_without_one_environment_axis_say_how_to_leave_it_out(obs):
    with pytest.raises(jb.ShapeError, match="batched=False"):
        jb.Recorder("next_step").init(obs)


@pytest.mark.parametrize("where", [jnp.ones(3, bool), jnp.ones(2), True], ids=["shape", "dtype", "scalar"])
def test_a_bad_choice_of_environments_to_reset_is_refused(where):
    recorder = jb.Recorder("disabled")
    with pytest.raises((jb.ShapeError, jb.DtypeError), match="where"):
        recorder.reset(recorder.init(zeros((2, 3))), zeros((2, 3)), where=where)


def test_a_reset_to_other_observations_is_refused():
    recorder = jb.Recorder("disabled")
    with pytest.raises(jb.ShapeError, match="obs"):
        recorder.reset(recorder.init(zeros((2, 3))), zeros((2, 4)))


# episode_rows.

EPISODE = {"obs": zeros((4, 2)), "action": zeros(3, jnp.int32), "reward": zeros(3)}
EPISODE |= {"terminated": True, "truncated": False}


@pytest.mark.parametrize(
    "changed, error, parts",
    [
        ({"obs": zeros((3, 2))}, jb.ShapeError, ("obs", "[4, ...]", "3 rewards", "(3, 2)")),
        ({"obs": jnp.float32(0)}, jb.ShapeError, ("obs", "[4, ...]")),
        ({"action": zeros(4, jnp.int32)}, jb.ShapeError, ("action", "[3, ...]")),
        ({"extras": {"a": zeros(3)}}, jb.ShapeError, ("extras", "[4, ...]")),
        ({"reward": zeros((3, 1))}, jb.ShapeError, ("reward", "[T]")),
        ({"reward": zeros(0)}, jb.ShapeError, ("reward",)),
        ({"terminated": False}, jb.StructureError, ("finished episode",)),
        ({"terminated": jnp.bool_([True, False, True])}, jb.StructureError, ("terminated", "before the last step")),
        ({"truncated": jnp.bool_([True, False, False])}, jb.StructureError, ("truncated", "before the last step")),
        ({"terminated": jnp.ones(2, bool)}, jb.ShapeError, ("terminated", "bool [] or [3]")),
        ({"terminated": 1}, jb.ShapeError, ("terminated", "bool")),
        ({"obs": "text"}, jb.DtypeError, ("text",)),
        ({"action": [0, 1, 2]}, jb.DtypeError, ("type int",)),
    ],
)
def test_what_is_not_one_finished_episode_is_refused(changed, error, parts):
    with pytest.raises(error) as caught:
        jb.episode_rows(**(EPISODE | changed))
    says(caught, *parts)


@pytest.mark.skipif(not NARROW, reason="these dtypes are legal with 64-bit types")
@pytest.mark.parametrize("name", ["obs", "action", "reward", "extras"])
def test_wide_numpy_episodes_are_not_cut_in_silence(name):
    wide = {name: np.zeros({"obs": (4, 2), "extras": 4}.get(name, 3))}
    with pytest.raises(jb.DtypeError, match="float64"):
        jb.episode_rows(**(EPISODE | wide))


def test_the_errors_are_the_builtin_kinds_that_callers_may_catch():
    for error in (jb.StructureError, jb.ShapeError, jb.MissingFieldError, jb.ConfigurationError):
        assert issubclass(error, ValueError)
    assert issubclass(jb.DtypeError, TypeError)


def test_debug_checks_end_with_their_context():
    replay = jb.Replay(capacity=4, num_envs=None, batch_size=1, view=jb.Items())
    state = replay.init(jnp.float32(0))
    with jb.debug_checks(), jb.debug_checks(False):
        assert not replay.sample(state, jax.random.key(0)).valid
    with pytest.raises(RuntimeError), jb.debug_checks():
        raise RuntimeError
    assert not replay.sample(state, jax.random.key(0)).valid
