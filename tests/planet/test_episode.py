"""An episode that grows: lists as PlaNet has them, rows as the library has them, and back."""

import jax
import numpy as np
import pytest

import jaxbuffers as jb

from .lists import action, episode, observation, reward, terminal


def test_it_begins_with_one_observation_and_grows_by_steps():
    made = episode(2, 4, info=True)
    assert len(made) == len(made.observation) == 5
    assert made.size == len(made.action) == len(made.reward) == len(made.terminal) == 4
    assert made.terminal == [terminal(2, t) for t in range(4)]
    assert made.reward == [reward(2, t) for t in range(4)]
    assert [pair.tolist() for pair in made.info["pair"]] == [[2, t] for t in range(4)]


def test_arrays_are_copied_as_environments_write_to_them():
    shown = np.zeros(2, np.float32)
    made = jb.planet.Episode(shown, info={"speed": {"now": shown}})
    shown += 1
    made.append(shown, shown, 0.0, False, {"speed": {"now": shown}})
    shown += 1
    assert [each.tolist() for each in (*made.observation, *made.action)] == [[0, 0], [1, 1], [1, 1]]
    assert made.rows().extras["info"]["speed"]["now"].tolist() == [[0, 0], [1, 1]]


def test_rows_are_aligned_as_everywhere_in_the_library():
    made = episode(2, 4)
    made.terminate()
    rows = made.rows()
    assert rows.obs["place"].tolist() == [[2, t] for t in range(5)]
    assert rows.action.tolist() == [action(2, t) for t in range(4)] + [0]
    assert rows.reward.tolist() == [0] + [reward(2, t) for t in range(4)]
    assert rows.extras["terminal"].tolist() == [False] + [terminal(2, t) for t in range(4)]
    assert rows.is_first.tolist() == [True] + [False] * 4
    assert rows.is_last.tolist() == [False] * 4 + [True]
    assert rows.is_terminal.tolist() == [False] * 4 + [terminal(2, 3)]
    assert rows.reward.dtype == np.float32
    assert not episode(2, 4).rows().is_last.any()  # not closed
    assert episode(2, 2).terminal[-1]
    assert not episode(2, 2).rows().is_terminal.any()


@pytest.mark.parametrize("closed", [False, True])
def test_rows_and_back(closed):
    made = episode(1, 5, info=True)
    made.first_info["speed"] = np.float32(9)
    made.info["speed"] = [np.float32(t) for t in range(5)]
    if closed:
        made.terminate()
    again = jb.planet.Episode.from_rows(made.rows())
    for name in ("observation", "action", "reward", "terminal", "info", "first_info", "closed"):
        jax.tree.map(np.testing.assert_array_equal, getattr(again, name), getattr(made, name))
    assert list(jb.planet.Episode.from_rows(made.rows(info=["pair"])).info) == ["pair"]


def test_rows_of_other_makers_are_episodes_too():
    rows = jb.episode_rows(np.zeros((3, 2), np.float32), np.zeros(2, np.int32), np.ones(2, np.float32), True, False)
    made = jb.planet.Episode.from_rows(rows)
    assert made.terminal == [False, True]
    assert made.closed
    assert len(made) == 3


def test_an_info_that_did_not_come_with_every_step_is_named():
    made = episode(0, 3)
    made.info["time_limit"] = [True]
    with pytest.raises(jb.errors.StructureError, match=r"'time_limit' came with 1 of 3 steps.*info=\[...\]"):
        made.rows()
    assert "info" not in made.rows(info=[]).extras
    with pytest.raises(jb.errors.StructureError, match="no info 'speed'; it has time_limit"):
        made.rows(info=["speed"])


STEP = (np.float32(0), observation(0, 1), 0.0, False)


@pytest.mark.parametrize(
    "place, value, error, words",
    [
        (0, np.zeros(2, np.float32), jb.errors.ShapeError, "action"),
        (0, np.int32(0), jb.errors.DtypeError, "action"),
        (1, {"place": np.zeros(2, np.int32)}, jb.errors.StructureError, "image"),
        (1, observation(0, 0) | {"place": np.zeros(3, np.int32)}, jb.errors.ShapeError, "place"),
        (2, np.float64(0), jb.errors.DtypeError, "reward"),
        (2, np.zeros(2, np.float32), jb.errors.ShapeError, "reward"),
        (2, np.float16(0), jb.errors.DtypeError, "reward"),
        (3, 1, jb.errors.ConfigurationError, "terminal"),
        (3, np.zeros(2, np.bool_), jb.errors.ConfigurationError, "terminal"),
    ],
)
def test_a_step_of_another_kind_is_refused_and_not_half_added(place, value, error, words):
    made = episode(0, 2)
    with pytest.raises(error, match=words):
        made.append(*STEP[:place], value, *STEP[place + 1 :])
    assert (len(made), made.size, len(made.reward), len(made.terminal)) == (3, 2, 2, 2)


def test_a_closed_episode_grows_no_more():
    made = episode(0, 2)
    made.terminate()
    with pytest.raises(jb.errors.IncompleteError, match="terminate"):
        made.append(*STEP)
    with pytest.raises(jb.errors.IncompleteError, match="no step"):
        jb.planet.Episode(np.zeros(1, np.float32)).rows()
