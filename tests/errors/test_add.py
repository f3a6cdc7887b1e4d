"""Rows, masks and axes that `add` refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from errors.mistakes import ENVS, NARROW, rows, says, zeros


def test_more_rows_than_a_stream_holds_name_both_numbers(replay, state):
    with pytest.raises(jb.errors.ShapeError) as caught:
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
    with pytest.raises(jb.errors.StructureError) as caught:
        replay.add(state, change(rows(ENVS)))
    says(caught, path, "the row given to init()")


WRONG_SHAPES = [(1,), (4,), (2,), (), (3, 1), (1, 3), (3, 3)]


@pytest.mark.parametrize("lead", [(ENVS,), (2, ENVS)], ids=["one row", "many rows"])
@pytest.mark.parametrize("shape", WRONG_SHAPES, ids=str)
def test_every_wrong_axis_of_a_vector_leaf_is_refused_with_its_name(replay, state, shape, lead):
    obs = {"image": zeros((*lead, 3, 5), jnp.uint8), "s": zeros((*lead, *shape))}
    with pytest.raises(jb.errors.ShapeError) as caught:
        replay.add(state, rows(*lead, obs=obs))
    says(caught, "'obs.s'", "(3,)")


@pytest.mark.parametrize("shape", [(1, 5), (3, 1), (1, 1), (5, 3), (15,), (3, 5, 1), (2, 5), (3, 4), (5,), ()], ids=str)
def test_every_wrong_axis_of_a_matrix_leaf_is_refused_with_its_name(replay, state, shape):
    obs = {"image": zeros((ENVS, *shape), jnp.uint8), "s": zeros((ENVS, 3))}
    with pytest.raises(jb.errors.ShapeError) as caught:
        replay.add(state, rows(ENVS, obs=obs))
    says(caught, "'obs.image'", "(3, 5)")


@pytest.mark.parametrize("lead", [(), (1,), (3,), (ENVS, 1), (1, 1, ENVS), (2, 3)], ids=str)
def test_wrong_leading_axes_are_refused_and_never_broadcast(replay, state, lead):
    with pytest.raises(jb.errors.ShapeError) as caught:
        replay.add(state, rows(*lead))
    says(caught, "[2, ...] or [N, 2, ...]", str(lead))


def test_leaves_that_disagree_on_leading_axes_are_both_named(replay, state):
    with pytest.raises(jb.errors.ShapeError) as caught:
        replay.add(state, rows(ENVS, reward=zeros((1, ENVS))))
    says(caught, "'action' has (2,)", "'reward' has (1, 2)")


def test_an_environment_axis_where_there_is_none_is_refused():
    replay = jb.Replay(capacity=4, num_envs=None, view=jb.Items())
    with pytest.raises(jb.errors.ShapeError) as caught:
        replay.add(replay.init(zeros(3)), zeros((1, 2, 3)))
    says(caught, "num_envs=None", "(1, 2)")


@pytest.mark.parametrize("dtype", ["int8", "float16", "bool", "int32", "complex64"])
def test_another_dtype_is_never_cast(replay, state, dtype):
    with pytest.raises(jb.errors.DtypeError) as caught:
        replay.add(state, rows(ENVS, reward=zeros(ENVS, dtype)))
    says(caught, "leaf 'reward'", dtype, "expected float32", "astype('float32')")


@pytest.mark.parametrize(
    "leaf",
    [0.0, [0.0, 0.0], "text", np.array([None, None]), jax.random.split(jax.random.key(0))],
    ids=["scalar", "list", "str", "object array", "typed keys"],
)
def test_leaves_that_are_not_arrays_are_refused_by_add(replay, state, leaf):
    with pytest.raises((jb.errors.DtypeError, jb.errors.StructureError, jb.errors.ShapeError)) as caught:
        replay.add(state, rows(ENVS, reward=leaf))
    says(caught, "reward")


@pytest.mark.skipif(not NARROW, reason="these dtypes are legal with 64-bit types")
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_wide_numpy_rows_are_not_cut_in_silence(replay, state, dtype):
    with pytest.raises(jb.errors.DtypeError, match=r"leaf 'reward' has dtype (float64|int64)"):
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
    error = jb.errors.ShapeError if getattr(mask, "dtype", None) == np.bool_ else jb.errors.DtypeError
    with pytest.raises(error) as caught:
        replay.add(state, rows(ENVS), mask=mask)
    says(caught, "mask must be a bool array of shape [2]")


def test_the_same_errors_come_under_jit(replay, state):
    with pytest.raises(jb.errors.ShapeError, match=r"'obs\.s'"):
        jax.jit(replay.add)(state, rows(ENVS, obs={"image": zeros((ENVS, 3, 5), jnp.uint8), "s": zeros((ENVS, 1))}))
