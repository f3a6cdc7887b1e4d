"""What is shared, donated and copied: a state that was handed out, arrays that are written to again."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from host.shells import contents, seen, shell
from jaxbuffers.errors import ConfigurationError, EmptyReplayError, StructureError


def filled(count=6, **options):
    buffer = shell(**options)
    for i in range(count):
        buffer.insert(mission=f"m{i}", notes=[], reward=i)
    return buffer


def rewards(buffer, state=None):
    return [row[2] for row in contents(buffer, state)]


@pytest.mark.parametrize("write", ["insert", "add", "empty", "update"])
def test_a_state_that_was_handed_out_outlives_every_write(write):
    buffer = filled(sampler=jb.Prioritized())
    kept = buffer.state
    before = [np.asarray(leaf).copy() for leaf in jax.tree.leaves(kept)]
    for _ in range(3):
        if write == "insert":
            buffer.insert(mission="new", notes=["new"], reward=9)
        elif write == "add":
            buffer.add({"mission": ["x", "y"], "notes": [[], []], "reward": np.ones(2, np.float32)})
        elif write == "empty":  # the leaves go through the compiled function as they are
            buffer.add({"mission": [], "notes": [], "reward": np.zeros(0, np.float32)})
        else:
            buffer.update(buffer.sample().index, priority=np.ones(2, np.float32))
    buffer.insert(mission="new", notes=["new"], reward=9)
    for one, other in zip(jax.tree.leaves(kept), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_that_nobody_asked_for_is_donated():
    buffer = filled()
    hidden = buffer._state
    buffer.insert(mission="x", notes=[], reward=0)
    buffer.flush()
    assert hidden.ring.words.is_deleted()


def test_a_state_is_copied_once_only():
    buffer = filled()
    buffer.state  # noqa: B018
    buffer.insert(mission="x", notes=[], reward=0)
    hidden = buffer._state
    buffer.insert(mission="x", notes=[], reward=0)
    buffer.flush()
    assert hidden.ring.words.is_deleted()


def test_batches_outlive_the_state_they_came_from():
    buffer = filled()
    batch = buffer.sample(64)
    texts, data = batch.text("mission"), np.asarray(batch.data["reward"]).copy()
    for i in range(9):
        buffer.insert(mission=f"later {i}", notes=[], reward=-1)
    np.testing.assert_array_equal(batch.data["reward"], data)
    assert batch.text("mission") == texts == [f"m{i:.0f}" for i in data]


def test_an_array_may_be_written_to_as_soon_as_insert_returns():
    """JAX on a CPU may read an aligned array where it lies, after the call has returned."""
    size = 2**22
    buffer = shell(fields={"image": jax.ShapeDtypeStruct((size,), np.float32)})
    raw = np.zeros(size + 16, np.float32)
    image = raw[-(raw.ctypes.data // 4) % 16 :][:size]
    for i in range(8):
        image[:] = i
        buffer.insert(image=image)
        image[:] = -1
        newest = jb.Index(np.int32(0), np.int32(i))
        stored = np.asarray(buffer.replay.get(buffer._state, newest)[0]["image"])
        assert (stored.min(), stored.max()) == (i, i)


def test_no_memory_of_the_caller_reaches_the_compiled_functions():
    buffer, given = filled(sampler=jb.Prioritized()), []
    real = buffer._verbs

    def spy(verb):
        return lambda shared: lambda state, *rest: (given.extend(jax.tree.leaves(rest)), verb(shared)(state, *rest))[1]

    buffer._verbs = SimpleNamespace(
        stale=real.stale,
        replaced=real.replaced,
        rewritten=real.rewritten,
        add=spy(real.add),
        add_staged=spy(real.add_staged),
        update=spy(real.update),
    )
    ids, reward, mask = buffer.table.intern(["x"] * 3), np.ones(3, np.float32), np.ones(3, np.bool_)
    for n in (2, 3):  # the first block waits, the second is too large for that
        buffer.add({"mission": ids[:n], "notes": np.stack([ids] * n), "reward": reward[:n]}, mask=mask[:n])
    index = jax.tree.map(np.asarray, buffer.replay.sample(buffer._state, jax.random.key(0)).index)
    buffer.update(index, priority=reward[:2], rows={"mission": ids[:2], "reward": reward[:2]})
    arrays = [leaf for leaf in given if isinstance(leaf, np.ndarray)]
    assert len(arrays) > 8
    for array in arrays:
        assert not any(np.shares_memory(array, mine) for mine in (ids, reward, mask, index.stream, index.time))


def test_a_state_can_be_put_back_also_as_numpy():
    buffer = filled()
    saved = jax.tree.map(np.array, buffer.state)
    other = shell(table=buffer.table)
    other.state = saved
    for leaf in jax.tree.leaves(saved):
        leaf[...] = 0  # its owner goes on using the memory
    assert contents(other) == contents(buffer)
    other.insert(mission="x", notes=[], reward=7)
    assert rewards(other) == [3, 4, 5, 7]
    assert rewards(buffer) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "other, error",
    [
        ({"capacity": 8}, ConfigurationError),
        ({"sampler": jb.Prioritized()}, ConfigurationError),
        ({"view": jb.Sequences(2, period=2)}, ConfigurationError),
        ({"fields": {"x": np.float32}}, StructureError),
        ({"fields": {"mission": np.int32, "notes": jb.text[3], "reward": np.float32}}, StructureError),
        ({"capacity": 8, "num_envs": 2}, ConfigurationError),
    ],
)
def test_a_state_of_another_configuration_is_refused(other, error):
    for buffer, state in ((shell(), shell(**other).state), (shell(**other), shell().state)):
        before = seen(buffer)
        with pytest.raises(error):
            buffer.state = state
        with pytest.raises(StructureError):
            buffer.state = {}
        assert seen(buffer) == before
        assert not buffer._shared


def test_equal_shells_share_programs_and_nothing_else():
    one, two = filled(), filled(3)
    assert one._verbs is two._verbs
    assert (rewards(one), rewards(two)) == ([2, 3, 4, 5], [0, 1, 2])
    assert one.sample().table is not two.sample().table


def test_the_same_seed_draws_the_same():
    draws = [[filled(seed=seed).sample(8).data["reward"].tolist() for _ in range(2)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    buffer = filled()
    assert buffer.sample(8).data["reward"].tolist() != buffer.sample(8).data["reward"].tolist()
    mark = buffer.key
    after = buffer.sample(8).data["reward"].tolist()
    buffer.key = mark
    assert buffer.sample(8).data["reward"].tolist() == after


@pytest.mark.parametrize("prefetch", [0, 1, 2, 3])
def test_batches_come_in_the_order_of_sample_however_many_are_ahead(prefetch):
    plain = filled()
    expected = [plain.sample().data["reward"].tolist() for _ in range(5)]
    for steps in (0, 1, 5):
        found = [batch.data["reward"].tolist() for batch in filled().batches(steps, prefetch=prefetch)]
        assert found == expected[:steps]
    endless = filled().batches(prefetch=prefetch)
    assert [next(endless).data["reward"].tolist() for _ in range(5)] == expected


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_rows_added_meanwhile_are_seen_so_many_batches_later(prefetch):
    buffer, seen_at = filled(), []
    for step, batch in enumerate(buffer.batches(8, batch_size=64, prefetch=prefetch)):
        seen_at.append(bool((batch.data["reward"] == 100).any()))
        assert batch.text("mission") == [f"m{i:.0f}" for i in batch.data["reward"].tolist()]
        if step == 0:
            buffer.insert(mission="m100", notes=[], reward=100)
    assert seen_at == [step > prefetch for step in range(8)]


def test_sampling_without_rows_says_what_to_do_and_works_afterwards():
    buffer = shell()
    for draw in (buffer.sample, lambda: next(buffer.batches(3))):
        with pytest.raises(EmptyReplayError, match=r"Items\(\) among 0 rows; add more first"):
            draw()
    buffer.insert(mission="x", notes=[], reward=1)
    assert buffer.sample().text("mission") == ["x", "x"]


@pytest.mark.parametrize("arguments", [{"steps": -1}, {"steps": 1.0}, {"prefetch": -1}, {"prefetch": None}])
def test_batches_refuses_at_once(arguments):
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        filled().batches(**arguments)


def test_jax_arrays_are_taken_as_they_are():
    buffer = shell()
    rows = {
        "mission": jnp.zeros(2, jnp.int32),
        "notes": jnp.zeros((2, 3), jnp.int32),
        "reward": jnp.ones(2, jnp.float32),
    }
    buffer.add(rows, mask=jnp.array([True, False]))
    assert contents(buffer) == [(None, [None] * 3, 1.0)]
    assert not any(leaf.is_deleted() for leaf in rows.values())
