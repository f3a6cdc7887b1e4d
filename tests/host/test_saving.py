"""A buffer saved and loaded goes on as if nothing had happened; what is not its own is refused."""

import jax
import numpy as np
import pytest

import jaxbuffers as jb


def buffer(fields=None, table=None, view=None, capacity=8, **options):
    replay = jb.Replay(capacity, None, options.pop("batch_size", 4), view or jb.Items(), **options)
    fields = fields or {"page": jb.text, "x": np.float32, "n": np.int32}
    return jb.HostReplay(replay, fields, table=table, seed=3)


def fill(one, steps):
    for step in range(steps):
        one.insert(page=f"page {step}", x=step / 2, n=step)


def seen(one):
    batch = one.sample(16)
    return batch.text("page"), batch.data["x"].tolist(), batch.data["n"].tolist()


def test_the_draws_go_on_where_they_were():
    first = buffer()
    fill(first, 11)
    seen(first)
    data = first.to_bytes()
    second = buffer(table=first.table)
    second.from_bytes(data)
    for _ in range(3):
        assert seen(second) == seen(first)
        for one in (first, second):
            one.insert(page="new", x=0.25, n=-1)


def test_texts_that_were_overwritten_before_the_save_are_found_by_the_next_sweep():
    first = buffer()
    fill(first, 12)
    data = first.to_bytes()
    second = buffer(table=first.table)
    second.from_bytes(data)
    assert second.sweep() == 4
    assert second.sweep() == 0
    assert set(seen(second)[0]) <= {f"page {step}" for step in range(4, 12)}


RENAMED = {"page": jb.text, "y": np.float32, "n": np.int32}
OTHER_DTYPE = {"page": jb.text, "x": np.int32, "n": np.int32}
NO_TEXT = {"page": np.int32, "x": np.float32, "n": np.int32}
OTHER_SHAPE = {"page": jb.text, "x": np.float32, "n": jax.ShapeDtypeStruct((1,), np.int32)}


@pytest.mark.parametrize("fields", [RENAMED, OTHER_DTYPE, NO_TEXT, OTHER_SHAPE])
def test_other_fields_of_the_same_size_are_refused(fields):
    first = buffer()
    fill(first, 3)
    other = buffer(fields, first.table)
    with pytest.raises(jb.errors.StructureError, match=r"another row.*\n.*page: text, x: float32"):
        other.from_bytes(first.to_bytes())
    assert len(other) == 0


@pytest.mark.parametrize(
    "options", [{"capacity": 9}, {"view": jb.Sequences(2)}, {"sampler": jb.Prioritized(alpha=0.6)}]
)
def test_another_configuration_is_refused_and_another_batch_size_is_not(options):
    first = buffer()
    fill(first, 3)
    with pytest.raises(jb.errors.StructureError, match="another replay"):
        buffer(table=first.table, **options).from_bytes(first.to_bytes())
    other = buffer(table=first.table, batch_size=2)
    other.from_bytes(first.to_bytes())
    assert len(other.sample().text("page")) == 2


def test_windows_of_another_rule_are_refused():
    flags = {"x": np.float32, "is_first": np.bool_, "is_last": np.bool_}
    three, four = (buffer(flags, view=jb.Sequences(n, episodes="within")) for n in (3, 4))
    with pytest.raises(jb.errors.StructureError, match="another replay"):
        four.from_bytes(three.to_bytes())


def test_a_table_without_the_texts_is_refused():
    first, other = buffer(), buffer()
    fill(first, 3)
    with pytest.raises(jb.errors.UnknownTextError):
        other.from_bytes(first.to_bytes())
    assert len(other) == 0


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x80", b"\x81\xa6format\x02"])
def test_bytes_that_are_no_saved_replay_are_refused(data):
    with pytest.raises(jb.errors.StructureError, match=r"no saved replay|format 2"):
        buffer().from_bytes(data)


def test_a_batch_goes_into_jit_as_it_is():
    one = buffer()
    fill(one, 3)
    total = jax.jit(lambda batch: batch.data["x"].sum())(one.sample())
    assert 0 <= float(total) <= 4


def test_what_a_fork_kept_through_the_sweep_after_a_reload_is_freed_once_the_fork_is_gone():
    first = buffer()
    fill(first, 8)
    fork = first.state
    for step in range(8):
        first.insert(page=f"later {step}", x=0, n=step)
    second = buffer(table=first.table)
    second.from_bytes(first.to_bytes())
    assert second.sweep(states=[fork]) == 0
    assert len(second.table) == 16
    assert second.sweep() == 8
    assert set(seen(second)[0]) <= {f"later {step}" for step in range(8)}


def test_a_draw_that_raises_leaves_the_key_as_it_was():
    one, other = buffer(), buffer()
    for _ in range(2):
        with pytest.raises(jb.errors.EmptyReplayError):
            one.sample()
    for each in (one, other):
        fill(each, 8)
    assert seen(one) == seen(other)
