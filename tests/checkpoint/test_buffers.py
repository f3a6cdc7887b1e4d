"""Buffers of Python loops: saved and loaded with their texts, and bit for bit in what they draw next."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb

from .same import assert_same

REPLAY = jb.Replay(8, None, 2, jb.Items(), jb.Prioritized())
TEXTS = ("observation", "action", "next_observation")
FIELDS = {"obs": jb.text, "messages": jb.text[2], "reward": np.float32}


def buffer_of(replay=REPLAY, rows=0, **options):
    buffer = jb.HostReplay(replay, FIELDS, **options)
    for i in range(rows):
        buffer.insert(obs=f"text {i % 5}", messages=["é \ud800", None], reward=i / 3)
    return buffer


def go_on(buffer, batches):
    """What a loop does, and all that it sees."""
    seen = []
    for i in range(4):
        buffer.insert(obs=f"later {i}", messages=["a", "b"], reward=i)
        batch = next(batches)
        seen += [batch["obs"], batch["messages"], jax.tree.map(np.asarray, (batch.data["reward"], batch.index))]
        buffer.update(batch.index, priority=jnp.abs(batch.data["reward"]) + 1, stale="drop")
    drawn = buffer.sample(3)
    return [*seen, drawn["obs"], np.asarray(drawn.probability), np.asarray(jax.random.key_data(buffer.key))]


def texts_of(table):
    ids = table.ids()
    return dict(zip(ids.tolist(), table.lookup(ids), strict=True))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_loaded_buffer_goes_on_bit_for_bit_also_where_batches_were_drawn_ahead(tmp_path, prefetch):
    one = buffer_of(rows=11)
    mine = one.batches(prefetch=prefetch)
    next(mine)
    one.save(tmp_path / "run", metadata={"step": 11})
    other = buffer_of(seed=7)
    other.load(tmp_path / "run")
    assert texts_of(other.table) == texts_of(one.table)
    assert_same(other.state, one.state)
    theirs = other.batches(prefetch=prefetch)
    for a, b in zip(go_on(one, mine), go_on(other, theirs), strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    assert jb.checkpoint.restore(tmp_path / "run", buffer_of()).metadata == {"step": 11}


def three(buffer):
    return [buffer.batches(prefetch=2), buffer.batches(batch_size=5, prefetch=1, batches=3), buffer.batches(prefetch=0)]


def test_several_iterators_go_on_in_the_order_in_which_they_were_made(tmp_path):
    one = buffer_of(rows=8)
    mine = three(one)
    for _ in range(2):
        [next(each) for each in mine]
    one.save(tmp_path / "run")
    early, late = buffer_of(), buffer_of(seed=5)
    before = three(early)
    for buffer in (early, late):
        buffer.load(tmp_path / "run")
    after = three(late)
    for _ in range(4):
        for a, b, c in zip(mine, before, after, strict=True):
            expected = next(a)
            for found in (next(b), next(c)):
                assert_same(found.batch, expected.batch)
                assert found["obs"] == expected["obs"]


def test_batches_of_a_store_that_are_read_meanwhile_are_not_the_buffers(tmp_path):
    store = jb.EpisodeStore()
    store.add_episode({"x": np.arange(3, dtype=np.int32)})
    with store.batches(jb.Items(), 2) as batches:
        next(batches)
        buffer = buffer_of(rows=3)
        buffer.save(tmp_path / "run")
        buffer.load(tmp_path / "run")
        next(batches)
    assert len(buffer) == 3


def test_an_iterator_of_another_size_is_refused_instead_of_losing_batches(tmp_path):
    one = buffer_of(rows=8)
    mine = one.batches(prefetch=1)
    next(mine)
    one.save(tmp_path / "run")
    other = buffer_of()
    other.load(tmp_path / "run")
    with pytest.raises(jb.errors.ConfigurationError, match="had batches of 2, this one has batches of 3"):
        other.batches(batch_size=3)
    with pytest.raises(jb.errors.ConfigurationError, match="had batches of 2, this one has batches of 2, 4 in each"):
        other.batches(batches=4)
    assert_same(next(other.batches(prefetch=1)).batch, next(mine).batch)
    third = buffer_of(rows=1)
    held = third.batches(batch_size=3)
    with pytest.raises(jb.errors.ConfigurationError, match="had batches of 2, this one has batches of 3"):
        third.load(tmp_path / "run")
    assert len(third) == 1
    del held


def test_batches_ahead_that_were_not_yet_given_stay_ahead_in_a_second_save(tmp_path):
    one = buffer_of(rows=8)
    mine = one.batches(prefetch=2)
    next(mine)
    one.save(tmp_path / "run")
    other = buffer_of()
    other.load(tmp_path / "run")
    other.save(tmp_path / "again")
    third = buffer_of()
    third.load(tmp_path / "again")
    theirs = third.batches(prefetch=2)
    for _ in range(4):
        assert_same(next(theirs).batch, next(mine).batch)


def test_a_draw_that_found_nothing_is_taken_back_after_a_load_as_before(tmp_path):
    replay = jb.Replay(8, None, 4, jb.Items(), jb.WithoutReplacement())
    one = buffer_of(replay, rows=5)
    mine = one.batches(prefetch=3)
    next(mine)
    one.save(tmp_path / "run")
    other = buffer_of(replay)
    other.load(tmp_path / "run")
    theirs = other.batches(prefetch=3)
    for _ in range(3):
        results = []
        for batches in (mine, theirs):
            try:
                results.append(next(batches)["obs"])
            except jb.errors.EmptyReplayError:
                results.append("empty")
        assert results[0] == results[1]
    assert_same(other.key, one.key)


def test_another_view_other_fields_or_another_table_are_refused_and_nothing_changes(tmp_path):
    buffer_of(rows=5).save(tmp_path / "run")
    others = [
        (buffer_of(jb.Replay(8, None, 2, jb.Items(), jb.Uniform()), rows=1), jb.errors.ConfigurationError, "sampler"),
        (
            buffer_of(jb.Replay(16, None, 2, jb.Items(), jb.Prioritized()), rows=1),
            jb.errors.ConfigurationError,
            "refill",
        ),
        (jb.HostReplay(REPLAY, {"obs": jb.text}), jb.errors.ConfigurationError, "row: saved has"),
        (
            jb.HostReplay(jb.Replay(8, None, 2, jb.Sequences(1), jb.Prioritized()), FIELDS),
            jb.errors.ConfigurationError,
            "view Items",
        ),
        (jb.Demonstrations(8), jb.errors.StructureError, "a HostReplay at ''; here is a Demonstrations"),
    ]
    for other, error, words in others:
        before = other.to_bytes()
        with pytest.raises(error, match=words):
            other.load(tmp_path / "run")
        assert other.to_bytes() == before


def test_keys_of_other_kinds_come_back(tmp_path):
    for name, key in {"raw": jax.random.PRNGKey(3), "rbg": jax.random.key(3, impl="rbg")}.items():
        one, other = buffer_of(rows=3), buffer_of()
        one.key = key
        one.save(tmp_path / name)
        other.load(tmp_path / name)
        assert_same(other.key, key)
        assert one.sample()["obs"] == other.sample()["obs"]


def steps_of(n, done):
    feature = [np.full(3, i, np.float32) for i in range(n + 1)]
    return [
        {
            "observation": f"seen {i}", "action": f"do {i}", "next_observation": f"seen {i + 1}", "reward": i / 7,
            "done": done and i == n - 1, "image_features": feature[i], "next_image_features": feature[i + 1],
        }
        for i in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize("mc_return", [False, True])
def test_demonstrations_keep_the_trajectory_that_is_open(tmp_path, mc_return):
    one, other = (jb.Demonstrations(50, image_features=(3,), seed=seed) for seed in (0, 9))
    one.insert_trajectory(steps_of(4, done=True))
    steps = [step | ({"mc_return": 0.5} if mc_return else {}) for step in steps_of(5, done=True)]
    for step in steps[:3]:
        one.insert(**step)
    mine = one.batches()
    next(mine)
    one.save(tmp_path / "run")
    other.load(tmp_path / "run")
    assert (len(other), other.open_steps) == (4, 3)
    theirs = other.batches()
    for demos in (one, other):
        for step in steps[3:]:
            demos.insert(**step)
    assert len(one) == len(other) == 9
    for _ in range(5):
        a, b = next(mine), next(theirs)
        for name in TEXTS:  # new ones have other ids in one process
            assert a[name] == b[name]
        assert_same({**a.batch.data, **dict.fromkeys(TEXTS)}, {**b.batch.data, **dict.fromkeys(TEXTS)})
        assert_same((a.batch.index, a.batch.probability), (b.batch.index, b.batch.probability))
    assert one.sample()["next_observation"] == other.sample()["next_observation"]
    with pytest.raises(jb.errors.ConfigurationError, match="saved from other demonstrations"):
        jb.Demonstrations(50, image_features=(3,), gamma=0.5).load(tmp_path / "run")


def test_buffers_and_arrays_in_one_checkpoint(tmp_path):
    tree = {"buffer": buffer_of(rows=3), "demos": jb.Demonstrations(10), "step": 3}
    jb.checkpoint.save(tmp_path / "run", tree)
    fresh = {"buffer": buffer_of(), "demos": jb.Demonstrations(10), "step": 0}
    found = jb.checkpoint.restore(tmp_path / "run", fresh).tree
    assert (found["step"], len(found["buffer"])) == (3, 3)
    with pytest.raises(jb.errors.StructureError, match="holds 'demos', a Demonstrations; it is not here"):
        jb.checkpoint.restore(tmp_path / "run", {"buffer": buffer_of(), "step": 0})


def test_a_buffer_is_saved_in_the_background_while_the_loop_writes_to_it(tmp_path):
    one, other = buffer_of(rows=5), buffer_of()
    expected = one.to_bytes()
    with jb.checkpoint.Manager(tmp_path) as manager:
        manager.save(1, {"buffer": one}, background=True)
        for i in range(20):
            one.insert(obs=f"more {i}", messages=["a", "b"], reward=0.0)
        manager.wait()
        manager.restore({"buffer": other})
    assert other.to_bytes() == expected
