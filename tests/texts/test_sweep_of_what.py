"""What a sweep may be given: everything is looked at before anything is freed, and a stranger is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb


@pytest.fixture
def buffer():
    """A HostReplay of 4 rows, full with "text 2" to "text 5"."""
    buffer = jb.HostReplay(
        jb.Replay(capacity=4, num_envs=None, batch_size=2, view=jb.Items()), {"text": jb.text, "reward": np.float32}
    )
    for i in range(6):
        buffer.insert(text=f"text {i}", reward=i)
    return buffer


def texts(table):
    return table.lookup(table.ids())


def test_a_whole_buffer_is_as_good_as_its_state(buffer):
    assert buffer.table.sweep(buffer) == 2
    assert texts(buffer.table) == [f"text {i}" for i in range(2, 6)]
    assert not buffer._shared, "the next write does not copy for it"


def test_another_buffer_on_the_same_table(buffer):
    other = jb.HostReplay(buffer.replay, {"text": jb.text, "reward": np.float32}, table=buffer.table)
    other.insert(text="text 0", reward=0)
    buffer.table.intern("nobody's")
    assert buffer.sweep(states=other, everything=True) == 2
    assert texts(buffer.table) == ["text 0", *(f"text {i}" for i in range(2, 6))]
    with pytest.raises(jb.errors.StructureError, match=r"states\[1\] has its texts in another table"):
        buffer.table.sweep([buffer, jb.HostReplay(buffer.replay, {"text": jb.text})])
    assert len(buffer.table) == 5


def test_demonstrations():
    demos = jb.Demonstrations(capacity=10, image_features=np.zeros(2, np.float32))
    image = np.zeros(2, np.float32)
    demos.insert(
        observation="a", action="b", next_observation="c", image_features=image, next_image_features=image, reward=0,
        done=True,
    )  # fmt: skip
    demos.buffer.table.intern("nobody's")
    assert demos.buffer.table.sweep({"expert": demos}) == 1
    assert set(texts(demos.buffer.table)) == {"a", "b", "c"}


@pytest.mark.parametrize("kind", [lambda batch: batch, lambda batch: batch.batch], ids=["HostBatch", "Batch"])
@pytest.mark.parametrize("where", ["states", "pins"])
def test_batches_keep_their_texts(buffer, kind, where):
    batch = buffer.sample()
    held = batch.text("text")
    buffer.table.intern("nobody's")
    for i in range(6, 10):
        buffer.insert(text=f"text {i}", reward=0)
    given = {"states": [buffer], "pins": []}
    given[where].append(kind(batch))
    assert buffer.table.sweep(**given) == 11 - 4 - len(set(held))
    assert batch.text("text") == held


def test_rollouts_and_recorders_keep_what_may_be_a_text(table):
    """Their fields bear no marks: every int32 that names a text is taken for one, and any other is let be."""
    rollout = jb.Rollout(num_steps=2, num_envs=2)
    spec = {"page": jnp.int32, "action": jnp.int32, "value": jnp.float32}
    state = rollout.init(**{key: jax.ShapeDtypeStruct((), dtype) for key, dtype in spec.items()})
    ids = table.intern([f"page {i}" for i in range(6)])
    state = rollout.batch_update(state, "page", jnp.asarray(ids[:4].reshape(2, 2)))
    state = rollout.batch_update(state, "action", jnp.array([[-7, 2**31 - 1], [0, 10**9]], jnp.int32))
    state = rollout.batch_update(state, "value", jnp.zeros((2, 2), jnp.float32))
    waiting = jb.Recorder("next_step").init(obs={"page": jnp.asarray(ids[4:5])})
    assert table.sweep([state, waiting]) == 1
    assert texts(table) == [f"page {i}" for i in range(5)]
    flat = rollout.flatten(state)
    assert table.sweep([flat]) == 1
    assert table.sweep([rollout.minibatches(state, jax.random.key(0), 2), jax.tree.map(lambda x: x[None], flat)]) == 0
    assert texts(table) == [f"page {i}" for i in range(4)]


STRANGERS = {
    "an array of ids": (lambda ids: {"a": [None, ids]}, r"states\['a'\]\[1\] is int32\[3\], "),
    "a device array": (lambda ids: {"b": jnp.float32(0)}, r"states\['b'\] is float32\[\], "),
    "a key": (lambda ids: jax.random.key(0), r"states is key<fry>\[\], "),
    "a table": (lambda ids: jb.TextTable(), r"states is a TextTable, "),
    "a number": (lambda ids: (3,), r"states\[0\] is an int, "),
    "what a view reads": (lambda ids: jb.Row(ids, *[None] * 5), r"states.obs is int32\[3\], "),
}


@pytest.mark.parametrize("wrong, message", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_is_refused_by_name_and_nothing_is_freed(opened, replay, wrong, message):
    _, state, add = replay
    table = opened()
    ids = table.intern(["a", "b", "c"])
    with pytest.raises(jb.errors.StructureError, match=message + ".*give its ids as pins"):
        table.sweep(wrong(ids))
    wrapped = message.replace("states", r"states\[1\]", 1)
    with pytest.raises(jb.errors.StructureError, match=wrapped):
        table.sweep([add(state, ids[:1]), wrong(ids)])
    assert len(table) == 3


def test_a_buffer_checks_before_it_frees(buffer):
    for wrong in ([buffer.state, np.zeros(2, np.int32)], np.zeros(2, np.int32), buffer.table):
        for everything in (False, True):
            with pytest.raises(jb.errors.StructureError, match="Nothing was freed"):
                buffer.sweep(states=wrong, everything=everything)
    for wrong in ("ab", np.zeros(2, np.float32), jax.random.key(0)):
        with pytest.raises(jb.errors.DtypeError, match="pins"):
            buffer.sweep(pins=wrong)
    assert len(buffer.table) == 6
    assert buffer.sweep() == 2


def test_a_state_without_text_fields_refers_to_none(table, replay):
    _, state, add = replay
    plain = jb.Replay(capacity=4, num_envs=None, batch_size=2, view=jb.Items()).init({"text": jnp.int32(0)})
    ids = table.intern(["a", "b"])
    assert table.sweep([add(state, ids[:1]), plain]) == 1
    assert table.sweep(plain) == 1


def test_a_sweep_whose_file_cannot_be_read_frees_nothing(tmp_path, opened, replay, monkeypatch):
    _, state, _ = replay
    table = opened(tmp_path / "t.db")
    table.intern([f"{i}" for i in range(1200)])
    table.commit()
    table.intern("pending")
    query, calls = table._store._file.query, []

    def fails(statement, *values):
        calls.append(statement)
        if sum("LENGTH" in call for call in calls) > 1:
            raise jb.errors.TextFileError("disk I/O error")
        return query(statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(table._store._file, "query", fails)
        with pytest.raises(jb.errors.TextFileError):
            table.sweep(state)
    assert len(table) == 1201
    assert table.nbytes == sum(len(text) for text in texts(table))
    assert table.sweep(state) == 1201
