"""Flat arrays of steps: the right rows and the right ends, from every kind of file; mistakes name the array."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget

import jaxbuffers as jb

from_arrays = jb.datasets.from_arrays


def observation(number, t):
    return np.array([number, t], np.float32)


def arrays_of(episodes, final=True, timeouts=True):
    """Flat arrays of episodes (steps, how they end), every number saying where it comes from."""
    columns = {
        name: [] for name in ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations")
    }
    for number, (steps, end) in enumerate(episodes):
        for t in range(steps):
            last = t == steps - 1
            columns["observations"].append(observation(number, t))
            columns["next_observations"].append(observation(number, t + 1))
            columns["actions"].append(np.int32(100 * number + t))
            columns["rewards"].append(np.float32(number + t / 8))
            columns["terminals"].append(last and end in ("terminal", "both"))
            columns["timeouts"].append(last and end in ("timeout", "both"))
    arrays = {name: np.stack(column) for name, column in columns.items()}
    for name, kept in (("next_observations", final), ("timeouts", timeouts)):
        if not kept:
            del arrays[name]
    return arrays


def check(rows, number, steps, terminated, known=True):
    """Compare with what the episode was; `known` says whether its final observation is."""
    kept = steps if known or terminated else steps - 1
    obs = [observation(number, t) for t in range(kept + 1)]
    if terminated and not known:
        obs[-1] = obs[-2]
    np.testing.assert_array_equal(rows.obs, np.stack(obs))
    actions = [100 * number + t for t in range(kept)] + [100 * number + kept if kept < steps else 0]
    assert rows.action.tolist() == actions
    assert rows.reward.tolist() == [0] + [number + t / 8 for t in range(kept)]
    assert rows.is_first.tolist() == [True] + [False] * kept
    assert rows.is_last.tolist() == [False] * kept + [True]
    assert rows.is_terminal.tolist() == [False] * kept + [terminated]


ENDS = ("terminal", "timeout", "both")
HISTORIES = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(ENDS)), min_size=1, max_size=6)


@given(HISTORIES, st.booleans())
@settings(max_examples=budget(30, 300), deadline=None)
def test_steps_become_episodes_that_end_as_they_did(history, final):
    episodes = from_arrays(arrays_of(history, final))
    found = list(episodes)
    assert len(found) == len(episodes) == len(history)
    for number, ((rows, columns), (steps, end)) in enumerate(zip(found, history, strict=True)):
        check(rows, number, steps, end != "timeout", final)
        assert columns == {"final_observation": final}
        described = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
        assert described == episodes.row


def test_arrays_that_stop_within_an_episode_truncate_it():
    (first, _), (second, _) = from_arrays(arrays_of([(2, "terminal"), (3, "none")]))
    check(first, 0, 2, True)
    check(second, 1, 3, False)


def test_without_timeouts_a_break_is_refused_or_taken_for_an_end():
    arrays = arrays_of([(2, "terminal"), (3, "timeout"), (1, "timeout"), (2, "terminal")], timeouts=False)
    with pytest.raises(jb.errors.StructureError, match=r"next_observations\[4\] is not observations\[5\].*breaks="):
        list(from_arrays(arrays))
    episodes = from_arrays(arrays, breaks="truncate")
    assert len(episodes) == 4
    for number, (steps, terminated) in enumerate([(2, True), (3, False), (1, False), (2, True)]):
        check(list(episodes)[number][0], number, steps, terminated)


def test_files_are_read_as_arrays_are(tmp_path):
    h5py = pytest.importorskip("h5py")
    arrays = arrays_of([(2, "terminal"), (4, "timeout")])
    np.savez(tmp_path / "data.npz", **arrays)
    with h5py.File(tmp_path / "data.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["infos/qpos"] = np.arange(6, dtype=np.float32)
        file["infos/again"] = h5py.SoftLink("/infos")
        file["goals"] = file["infos/qpos"]  # one array by two names
        file["nowhere"] = h5py.SoftLink("/no")
    for name in ("data.npz", "data.hdf5"):
        for (rows, _), (wanted, _) in zip(from_arrays(tmp_path / name), from_arrays(arrays), strict=True):
            jax.tree.map(np.testing.assert_array_equal, rows, wanted)
    pairs = from_arrays(tmp_path / "data.hdf5", extras=["infos/qpos", "goals"])
    for name in ("infos/qpos", "goals"):
        assert [rows.extras[name].tolist() for rows, _ in pairs] == [[0, 1, 0], [2, 3, 4, 5, 0]]
    assert pairs.row.extras["infos/qpos"].dtype == np.float32


def test_entries_that_are_observations_have_the_final_one_among_them(tmp_path):
    """OGBench's files: no rewards, no timeouts; terminals, which are floats, say where trajectories end."""
    obs = [observation(number, t) for number, steps in enumerate([3, 1]) for t in range(steps + 1)]
    arrays = {
        "observations": np.stack(obs),
        "actions": np.array([0, 1, 2, -9, 100, -9], np.int32),
        "terminals": np.array([0, 0, 0, 1, 0, 1], np.float32),
    }
    np.savez(tmp_path / "data.npz", **arrays)
    (first, _), (second, columns) = from_arrays(tmp_path / "data.npz", layout="rows", rewards=0.0)
    np.testing.assert_array_equal(first.obs, np.stack(obs[:4]))
    assert first.action.tolist() == [0, 1, 2, 0]
    assert second.action.tolist() == [100, 0]
    assert columns == {"final_observation": True}
    assert first.reward.tolist() == [0] * 4
    assert not first.is_terminal.any()
    assert second.is_last.tolist() == [False, True]
    masks = {"masks": np.array([1, 1, 1, 0, 1, 1])}
    assert [rows.is_terminal[-1] for rows, _ in from_arrays(arrays | masks, layout="rows", rewards=0.0)] == [
        True,
        False,
    ]


def test_other_names_and_nested_observations():
    arrays = arrays_of([(2, "terminal")])
    arrays["done"], arrays["terminals"] = arrays["terminals"], np.zeros(2)
    for name in ("observations", "next_observations"):
        arrays[name] = {"arm": arrays[name], "t": arrays[name][:, 1]}
    ((rows, _),) = from_arrays(arrays, names={"terminals": "done"})
    assert rows.is_terminal.tolist() == [False, False, True]
    assert rows.obs["t"].tolist() == [0, 1, 2]


def test_64_bits_are_narrowed_where_it_is_said_and_nothing_is_lost():
    wide = arrays_of([(2, "terminal")])
    wide["observations"], wide["next_observations"] = (
        wide[n].astype(float) for n in ("observations", "next_observations")
    )
    wide["actions"] = wide["actions"].astype(np.int64)
    if jax.config.jax_enable_x64:
        assert from_arrays(wide).row.obs.dtype == np.float64
        return
    with pytest.raises(jb.errors.DtypeError, match=r"'observations' is float64.*narrow=True"):
        from_arrays(wide)
    ((rows, _),) = from_arrays(wide, narrow=True)
    check(rows, 0, 2, True)
    assert (rows.obs.dtype, rows.action.dtype) == (np.float32, np.int32)
    wide["actions"][1] = 2**40
    with pytest.raises(
        jb.errors.DtypeError, match="'actions' has values that int32 cannot hold, such as 1099511627776"
    ):
        list(from_arrays(wide, narrow=True))
    wide["actions"][1], wide["observations"][1] = 0, 1e60
    with pytest.raises(jb.errors.DtypeError, match=r"'observations' has values that float32 cannot hold"):
        list(from_arrays(wide, narrow=True, breaks="truncate"))


def without(name):
    return lambda arrays: arrays.pop(name)


def changed(name, change):
    def apply(arrays):
        arrays[name] = change(arrays[name])

    return apply


@pytest.mark.parametrize(
    "spoil, options, error, words",
    [
        *(
            (without(n), {}, jb.errors.MissingFieldError, f"'{n}'")
            for n in ("observations", "actions", "rewards", "terminals")
        ),
        *(
            (changed(n, lambda x: x[:-1]), {}, jb.errors.ShapeError, f"'{n}' has 4 entries|'terminals' has 4")
            for n in ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations")
        ),
        (changed("terminals", lambda x: x + 1.0), {}, jb.errors.DtypeError, "'terminals'"),
        (changed("timeouts", lambda x: x.astype(str)), {}, jb.errors.DtypeError, "'timeouts'"),
        (changed("timeouts", lambda x: x[:, None]), {}, jb.errors.ShapeError, "'timeouts'"),
        (changed("rewards", lambda x: x.astype(int)), {}, jb.errors.DtypeError, "'rewards'"),
        (changed("rewards", lambda x: x[:, None]), {}, jb.errors.DtypeError, "'rewards'"),
        (changed("actions", lambda x: 3), {}, jb.errors.ShapeError, "'actions'"),
        (changed("observations", lambda x: x.astype(object)), {}, jb.errors.DtypeError, "observations"),
        (changed("next_observations", lambda x: x.astype(np.float16)), {}, jb.errors.StructureError, "'next_observ"),
        (changed("next_observations", lambda x: {"a": x}), {}, jb.errors.StructureError, "'next_observ"),
        (lambda arrays: None, {"extras": ["qpos"]}, jb.errors.MissingFieldError, "'qpos'"),
        (
            lambda arrays: None,
            {"names": {"terminals": "dones"}},
            jb.errors.MissingFieldError,
            "'dones' for 'terminals'",
        ),
        (lambda arrays: None, {"names": {"timeout": "timeouts"}}, jb.errors.ConfigurationError, "'timeout', which is"),
        (lambda arrays: None, {"rewards": 1.0}, jb.errors.ConfigurationError, "has 'rewards'"),
        (without("rewards"), {"rewards": np.nan}, jb.errors.ConfigurationError, "rewards must be a number"),
        (without("rewards"), {"rewards": 1e39}, jb.errors.ConfigurationError, "rewards must be a number"),
        (
            changed("actions", lambda x: np.ma.masked_array(x, x == 0)),
            {},
            jb.errors.DtypeError,
            "'actions' is a masked",
        ),
        (lambda arrays: None, {"layout": "ogbench"}, jb.errors.ConfigurationError, "layout"),
        (lambda arrays: None, {"breaks": True}, jb.errors.ConfigurationError, "breaks"),
        (lambda arrays: None, {"narrow": 1}, jb.errors.ConfigurationError, "narrow"),
    ],
)
def test_malformed_arrays_are_named(spoil, options, error, words):
    arrays = arrays_of([(2, "terminal"), (3, "timeout")])
    spoil(arrays)
    with pytest.raises(error, match=words):
        jb.EpisodeStore().add_episode(next(iter(from_arrays(arrays, **options)))[0])


def test_files_that_are_none_are_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    (tmp_path / "a.txt").write_bytes(b"")
    np.savez(tmp_path / "b.npz", observations=np.array([{}], dtype=object))
    with pytest.raises(jb.errors.StructureError, match=r"a\.npz"):
        from_arrays(tmp_path / "a.npz")
    with pytest.raises(jb.errors.StructureError, match=r"a\.txt is neither"):
        from_arrays(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError):
        from_arrays(tmp_path / "c.npz")
    with np.load(tmp_path / "b.npz", allow_pickle=True) as file:
        assert list(file) == ["observations"]
    np.savez(tmp_path / "b.npz", **arrays_of([(1, "terminal")]) | {"actions": np.array([{}], dtype=object)})
    with pytest.raises(jb.errors.StructureError, match=r"'actions' of .*b\.npz cannot be read"):
        from_arrays(tmp_path / "b.npz")
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(jb.errors.StructureError, match=r"b\.npz"):
        from_arrays(tmp_path / "b.npz")
    h5py = pytest.importorskip("h5py")
    (tmp_path / "a.hdf5").write_bytes(b"nothing")
    with pytest.raises(jb.errors.StructureError, match=r"a\.hdf5 is no \.hdf5"):
        from_arrays(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["observations"] = np.zeros(3)
    with pytest.raises(jb.errors.MissingFieldError, match="'actions'"):
        from_arrays(tmp_path / "b.hdf5")


def test_an_imported_data_set_is_a_store_like_any_other():
    episodes = from_arrays(arrays_of([(2, "terminal"), (3, "timeout")]))
    store = jb.EpisodeStore(row=episodes.row)
    assert episodes.into(store) == [0, 1]
    assert store.metadata["ending"].tolist() == ["terminated", "truncated"]
    assert store.metadata["final_observation"].tolist() == [True, True]
    batch = store.sample(jb.Transitions(), 16, jax.random.key(0)).data
    np.testing.assert_array_equal(batch.next_obs[:, 1], batch.obs[:, 1] + 1)
    np.testing.assert_array_equal(batch.discount == 0, (batch.obs[:, 0] == 0) & (batch.obs[:, 1] == 1))
