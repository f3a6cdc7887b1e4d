"""Whole episodes: which are legal, what is read, by hand-written examples and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, check, each_of, fits, quick_jit, read_all, rows_of

import jaxbuffers as jb


def test_an_episode_is_read_whole_and_padded_with_zeros_that_have_no_row():
    batch = read_all(jb.Episodes(4), rows_of("F..LF.T", [float("nan")] * 7))
    check(batch.data.rows.obs, [[10, 11, 12, 13], [14, 15, 16, 0]])
    check(batch.data.rows.is_terminal, [[0, 0, 0, 0], [0, 0, 1, 0]])
    check(batch.index.time, [[0, 1, 2, 3], [4, 5, 6, -1]])
    check(batch.data.length, [4, 3])
    assert batch.data.length.dtype == np.int32
    for leaf in jax.tree.leaves(batch.data.rows):
        assert not leaf[~batch.mask].any()


def test_an_episode_is_legal_from_its_last_row_on():
    replay = jb.Replay(8, None, 8, jb.Episodes(4), Every())
    rows = rows_of("F.LBF..L")
    add, count = quick_jit(replay.add), quick_jit(replay.count)
    state, seen = replay.init(jax.tree.map(lambda x: x[0], rows)), []
    for step in range(8):
        state = add(state, jax.tree.map(lambda x, step=step: x[step], rows))
        seen.append(int(count(state)))
    assert seen == [0, 0, 1, 2, 2, 2, 2, 3]


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_episodes_of_one_row_are_episodes():
    batch = read_all(jb.Episodes(2), rows_of("BBF.B"))
    check(batch.data.rows.obs, [[10, 0], [11, 0], [14, 0]])
    check(batch.data.length, [1, 1, 1])


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_an_episode_abandoned_without_is_last_is_never_legal():
    check(read_all(jb.Episodes(5), rows_of("F..F.LF.F")).index.time, [[3, 4, 5, -1, -1]])
    assert not read_all(jb.Episodes(5), rows_of("F..F.")).valid


def test_a_row_after_is_last_and_the_first_row_of_a_stream_open_an_episode_without_is_first():
    check(read_all(jb.Episodes(3), rows_of("..L.L")).index.time, [[0, 1, 2], [3, 4, -1]])


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_an_episode_that_has_lost_its_first_row_is_not_legal():
    batch = read_all(jb.Episodes(3), rows_of("F.LF.LF.L"), length=5)
    check(batch.index.time, [[6, 7, 8]])
    check(read_all(jb.Episodes(3), rows_of("F.LF.LF.L"), length=6).index.time, [[3, 4, 5], [6, 7, 8]])


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_a_ring_exactly_as_long_as_the_longest_episode_holds_it():
    check(read_all(jb.Episodes(4), rows_of("F.LF..L"), length=4).data.rows.obs, [[13, 14, 15, 16]])
    assert not read_all(jb.Episodes(4), rows_of("F.LF..L."), length=4).valid


def test_an_episode_too_long_is_never_drawn_and_counted_once_it_ends():
    replay = jb.Replay(12, 2, 12, jb.Episodes(2), Every())
    left, right = rows_of("F.LFLF...L"), rows_of("F.F..LBF..")  # an abandoned one never ends: not counted
    rows = jax.tree.map(lambda *x: np.stack(x, axis=1), left, right)
    state = quick_jit(replay.add)(
        replay.init(jax.tree.map(lambda x: x[0, 0], rows)), jax.tree.map(lambda x: x[:6], rows)
    )
    check(state.windows.too_long, [1, 1])
    state = quick_jit(replay.add)(state, jax.tree.map(lambda x: x[6:], rows))
    check(state.windows.too_long, [2, 1])
    batch = quick_jit(replay.sample)(state, jax.random.key(0))
    check(batch.index.time[batch.mask], [6])  # row 6 of the right stream: "FL" of the left one is overwritten


def test_the_count_of_episodes_too_long_is_that_of_a_plain_loop_with_any_mask_and_block():
    rng, (cases, steps, block, streams) = np.random.default_rng(0), (64, 8, 3, 2)
    shape = (cases, steps, block, streams)
    first, last, mask = rng.random(shape) < 0.15, rng.random(shape) < 0.25, rng.random(shape) < 0.7
    replay = jb.Replay(8, streams, 1, jb.Episodes(3))
    no = np.False_

    def run(first, last, mask):
        def step(state, rows):
            return replay.add(state, {"is_first": rows[0], "is_last": rows[1]}, rows[2]), None

        state = replay.init({"is_first": no, "is_last": no})
        return jax.lax.scan(step, state, (first, last, mask))[0].windows.too_long

    want = np.zeros((cases, streams), int)
    for case in range(cases):
        for stream in range(streams):
            written = mask[case, ..., stream].reshape(-1)
            opens, rows = True, 0
            for begins, ends in zip(
                first[case, ..., stream].reshape(-1)[written], last[case, ..., stream].reshape(-1)[written], strict=True
            ):
                rows = 1 if opens or begins else rows + 1
                want[case, stream] += ends and rows > 3
                opens = ends
    assert want.sum() > 50
    check(each_of(run)(first, last, mask), want)


def test_episodes_are_equally_likely_however_long():
    rows = jax.tree.map(lambda *x: np.stack(x, axis=1), rows_of("BF.LF..LF"), rows_of("F.LF..F.L"))
    replay = jb.Replay(18, 2, 4000, jb.Episodes(4))
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0, 0], rows)), rows)
    batch = jax.tree.map(np.asarray, quick_jit(replay.sample)(state, jax.random.key(0)))
    check(batch.probability, np.full(4000, 0.2, np.float32))
    episodes = [(0, 0), (0, 1), (0, 4), (1, 0), (1, 6)]
    begin = list(zip(batch.index.stream[:, 0].tolist(), batch.index.time[:, 0].tolist(), strict=True))
    counts = np.array([begin.count(episode) for episode in episodes])
    assert counts.sum() == 4000
    by_stream = np.array([1 / 6, 1 / 6, 1 / 6, 1 / 4, 1 / 4])
    fits(counts, np.full(5, 0.2), {"by rows": np.array([1, 3, 4, 3, 3]) / 14, "streams first": by_stream})


def test_values_are_written_back_to_the_rows_of_an_episode_and_not_to_its_padding():
    rows = rows_of("F.LF...")
    replay = jb.Replay(8, None, 1, jb.Episodes(5))
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
    everything = jb.Index(jnp.zeros(7, jnp.int32), jnp.arange(7, dtype=jnp.int32))

    @quick_jit
    def write(state):
        index = replay.sample(state, jax.random.key(0)).index
        state = replay.update(state, index, rows={"obs": jnp.arange(100, 105, dtype=jnp.float32)[None]})
        return replay.get(state, everything)[0].obs, state.dropped

    written, dropped = write(state)
    check(written, [100, 101, 102, 13, 14, 15, 16])
    check(dropped, 0)


def test_a_ring_shorter_than_the_longest_episode_is_refused_with_the_size_needed():
    jb.Replay(12, 2, 1, jb.Episodes(6))
    with pytest.raises(jb.errors.ConfigurationError, match="at least 12"):
        jb.Replay(10, 2, 1, jb.Episodes(6))


@pytest.mark.parametrize("longest", [0, -1, 2.0, True, None])
def test_an_impossible_length_is_refused(longest):
    with pytest.raises(jb.errors.ConfigurationError, match="max_length"):
        jb.Episodes(longest)


@pytest.mark.parametrize("missing", ["is_first", "is_last"])
def test_a_row_without_the_flags_of_episodes_is_refused_by_name(missing):
    row = {"obs": np.float32(0), "is_first": np.False_, "is_last": np.False_}
    del row[missing]
    with pytest.raises(jb.errors.MissingFieldError, match=repr(missing)):
        jb.Replay(8, None, 1, jb.Episodes(2)).init(row)


@pytest.mark.parametrize("flag", ["is_first", "is_last"])
@pytest.mark.parametrize("value", [np.int32(0), np.zeros(1, bool)], ids=["int32", "bool[1]"])
def test_a_flag_that_is_not_one_bool_is_refused_by_name(flag, value):
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(**{flag: value})
    with pytest.raises((jb.errors.DtypeError, jb.errors.ShapeError), match=flag):
        jb.Replay(8, None, 1, jb.Episodes(2)).init(row)


def test_a_state_of_episodes_of_another_length_is_refused():
    row = jax.tree.map(lambda x: x[0], rows_of("F"))
    state = jb.Replay(8, None, 1, jb.Episodes(3)).init(row)
    with pytest.raises(jb.errors.ConfigurationError, match="another configuration"):
        jb.Replay(8, None, 1, jb.Episodes(4)).sample(state, jax.random.key(0))
