"""Independent transitions come back as they were given, whatever came before them."""

import jax
import numpy as np
import pytest

import jaxbuffers as jb
from host.experts import demonstrations, screen, seen, trajectory, transitions, without_features
from jaxbuffers.errors import DtypeError, ShapeError, StructureError


def independent(**options):
    return demonstrations(independent=True, **options)


def steps(count, first=0, **more):
    return trajectory(count, first, mc_return=lambda i: 10.0 + i, **more)


@pytest.mark.parametrize("how", ["one by one", "at once"])
def test_transitions_in_any_order(how):
    demos = independent()
    given = [*steps(3), *steps(4, first=20, done=False)]
    mixed = [given[i] for i in np.random.default_rng(0).permutation(len(given))]
    if how == "at once":
        demos.insert_trajectory(mixed)
    else:
        for number, step in enumerate(mixed, start=1):
            demos.insert(**step)
            assert (len(demos), demos.open_steps) == (number, 0)
    expected = {i: (1, i == 2, 10 + i) for i in range(3)} | {20 + i: (1, False, 10 + i) for i in range(4)}
    assert transitions(demos) == expected


def test_what_comes_next_is_what_was_given():
    """Two transitions from one observation to different ones; features that no other transition has, bit for bit."""
    demos = independent()
    odd = np.array([0x7FC00001, 0x80000000, 0, 0], np.uint32).view(np.float32)
    for action, after in (("left", odd), ("right", screen(5))):
        step = steps(1)[0] | {"action": action, "next_observation": f"after {action}", "next_image_features": after}
        demos.insert(**step)
    batch = demos.sample()
    assert set(batch["action"]) == {"left", "right"}
    for action, after, features in zip(
        batch["action"], batch["next_observation"], np.asarray(batch["next_image_features"]), strict=True
    ):
        assert after == f"after {action}"
        assert features.tobytes() == (odd if action == "left" else screen(5)).tobytes()


def test_the_capacity_counts_transitions_and_the_oldest_go_first():
    demos = independent()
    for step in steps(37):
        demos.insert(**step)
    assert sorted(transitions(demos)) == list(range(21, 37))
    assert demos.buffer.sweep() > 0
    demos.insert_trajectory(steps(16, first=100))
    assert sorted(transitions(demos)) == list(range(100, 116))
    before = seen(demos)
    with pytest.raises(ShapeError, match="17 steps take 17 rows"):
        demos.insert_trajectory(steps(17))
    assert seen(demos) == before


def test_a_return_must_be_given():
    demos = independent()
    with pytest.raises(StructureError, match=r"transition 0 has no mc_return.*give it"):
        demos.insert(**trajectory(1)[0])
    with pytest.raises(StructureError, match=r"transition 1 has no mc_return"):
        demos.insert_trajectory([*steps(1), *trajectory(1)])
    assert len(demos) == 0


@pytest.mark.parametrize(
    "wrong, error",
    [({"image_features": screen(1, 5)}, ShapeError), ({"mc_return": "3"}, DtypeError), ({"more": 1}, StructureError)],
)
def test_a_wrong_transition_leaves_all_as_it_was(wrong, error):
    demos = independent()
    demos.insert(**steps(1)[0])
    before = seen(demos)
    with pytest.raises(error):
        demos.insert(**steps(1, first=3)[0] | wrong)
    with pytest.raises(error):
        demos.insert_trajectory([*steps(2, first=3), steps(1)[0] | wrong])
    assert seen(demos) == before


def test_the_best_of_several_groups():
    demos = independent()
    groups = [steps(2, first=10 * k, reward=lambda i, k=k: k) for k in (1, 3, 2)]
    assert demos.extend(groups, top=0.4).tolist() == [False, True, True]
    assert sorted(transitions(demos)) == [20, 21, 30, 31]


def test_text_alone():
    demos = jb.Demonstrations(capacity=8, batch_size=64, independent=True)
    for step in without_features(steps(3))[::-1]:
        demos.insert(**step)
    batch = demos.sample()
    found = {*zip(batch["observation"], batch["mc_return"].tolist(), strict=True)}
    assert found == {("o0", 10), ("o1", 11), ("o2", 12)}


def test_a_transition_takes_its_own_bytes_and_no_second_row():
    """At most 1 % over both columns of features, and the numbers."""
    rows, size = 1000, 512
    state = jb.Demonstrations(rows, size, independent=True).buffer._state
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert held <= 1.01 * rows * (2 * 4 * size + 6 * 4)


def test_dataset_and_names():
    demos = independent()
    demos.insert_trajectory(steps(3)[::-1])
    items = list(demos.dataset())
    assert [item["observation"] for item in items] == ["o2", "o1", "o0"]
    assert [item["next_observation"] for item in items] == ["o3", "o2", "o1"]
    assert set(items[0]) == set(demos.sample().keys()) == set(steps(1)[0])


def test_a_sampler_that_needs_episodes_is_refused():
    with pytest.raises(jb.errors.MissingFieldError, match="is_first"):
        independent(sampler=jb.ByEpisode())
