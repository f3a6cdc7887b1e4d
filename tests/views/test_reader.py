"""What a view that wraps another may rely on: the order of edits, rows before others, rows as stored, its own bits."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from oracle import check, quick_jit, read_all, rows_of

import jaxbuffers as jb
from jaxbuffers.numerics.random_bits import bits64
from jaxbuffers.views.base import Reader, View


@dataclass(frozen=True)
class Changed(jb.WrappingView):
    """Observations times ``by`` plus ``plus``: the order of two such edits shows."""

    view: View
    by: float
    plus: float

    def read(self, reader: Reader) -> Any:
        def edit(read, index):
            rows = read(index)
            return rows.replace(obs=rows.obs * self.by + self.plus)

        return self.view.read(reader.edited(edit))


@dataclass(frozen=True)
class Probe(View):
    """Whatever a function of the reader returns, for windows of one row."""

    function: Any
    rows_before: int = 0
    required = 1

    @property
    def history(self) -> int:
        return self.rows_before

    def read(self, reader: Reader) -> Any:
        return self.function(reader), jb.Items().read(reader)[1]


def test_the_edit_of_the_inner_view_comes_first():
    view = Changed(Changed(jb.Items(), 2.0, 0.0), 1.0, 1.0)  # of 10 the inner one makes 20, of that the outer one 21
    check(read_all(view, rows_of("F.")).data.obs, [21, 23])
    view = Changed(Changed(jb.Items(), 1.0, 1.0), 2.0, 0.0)
    check(read_all(view, rows_of("F.")).data.obs, [22, 24])


def test_an_edit_that_reshapes_comes_after_all_that_do_not_wherever_it_stands():
    rows = rows_of("F..")
    for view in (
        jb.FrameStack(Changed(jb.Items(), 2.0, 1.0), 2),
        Changed(jb.FrameStack(jb.Items(), 2), 2.0, 1.0),
    ):
        check(read_all(view, rows).data.obs, [[21, 21], [21, 23], [23, 25]])


def test_stored_rows_are_read_without_edits():
    def both(reader):
        def edit(read, index):
            return read(index).replace(obs=jnp.zeros(index.time.shape))

        index = reader.index([0])
        changed = reader.edited(edit)
        return changed.rows(index).obs, changed.stored(index).obs

    edited, stored = read_all(Probe(both), rows_of("F..")).data
    check(edited, [[0], [0], [0]])
    check(stored, [[10], [11], [12]])


def test_rows_before_are_addressed_where_they_are_present():
    def before(reader):
        index = reader.index([0, 1])
        frames = reader.before(index, 2)
        return frames.time, reader.stored(frames).obs

    # A ring of 4 after 6 rows: 2 to 5 are there; the row after the newest is not, nor are rows before it.
    times, obs = read_all(Probe(before), rows_of("F....."), length=4).data
    check(
        times,
        [
            [[-1, -1, 2], [-1, 2, 3]],
            [[-1, 2, 3], [2, 3, 4]],
            [[2, 3, 4], [3, 4, 5]],
            [[3, 4, 5], [-1, -1, -1]],
        ],
    )
    check(obs, np.where(times >= 0, times + 10, 0))
    times, _ = read_all(Probe(before), rows_of("F.")).data
    check(times, [[[-1, -1, 0], [-1, 0, 1]], [[-1, 0, 1], [-1, -1, -1]]])


def test_rows_that_are_history_only_are_not_addressed_but_found_before_others():
    def look(reader):
        return reader.index([-2, -1, 0]).time, reader.before(reader.index([0]), 2).time[:, 0]

    batch = read_all(Probe(look, rows_before=2), rows_of("F....."), length=4)
    offsets, before = batch.data
    check(batch.index.time, [4, 5])
    check(offsets, [[-1, -1, 4], [-1, 4, 5]])
    check(before, [[2, 3, 4], [3, 4, 5]])


def test_the_bits_of_a_view_are_its_own():
    """As many as it asks for, the same in every call, of the key, and none that a sampler draws with the same key."""
    key = jax.random.key(5)
    reader = Reader(None, None, key)
    high, low = jax.tree.map(np.asarray, reader.bits(64))
    assert high.dtype == low.dtype == np.uint32
    assert len({*high.tolist(), *low.tolist()}) == 128
    check(reader.bits(64)[0], high)
    check(reader.bits(16)[0], high[:16])
    mine = {*zip(high.tolist(), low.tolist(), strict=True)}
    drawn = jax.tree.map(np.asarray, quick_jit(bits64, static_argnums=1)(key, 4096))
    assert not mine & {*zip(*(x.tolist() for x in drawn), strict=True)}
    other = replace(reader, key=jax.random.key(6)).bits(64)
    assert not mine & {*zip(*(np.asarray(x).tolist() for x in other), strict=True)}
