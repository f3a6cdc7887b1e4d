"""Rows that wait and a small batch are one program: bit for bit what adding, then sampling gives."""

import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from contract.catalog import EVERYTHING, favour_new, show
from tier import budget, long_but

import jaxbuffers as jb
from benchmarks.compiled import large_arrays
from host.staged import assert_alike, bits
from host.test_staging_states import ROW, SOME, VIEWS, row
from jaxbuffers.errors import EmptyReplayError, ShapeError, StructureError
from jaxbuffers.host import programs
from jaxbuffers.host.verbs import Drawing

ITEMS = jb.Replay(capacity=600, num_envs=None, batch_size=4, view=jb.Items())
STEPS = budget(25, 200)
# Of mixtures, what each sampler remembers, draws and is told is in one state, one batch and one program.
WITHIN = jb.Sequences(3, episodes="within")
KINDS = [(WITHIN, SOME), (WITHIN, jb.Uniform()), (WITHIN, jb.Weighted(favour_new, replace=True))]
KINDS += [(WITHIN, jb.OnlineFirst(EVERYTHING)), *((view, jb.Uniform()) for view in VIEWS)]


def noting(buffer):
    """Let every program that adds or draws be noted."""
    real, calls = buffer._verbs, []

    def add_and_sample(*kind):
        calls.append("both")
        return real.add_and_sample(*kind)

    def sample(drawing):
        calls.append("sample")
        return real.sample(drawing)

    def add_staged(shared):
        calls.append("add")
        return real.add_staged(shared)

    names = ("update", "stale", "add", "replaced", "rewritten")
    buffer._verbs = SimpleNamespace(
        **{name: getattr(real, name) for name in names},
        add_and_sample=add_and_sample,
        sample=sample,
        add_staged=add_staged,
    )
    return calls


@pytest.mark.parametrize(("view", "sampler"), long_but(KINDS, quick=[0, 1, 2]), ids=show)
def test_one_program_gives_the_state_the_batch_and_the_key_that_two_give(view, sampler):
    replay = jb.Replay(capacity=22, num_envs=2, batch_size=3, view=view, sampler=sampler)
    ours, theirs = (jb.HostReplay(replay, ROW, seed=5) for _ in range(2))
    calls, dice, states = noting(ours), np.random.default_rng(0), []
    for step in range(STEPS):
        for _ in range(dice.integers(1, 4)):
            rows, mask = row(dice), dice.random(2) < 0.7 if dice.random() < 0.4 else None
            for buffer in (ours, theirs):
                buffer.add(rows, mask)
        theirs.flush()
        batches = None if dice.random() < 0.7 else 2
        try:
            expected = theirs.sample(batches=batches)
        except EmptyReplayError:
            with pytest.raises(EmptyReplayError):
                ours.sample(batches=batches)
        else:
            found = ours.sample(batches=batches)
            assert bits(found.batch) == bits(expected.batch)
            if batches is None:
                priority = dice.random(3).astype(np.float32) if sampler.takes_priority else None
                for buffer in (ours, theirs):
                    buffer.update(found.index, priority=priority, stale="drop")
        assert_alike(ours, theirs)
        if step % 5 == 0:
            states.append((ours.state, theirs.state))
    assert calls.count("both") > STEPS * 3 // 4
    for one, other in states:
        assert bits(one) == bits(other), "a state that was handed out has been written to"


def test_texts_that_are_overwritten_are_known_to_the_next_sweep():
    replay = jb.Replay(capacity=3, num_envs=None, batch_size=2, view=jb.Items())
    buffer = jb.HostReplay(replay, {"text": jb.text})
    calls = noting(buffer)
    for i in range(5):
        buffer.insert(text=f"t{i}")
        assert set(buffer.sample(16).text("text")) <= {f"t{j}" for j in range(max(i - 2, 0), i + 1)}
    assert calls == ["both"] * 5
    assert buffer.sweep() == 2
    assert len(buffer.table) == 3


def test_many_rows_and_large_batches_take_two_programs():
    buffer = jb.HostReplay(ITEMS, {"x": jax.ShapeDtypeStruct((64,), np.float32)})
    calls = noting(buffer)
    for rows, size, expected in ((1, 4, ["both"]), (8, 4, ["both"]), (9, 4, ["sample", "add"])):
        for _ in range(rows):
            buffer.insert(x=np.zeros(64, np.float32))
        buffer.sample(size)
        assert calls == expected
        calls.clear()
    buffer.insert(x=np.zeros(64, np.float32))
    buffer.sample(4, batches=programs.SMALL // (64 * 4 * 4))
    assert calls == ["sample", "add"]


@pytest.mark.parametrize("batches", [None, 2])
def test_without_a_window_the_rows_stay_and_the_key_goes_back(batches):
    replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, view=jb.Sequences(3))
    buffer = jb.HostReplay(replay, {"x": np.float32})
    key = bits(jax.random.key_data(buffer.key))
    for i in range(2):
        buffer.insert(x=i)
        with pytest.raises(EmptyReplayError, match="no legal window"):
            buffer.sample(batches=batches)
        assert bits(jax.random.key_data(buffer.key)) == key
        assert len(buffer) == i + 1
        assert int(buffer._added.adds) == i + 1
    buffer.insert(x=2)
    batch = buffer.sample(batches=batches)
    assert np.asarray(batch.data["x"]).reshape(-1, 3).tolist() == [[0, 1, 2]] * 2 * (batches or 1)


def test_a_program_that_fails_leaves_everything_as_it_was():
    replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, sampler=jb.Weighted(favour_new))
    buffer = jb.HostReplay(replay, {"x": np.float32})
    buffer.insert(x=1)
    buffer.insert(x=2)
    key = bits(jax.random.key_data(buffer.key))
    with pytest.raises(ShapeError):
        buffer.sample(9)
    with pytest.raises(StructureError, match="inside a jitted function"):
        jax.jit(lambda: buffer.sample().batch.probability)()
    assert bits(jax.random.key_data(buffer.key)) == key
    assert len(buffer) == 2
    assert sorted(buffer.sample().data["x"].tolist()) == [1, 2]


def test_a_handler_that_draws_in_the_middle_waits_for_its_turn():
    buffer, twin = (jb.HostReplay(ITEMS, {"x": np.float32}, seed=1) for _ in range(2))
    drawn, real = [], buffer._verbs
    for each in (buffer, twin):
        each.insert(x=1)
        each.insert(x=2)

    def interrupting(*kind):
        signal.raise_signal(signal.SIGTERM)
        return real.add_and_sample(*kind)

    buffer._verbs = SimpleNamespace(sample=real.sample, add_and_sample=interrupting)
    before = signal.signal(signal.SIGTERM, lambda *_: drawn.append(buffer.sample()))
    try:
        drawn.insert(0, buffer.sample())
    finally:
        signal.signal(signal.SIGTERM, before)
    first, second = drawn
    assert [bits(second.batch), bits(first.batch)] == [bits(twin.sample().batch) for _ in range(2)][::-1]


@pytest.mark.parametrize("option", [{"xla_no_such_option": "1"}, {"xla_cpu_scheduler_type": "NO_SUCH_TYPE"}])
def test_where_xla_lacks_the_option_programs_are_compiled_without_it(monkeypatch, option):
    monkeypatch.setattr(programs, "_IN_TURN", option)
    assert programs.in_turn.__wrapped__() is None


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("rows", [1, 8])
def test_the_ring_is_updated_in_place(rows):
    replay = jb.Replay(capacity=4096, num_envs=None, batch_size=4, view=jb.Transitions(), sampler=jb.Prioritized())
    fields = jb.Row(obs=jax.ShapeDtypeStruct((200,), np.float32), reward=np.float32, action=np.int32,
                    is_first=np.bool_, is_last=np.bool_, is_terminal=np.bool_)  # fmt: skip
    buffer = jb.HostReplay(replay, fields)
    obs = np.zeros(200, np.float32)
    for _ in range(rows):
        buffer.insert(obs=obs, reward=0.0, action=0, is_first=False, is_last=False, is_terminal=False)
    program = buffer._verbs.add_and_sample(False, Drawing(4))
    text = program.lower(buffer._key.words, buffer._added, buffer._staging.block()).compile().as_text()
    assert not list(large_arrays(text, 4096))
    assert list(large_arrays(text, 16))


@pytest.mark.parametrize(("flag", "value"), [(jax.debug_nans, np.nan), (jax.debug_infs, np.inf)])
def test_what_jax_looks_for_in_a_batch_and_finds_does_not_cost_the_state(flag, value):
    """It looks once the program has run: then a state that was donated to it is gone."""
    buffer = jb.HostReplay(ITEMS, {"x": np.float32})
    buffer.insert(x=1)
    buffer.sample(64)
    buffer.insert(x=np.float32(value))
    with flag(True), pytest.raises(FloatingPointError):
        buffer.sample(64)
    assert (len(buffer), int(buffer.state.adds)) == (2, 2)
    np.testing.assert_array_equal(np.unique(buffer.sample(64).data["x"]), [1, value])


def test_options_for_cpus_follow_the_device_of_the_state(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    buffer = jb.HostReplay(ITEMS, {"x": np.float32})
    drawings, real = [], buffer._verbs

    def sample(drawing):
        drawings.append(drawing)
        return real.sample(drawing)

    buffer._verbs = SimpleNamespace(sample=sample, add_staged=real.add_staged)
    buffer.insert(x=1)
    buffer.flush()
    buffer.sample()
    buffer._platform = "gpu"
    buffer.sample()
    assert [drawing.small for drawing in drawings] == [True, False]
    assert [drawing.options for drawing in drawings] == [programs.in_turn(), None]  # old versions of XLA have none


def test_rows_that_hold_what_jax_looks_for_can_be_written():
    fields = {"x": np.float32, "large": jax.ShapeDtypeStruct((200,), np.float32)}
    buffer = jb.HostReplay(ITEMS, fields)
    row = {"x": np.float32(np.inf), "large": np.full(200, np.nan, np.float32)}
    with jax.debug_nans(True), jax.debug_infs(True):
        buffer.insert(**row)
        buffer.flush()
        buffer.add({name: np.stack([leaf] * 300) for name, leaf in row.items()})
        buffer.update(jb.Index(np.int32([0]), np.int32([0])), rows={"x": np.float32([-np.inf])})
    assert len(buffer) == 301
    assert np.isnan(buffer.sample().data["large"]).all()
    assert buffer.get(jb.Index(np.int32(0), np.int32(0)))[0]["x"] == -np.inf


def test_an_error_of_a_function_of_the_users_that_a_draw_calls_does_not_cost_the_state():
    wrong = []

    def on_host(age):
        if wrong:
            raise ValueError("of the user's")
        return np.asarray(age, np.float32)

    def weight(windows):
        kind = jax.ShapeDtypeStruct(windows.age.shape, np.float32)
        return jax.jit(lambda age: jax.pure_callback(on_host, kind, age))(windows.age)

    replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, sampler=jb.Weighted(weight), view=jb.Items())
    buffer = jb.HostReplay(replay, {"x": np.float32})
    for x in (1, 2, 3):
        buffer.insert(x=x)
    buffer.sample()
    buffer.insert(x=4)
    wrong.append(True)
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError)):
        jax.block_until_ready(buffer.sample().data)
    wrong.clear()
    assert (len(buffer), int(buffer.state.adds)) == (4, 4)
    assert set(buffer.sample(4).data["x"].tolist()) == {1, 2, 3, 4}
