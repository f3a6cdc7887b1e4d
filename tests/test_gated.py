"""assert_gated finds every lax.cond that vmap made a select of, with its line, and passes those that were kept."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxbuffers.testing import assert_gated

SEEDS, SIDE = 4, 64  # the arrays of all seeds have 65,536 bytes


def work(x):
    return jnp.sort(x) @ x


def same(x):
    return x


def gated(x, gate):
    return lax.cond(gate, work, same, x)


def switched(x, gate):
    return lax.switch(gate.astype(jnp.int32), [same, work, jnp.negative], x)


def scanned(x, gate):
    return lax.scan(lambda x, _: (gated(x, gate), None), x, None, length=3)[0]


def looped(x, gate):
    return lax.fori_loop(0, 3, lambda _, x: gated(x, gate), x)


def differentiated(x, gate):
    return jax.grad(lambda x: gated(x, gate).sum())(x)


def checkpointed(x, gate):
    return jax.grad(jax.checkpoint(lambda x: gated(x, gate).sum()))(x)


def choosing(x, gate):
    """Selects that were asked for, in branches and outside of them."""
    return lax.cond(gate, lambda x: jnp.where(x > 1, work(x), x), jnp.nan_to_num, lax.select(x > 0, x, -x))


FUNCTIONS = [gated, switched, scanned, looped, differentiated, checkpointed, choosing, jax.jit(scanned)]
functions = pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: f"{type(fn).__name__} {fn.__name__}")


def arrays(*lead):
    return jnp.ones((*lead, SIDE, SIDE)), jnp.ones(lead, jnp.bool_)


@functions
def test_a_cond_whose_condition_all_entries_share_is_kept(fn):
    x, gate = arrays(SEEDS)
    assert_gated(jax.vmap(fn, in_axes=(0, None)), x, gate[0])
    assert_gated(fn, x[0], gate[0])


@functions
def test_a_cond_with_a_condition_of_each_entry_is_lost_and_found(fn):
    x, gate = arrays(SEEDS)
    line = (switched if fn is switched else choosing if fn is choosing else gated).__code__.co_firstlineno
    with pytest.raises(AssertionError, match=rf"test_gated.py:{line + 1 + (fn is choosing)} in \w+ \(") as caught:
        assert_gated(jax.vmap(fn), x, gate)
    assert "the largest of 65536 bytes" in str(caught.value)
    assert "state.adds" in str(caught.value)


def test_a_second_look_at_the_same_functions_finds_the_same():
    """JAX keeps what it traced; a check that listens while it traces would hear nothing."""
    x, gate = arrays(SEEDS)
    mapped = jax.jit(jax.vmap(jax.jit(scanned)))
    mapped(x, gate)
    for _ in range(2):
        with pytest.raises(AssertionError, match="made a select"):
            assert_gated(mapped, x, gate)


def test_each_lost_cond_is_named_and_one_that_is_kept_excuses_none():
    x, gate = arrays(SEEDS)

    def three(x, gate, shared):
        x = lax.cond(gate, work, same, x)
        x = lax.cond(shared, work, same, x)
        return lax.cond(~gate, work, same, x)

    with pytest.raises(AssertionError) as caught:
        assert_gated(jax.vmap(three, in_axes=(0, 0, None)), x, gate, gate[0])
    first = three.__code__.co_firstlineno + 1
    assert [f"test_gated.py:{line} in three" in str(caught.value) for line in range(first, first + 3)] == [1, 0, 1]


def test_small_ones_count_if_asked_for():
    """An environment that resets itself under vmap is a lost cond too, and nobody's mistake."""
    x, gate = arrays(SEEDS)

    def step(x, small, gate, shared):
        return lax.cond(shared, work, same, x), lax.cond(gate, jnp.sort, same, small)

    mapped = jax.vmap(step, in_axes=(0, 0, 0, None))
    args = x, x[:, 0], gate, gate[0]
    assert_gated(mapped, *args)
    assert_gated(mapped, *args, large=SEEDS * SIDE * 4 + 1)
    with pytest.raises(AssertionError, match="made a select"):
        assert_gated(mapped, *args, large=SEEDS * SIDE * 4)


def test_a_program_that_never_branches_is_told_so():
    x, gate = arrays(SEEDS)
    with pytest.raises(AssertionError, match=r"has no lax\.cond\."):
        assert_gated(jax.vmap(work), x)
    with pytest.raises(AssertionError, match=r"has no lax\.cond \(1 became selects between arrays of less than 16384"):
        assert_gated(jax.vmap(lambda x, gate: lax.cond(gate, jnp.sort, same, x)), x[:, 0], gate)
    platform = jax.vmap(lambda x: lax.platform_dependent(x, cpu=work, default=same))
    with pytest.raises(AssertionError, match=r"has no lax\.cond\."):
        assert_gated(platform, x)
    with pytest.raises(AssertionError, match="no conditional is left"):
        assert_gated(jax.vmap(lambda x: lax.cond(jnp.bool_(True), work, same, x)), x)


def test_shapes_are_enough():
    x, gate = jax.eval_shape(lambda: arrays(SEEDS))
    with pytest.raises(AssertionError, match="made a select"):
        assert_gated(jax.vmap(gated), x, gate)
    assert_gated(jax.vmap(gated, in_axes=(0, None)), x, jax.ShapeDtypeStruct((), jnp.bool_))
