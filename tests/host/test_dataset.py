"""Rows and batches as datasets: every window once, arrays apart from texts; no loader is needed for these."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from host.experts import demonstrations, trajectory
from host.shells import shell
from host.test_parts import filled
from jaxbuffers.errors import DtypeError, StructureError


def simple(count=6):
    buffer = shell()
    for i in range(count):
        buffer.insert(mission=f"m{i}", notes=["n"] * (i % 4), reward=i)
    return buffer


def test_every_window_once_as_arrays_and_texts():
    dataset = jb.WindowDataset(simple())
    items = list(dataset)
    assert len(dataset) == len(items) == 4
    assert [item["mission"] for item in items] == ["m2", "m3", "m4", "m5"]
    assert [item["reward"].item() for item in items] == [2, 3, 4, 5]
    assert items[0]["notes"] == ["n", "n", None]
    assert dataset[-1]["mission"] == dataset[np.int64(3)]["mission"] == "m5"


@pytest.mark.parametrize("i", [4, -5, 100])
def test_there_are_no_others(i):
    dataset = jb.WindowDataset(simple())
    with pytest.raises(IndexError):
        dataset[i]
    with pytest.raises(IndexError):
        dataset.__getitems__([0, i])


def test_an_empty_replay_is_an_empty_dataset():
    dataset = jb.WindowDataset(shell())
    assert len(dataset) == len(list(dataset)) == 0
    with pytest.raises(IndexError):
        dataset[0]


def test_the_dataset_is_of_the_moment():
    buffer = simple()
    dataset = jb.WindowDataset(buffer)
    for i in range(10, 15):
        buffer.insert(mission=f"m{i}", notes=[], reward=i)
    assert [item["mission"] for item in dataset] == ["m2", "m3", "m4", "m5"]


@pytest.mark.parametrize("view", long_but(["transitions", "n-step", "pad", "time-major", "episodes"], quick=[4]))
def test_the_windows_of_every_view(view):
    buffer = filled(view, "uniform")
    dataset = jb.WindowDataset(buffer)
    assert len(dataset) == buffer.count() >= 3
    items = dataset.__getitems__(range(len(dataset)))
    name = "rows.obs." if view == "episodes" else "obs."
    windows = set()
    for item in items:
        number, mask = item[name + "image"][..., 0].astype(int), item.get("mask", np.True_)
        assert mask.shape == number.shape
        texts = np.array(item[name + "mission"], object)
        assert texts[mask].tolist() == [f"m{i}" for i in number[mask]]
        assert set(texts[~mask].ravel()) <= {None}
        windows.add(tuple(number[mask].tolist()))
        assert np.isin(np.diff(number[mask]), [0, 2]).all()  # two environments take turns
    assert len(windows) == len(items)
    # One at a time or many, the window is the same.
    for one, other in zip(map(dataset.__getitem__, range(len(dataset))), items, strict=True):
        np.testing.assert_equal(one, other)
    # Every window that is sampled is an item, in all its fields.
    batch = jb.BatchDataset([buffer.sample()])[0]
    assert set(batch) == set(items[0])


def test_the_goals_of_a_window_do_not_depend_on_its_neighbours():
    view = jb.Hindsight(jb.Transitions(), reward, goals="future", fraction=0.5)
    place = jax.ShapeDtypeStruct((), np.float32)
    row = jb.Row({"achieved_goal": place, "desired_goal": place}, np.int32, np.float32, *[np.bool_] * 3)
    buffer = shell(capacity=32, view=view, fields=row)
    for i in range(30):
        flags = {"is_first": i == 0, "is_last": i == 29, "is_terminal": False}
        buffer.insert(obs={"achieved_goal": float(i), "desired_goal": -1.0}, action=0, reward=0, **flags)
    dataset = jb.WindowDataset(buffer)
    together = [item["obs.desired_goal"].item() for item in dataset.__getitems__(range(29))]
    assert together == [dataset[i]["obs.desired_goal"].item() for i in range(29)]
    assert together[::-1] == [item["obs.desired_goal"].item() for item in dataset.__getitems__(range(28, -1, -1))]
    assert len(set(together)) > 5


def reward(achieved, desired):
    return jnp.where(achieved == desired, 0.0, -1.0).astype(achieved.dtype)


def test_arrays_and_lists_can_be_written_to_and_are_of_their_own():
    said = jb.WindowDataset(simple())
    said[0]["notes"][0] = "changed"
    assert said[0]["notes"] == ["n", "n", None]
    buffer = filled("pad", "uniform")
    for dataset in (jb.WindowDataset(buffer), jb.BatchDataset([buffer.sample()])):
        first = dataset[0]["obs.image"].copy()
        dataset[0]["obs.image"][...] = 77
        np.testing.assert_array_equal(dataset[0]["obs.image"], first)


def test_a_field_that_begins_with_next_is_its_own():
    buffer = shell(fields={"mission": jb.text, "next_mission": np.int32, "next_notes": jb.text})
    buffer.insert(mission="a", next_mission=5, next_notes="b")
    expected = {"mission": "a", "next_mission": np.int32(5), "next_notes": "b"}
    assert jb.WindowDataset(buffer)[0] == expected
    assert buffer.sample().texts == ("mission", "next_notes")


def test_a_field_called_mask_is_refused_where_windows_have_one():
    buffer = shell(view=jb.Sequences(2), fields={"mask": np.float32})
    for i in range(3):
        buffer.insert(mask=i)
    for read in (lambda: jb.WindowDataset(buffer), lambda: jb.BatchDataset([buffer.sample()])):
        with pytest.raises(StructureError, match="'mask'"):
            read()
    buffer = shell(fields={"mask": np.float32})
    buffer.insert(mask=3)
    assert jb.WindowDataset(buffer)[0] == {"mask": 3}


def test_batches_of_demonstrations():
    demos = demonstrations()
    demos.insert_trajectory(trajectory(3))
    item = jb.BatchDataset([demos.sample(8)])[0]
    assert item["observation"] == [f"o{row[0]:.0f}" for row in item["image_features"]]
    assert item["next_observation"] == [f"o{row[0]:.0f}" for row in item["next_image_features"]]
    assert jb.WindowDataset(demos.buffer)[2]["next_obs.observation"] == "o3"


def test_what_is_no_list_of_batches():
    with pytest.raises(StructureError, match="HostReplay"):
        jb.BatchDataset([simple().sample().batch])


def test_collate_keeps_arrays_apart_from_texts():
    items = jb.WindowDataset(simple()).__getitems__([0, 3, 3])
    batch = jb.collate(items, convert=jnp.asarray)
    assert batch.texts == {
        "mission": ["m2", "m5", "m5"],
        "notes": [["n", "n", None], ["n", None, None], ["n", None, None]],
    }
    assert isinstance(batch.arrays["reward"], jax.Array)
    assert batch.arrays["reward"].tolist() == [2, 5, 5]


def test_collate_takes_missing_texts():
    assert jb.collate([{"a": None}, {"a": "x"}]) == ({}, {"a": [None, "x"]})


@pytest.mark.parametrize(
    "items, error",
    [
        ([], StructureError),
        ([{"a": np.float32(0)}, {}], StructureError),
        ([{"a": np.float32(0)}, {"a": np.float32(0), "b": "x"}], StructureError),
        ([{"a": np.float32(0)}, {"a": np.float64(0)}], DtypeError),
        ([{"a": np.zeros(2)}, {"a": np.zeros(3)}], DtypeError),
        ([{"a": np.zeros(2)}, {"a": "x"}], DtypeError),
        ([{"a": "x"}, {"a": np.zeros(2)}], DtypeError),
        ([{"a": 1.0}], DtypeError),
    ],
)
def test_items_that_cannot_be_put_together(items, error):
    with pytest.raises(error):
        jb.collate(items)


def test_fields_choose_and_rename_what_an_item_holds_and_texts_stay_texts():
    buffer = shell()
    buffer.insert(mission="a", notes=["b"], reward=2)

    def fields(data):
        return {"goal": data["mission"], "twice": data["reward"] * 2, "id": data["mission"] + 0}

    for copy in (True, False):
        (item,) = jb.WindowDataset(buffer, fields, copy=copy)
        assert (item["goal"], item["twice"], sorted(item)) == ("a", 4, ["goal", "id", "twice"])
        assert item["id"] == buffer.table.intern("a")  # computed: a number like any other


def test_demonstrations_say_how_to_make_a_dataset_of_them():
    with pytest.raises(jb.errors.StructureError, match=r"got Demonstrations. Write demonstrations.dataset\(\)"):
        jb.WindowDataset(jb.Demonstrations(capacity=4))
    with pytest.raises(jb.errors.ConfigurationError, match="fields must be a function"):
        jb.WindowDataset(shell(), "mission")


PER_WINDOW = {
    "first": lambda data: {"f": data["x"][0]},
    "turned round": lambda data: {"f": data["x"][::-1]},
    "sum": lambda data: {"f": data["x"].sum()},
    "twice": lambda data: {"f": jnp.concatenate([data["x"], data["x"]])},
    "of two fields": lambda data: {"f": data["x"] + data["i"]},
    "share": lambda data: {"f": data["x"] / data["x"].sum()},
    "nothing of it": lambda data: {"f": jnp.float32(1)},
}


@pytest.mark.parametrize("copy", long_but([True, False], quick=[1]))
@pytest.mark.parametrize("fields", long_but([*PER_WINDOW.values()], quick=[1, 2, 6]), ids=PER_WINDOW)
def test_fields_are_given_one_window_at_a_time(fields, copy):
    rows = [{"x": np.arange(1, 4, dtype=np.float32) + 10 * k, "i": np.float32(k)} for k in range(3)]
    replay = jb.Replay(capacity=8, num_envs=None, batch_size=2)
    buffer = jb.HostReplay(replay, {"x": jax.ShapeDtypeStruct((3,), np.float32), "i": np.float32})
    for row in rows:
        buffer.insert(**row)
    items = list(jb.WindowDataset(buffer, fields, copy=copy))
    assert len(items) == 3
    for item, row in zip(items, rows, strict=True):
        np.testing.assert_allclose(item["f"], np.asarray(fields(jax.tree.map(jnp.asarray, row))["f"]), rtol=1e-6)


@pytest.mark.parametrize(
    "fields", [lambda data: {}, lambda data: None, lambda data: data["reward"], lambda data: {"a": 1}]
)
def test_fields_that_are_no_dict_of_arrays_are_refused(fields):
    buffer = shell()
    buffer.insert(mission="a", notes=["b"], reward=2)
    with pytest.raises(jb.errors.StructureError, match=r"must return a \(nested\) dict of arrays"):
        jb.WindowDataset(buffer, fields)
