"""What does not fit is refused before anything is used, and everything that differs is named."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.checkpoint import snapshot

ROW = jb.Row(jnp.zeros(2), jnp.int32(0), jnp.float32(0), *[jnp.bool_(False)] * 3)


def replay_of(capacity=8, num_envs=2, view=None, sampler=None):
    return jb.Replay(capacity, num_envs, 2, view or jb.Transitions(), sampler or jb.Prioritized())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


def refused(path, like, error, *words, **options):
    with pytest.raises(error) as found:
        jb.checkpoint.restore(path, like, **options)
    assert type(found.value) is error
    for each in words:
        assert each in str(found.value), f"{each!r} is not in:\n{found.value}"
    return str(found.value)


def test_every_leaf_that_differs_is_named_with_what_it_was_and_is(path):
    tree = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2), jnp.bfloat16), "c": jax.random.key(0), "d": 1, "e": jnp.int32(0)}
    jb.checkpoint.save(path, tree)
    like = {"a": jnp.zeros(4), "b": jnp.zeros((2, 2)), "c": jax.random.key(0, impl="rbg"), "d": 1.0, "e": jnp.int32(0)}
    said = refused(
        path, like, jb.errors.DtypeError,
        "leaf 'a': saved float32[3], here float32[4]", "leaf 'b': saved bfloat16[2, 2], here float32[2, 2]",
        "leaf 'c': saved key<fry>[], here key<rbg>[]", "leaf 'd': saved a Python int, here a Python float",
        "nothing was restored",
    )  # fmt: skip
    assert "leaf 'e'" not in said
    refused(path, tree | {"a": jnp.zeros(4)}, jb.errors.ShapeError, "leaf 'a'")
    refused(path, tree | {"a": np.zeros(3)}, jb.errors.DtypeError, "saved float32[3], here float64[3]")
    refused(path, tree | {"a": 0.0}, jb.errors.DtypeError, "saved float32[3], here a Python float")
    said = refused(
        path, jax.eval_shape(lambda: tree), jb.errors.DtypeError, "leaf 'd': saved a Python int, here int32[]; "
    )
    assert "give a Python int in its place" in said


def test_leaves_that_are_missing_or_more_are_named(path):
    jb.checkpoint.save(path, {"a": {"b": jnp.zeros(3), "c": 1}, "d": [1, 2]})
    like = {"a": {"b": jnp.zeros(3)}, "d": [1, 2, 3], "f": None}
    refused(path, like, jb.errors.StructureError, "leaf 'a.c': saved, not here", "leaf 'd.2': here, not saved")


def test_thousands_of_differences_are_not_all_told(path):
    jb.checkpoint.save(path, [jnp.zeros(1)] * 1000)
    said = refused(path, [jnp.zeros(2)] * 1000, jb.errors.ShapeError, "and 980 more")
    assert len(said.splitlines()) < 30


@pytest.mark.parametrize(
    "other, words",
    [
        (replay_of(view=jb.Sequences(3)), ["'replay': required rows: saved has 2", "here has 3"]),
        (replay_of(sampler=jb.Prioritized(0.1)), ["'replay': sampler", "alpha=0.6", "alpha=0.1"]),
        (replay_of(sampler=jb.Uniform()), ["'replay': sampler", "leaf 'replay.sampler.highest': saved, not here"]),
    ],
)
def test_a_state_of_another_configuration_is_refused(path, other, words):
    jb.checkpoint.save(path, {"replay": replay_of().init(ROW)})
    said = refused(path, {"replay": other.init(ROW)}, jb.errors.ConfigurationError, *words)
    assert "refill" not in said


@pytest.mark.parametrize(
    "sizes, error",
    [((16, 2), jb.errors.ConfigurationError), ((16, 4), jb.errors.ShapeError), ((4, 1), jb.errors.ShapeError)],
)
def test_another_size_says_how_to_refill(path, sizes, error):
    jb.checkpoint.save(path, {"replay": replay_of().init(ROW)})
    refused(
        path,
        {"replay": replay_of(*sizes).init(ROW)},
        error,
        "store.refill(replay, state)",
        "'replay",
        "docs/checkpoints.md",
    )


def test_other_rows_are_refused(path):
    jb.checkpoint.save(path, replay_of().init(ROW))
    other = replay_of().init(ROW.replace(obs=jnp.zeros(2, jnp.int32)))
    refused(path, other, jb.errors.ConfigurationError, "row: saved has obs: float32[2]", "here has obs: int32[2]")


def test_limiters_and_recorders_of_another_configuration_are_refused(path):
    tree = {"limiter": jb.RateLimiter(4, 2, 8).init(), "recorder": jb.Recorder("same_step").init(jnp.zeros(2))}
    jb.checkpoint.save(path, tree)
    other = {"limiter": jb.RateLimiter(2, 2, 8).init(), "recorder": jb.Recorder("disabled").init(jnp.zeros(2))}
    refused(path, other, jb.errors.ConfigurationError, "'limiter': samples_per_insert", "'recorder': mode")


def test_what_is_no_longer_a_state_of_this_library_is_refused(path):
    state = replay_of().init(ROW)
    bare = {name: getattr(state, name) for name in ("ring", "windows", "sampler", "dropped", "adds")}
    jb.checkpoint.save(path, {"replay": state})
    refused(path, {"replay": bare}, jb.errors.StructureError, "'replay': a state of this library when saved")


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="nothing is cut with 64-bit types")
def test_64_bit_values_are_not_cut(path):
    jb.checkpoint.save(path, {"x": np.arange(3)})
    refused(
        path,
        {"x": jax.ShapeDtypeStruct((3,), np.int64)},
        jb.errors.DtypeError,
        "leaf 'x': saved int64[3]",
        "cut it to int32",
    )
    assert jb.checkpoint.restore(path, {"x": np.zeros(3, int)}).tree["x"].tolist() == [0, 1, 2]


def test_another_version_is_refused_unless_asked_for(path, monkeypatch):
    state = replay_of().init(ROW)
    ours = snapshot.versions()
    monkeypatch.setattr(snapshot, "versions", lambda: ours | {"jaxbuffers": "0.0.7"})
    jb.checkpoint.save(path, state)
    jb.checkpoint.save(f"{path}2", jnp.zeros(3))
    monkeypatch.undo()
    refused(
        path,
        state,
        jb.errors.CheckpointError,
        f"was saved by jaxbuffers 0.0.7, this is {jb.__version__}",
        "any_version=True",
    )
    assert jb.checkpoint.restore(path, state, any_version=True).tree.made_by == state.made_by
    jb.checkpoint.restore(f"{path}2", jnp.zeros(3))  # no states of ours, nothing that could mean something else
    same_series = ".".join([*jb.__version__.split(".")[:2], "999"])
    monkeypatch.setattr(snapshot, "versions", lambda: ours | {"jaxbuffers": same_series})
    jb.checkpoint.save(f"{path}3", state)
    jb.checkpoint.restore(f"{path}3", state)


def test_another_format_is_refused_by_number(path, monkeypatch):
    monkeypatch.setattr(snapshot, "FORMAT", 99)
    jb.checkpoint.save(path, jnp.zeros(3))
    refused(
        path,
        jnp.zeros(3),
        jb.errors.CheckpointError,
        "format 99, this version of jaxbuffers reads 1 and 2; use the version that saved it",
        f"jaxbuffers {jb.__version__}",
    )


@pytest.mark.parametrize(
    "leaf, error, words",
    [
        (object(), jb.errors.DtypeError, "leaf 'x' is of type object"),
        (np.array(["a"]), jb.errors.DtypeError, "leaf 'x' has dtype <U1"),
        (np.array([None]), jb.errors.DtypeError, "leaf 'x' has dtype object"),
        (np.zeros(2, "datetime64[s]"), jb.errors.DtypeError, "leaf 'x' has dtype datetime64"),
        (np.zeros(2, [("a", "i4")]), jb.errors.DtypeError, "leaf 'x' has dtype"),
        (np.zeros(2, ">f4"), jb.errors.DtypeError, "order of bytes"),
        (np.ma.masked_array([1, 2], [True, False]), jb.errors.DtypeError, "masked array"),
        (lambda x: x, jb.errors.DtypeError, "leaf 'x' is of type function"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_named_and_nothing_is_written(path, leaf, error, words):
    with pytest.raises(error, match="leaf 'x'") as found:
        jb.checkpoint.save(path, {"x": leaf, "y": 1})
    assert words in str(found.value)
    assert list(path.parent.iterdir()) == []


def test_arrays_without_values_are_refused(path):
    x = jnp.zeros(3)
    x.delete()
    with pytest.raises(jb.errors.StructureError, match="leaf 'x' is an array that has been deleted"):
        jb.checkpoint.save(path, {"x": x})
    with pytest.raises(jb.errors.StructureError, match="leaf 'x' is traced"):
        jax.jit(lambda x: jb.checkpoint.save(path, {"x": x}))(jnp.zeros(3))


def test_two_leaves_of_one_name_are_refused(path):
    with pytest.raises(jb.errors.StructureError, match=r"two leaves are both called 'a\.b'"):
        jb.checkpoint.save(path, {"a.b": 1, "a": {"b": 2}})


@pytest.mark.parametrize("name", ["b", ""])
def test_a_leaf_with_the_name_of_one_inside_a_buffer_is_refused(path, name):
    """Otherwise one of them would come back as the other."""
    key = f"{name}.key" if name else "key"
    tree = {name: jb.HostReplay(jb.Replay(8, None, 2, jb.Items()), {"x": np.float32}), key: jnp.zeros(2, jnp.uint32)}
    with pytest.raises(jb.errors.StructureError, match=f"two leaves are both called '{key}'"):
        jb.checkpoint.save(path, tree)
    jb.checkpoint.save(path, {name: tree[name]})
    with pytest.raises(jb.errors.StructureError, match=f"two leaves are both called '{key}'"):
        jb.checkpoint.restore(path, tree)


def test_two_states_of_one_name_are_refused(path):
    limiter, recorder = jb.RateLimiter(4, 2, 8).init(), jb.Recorder("same_step").init(jnp.zeros(2))
    with pytest.raises(jb.errors.StructureError, match=r"are both called 'a\.b'"):
        jb.checkpoint.save(path, {"a.b": limiter, "a": {"b": recorder}})


def test_metadata_comes_back_as_it_was_or_is_refused(path):
    metadata = {"step": 3, "curve": [0.1, float("inf"), None, True, "é", {"deep": []}]}
    jb.checkpoint.save(path, {}, metadata=metadata)
    assert jb.checkpoint.restore(path, {}).metadata == metadata
    for bad, words in (
        (np.float32(1), r"metadata\['x'\]\[0\] is a float32"),
        ((1,), "a tuple"),
        ({1: 2}, "keys are str"),
    ):
        with pytest.raises(jb.errors.DtypeError, match=words):
            jb.checkpoint.save(f"{path}2", {}, metadata={"x": [bad]})


def test_nothing_is_overwritten_unless_asked_for_and_never_what_is_no_checkpoint(path):
    jb.checkpoint.save(path, 1)
    with pytest.raises(jb.errors.CheckpointError, match="run exists already; nothing is overwritten"):
        jb.checkpoint.save(path, 2)
    assert jb.checkpoint.restore(path, 0).tree == 1
    jb.checkpoint.save(path, 2, overwrite=True)
    assert jb.checkpoint.restore(path, 0).tree == 2
    for other in ("text", "folder"):
        mine = path.parent / other
        mine.write_text(json.dumps({"precious": 1})) if other == "text" else mine.mkdir()
        with pytest.raises(
            jb.errors.CheckpointError, match=f"{other} is no checkpoint, or damaged, and is not overwritten"
        ):
            jb.checkpoint.save(mine, 2, overwrite=True)
        assert mine.exists()


def test_a_checkpoint_or_folder_that_is_not_there(path):
    refused(path, 0, jb.errors.CheckpointError, "does not exist")
    with pytest.raises(jb.errors.CheckpointError, match=r"the folder of .* does not exist; make it first"):
        jb.checkpoint.save(path / "deeper" / "run", 1)
