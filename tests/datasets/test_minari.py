"""Minari's data sets: what Minari has recorded, and what comes back from it, is the same."""

import gymnasium as gym
import jax
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.datasets import from_minari, to_minari

minari = pytest.importorskip("minari")
pytestmark = pytest.mark.filterwarnings(
    "ignore:.* is set to None", "ignore:env_spec is None", "ignore:Implicitly cleaning up"
)
SPACES = gym.spaces
NESTED = SPACES.Dict(
    image=SPACES.Box(0, 255, (6, 7, 3), np.uint8),
    mission=SPACES.Text(30),
    place=SPACES.Tuple((SPACES.Box(-9, 9, (2,), np.float32), SPACES.Discrete(9))),
)
ACTIONS = {
    "dict": SPACES.Dict(arm=SPACES.Box(-1, 1, (3,), np.float32), say=SPACES.Text(9)),
    "tuple": SPACES.Tuple((SPACES.Discrete(4), SPACES.MultiBinary(2))),
    "box": SPACES.Box(-1, 1, (2,), np.float32),
    "discrete": SPACES.Discrete(5),
}


class Played(gym.Env):
    """Seeded observations from a space; the third episode is truncated, the others terminate."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space, self.episodes = observation_space, action_space, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.t, self.episodes = 0, self.episodes + 1
        return self.observation_space.sample(), {"t": np.float32(0), "pair": np.zeros(2, np.int32)}

    def step(self, action):
        self.t += 1
        over = self.t == 2 + self.episodes
        info = {"t": np.float32(self.t), "pair": np.full(2, self.t, np.int32)}
        return (
            self.observation_space.sample(),
            self.t / 8,
            over and self.episodes != 3,
            over and self.episodes == 3,
            info,
        )


@pytest.fixture(autouse=True)
def local(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def recorded(observation_space, action_space, episodes=3):
    env = minari.DataCollector(Played(observation_space, action_space), record_infos=True, jpeg_encoding=False)
    action_space.seed(1)
    for seed in range(episodes):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(action_space.sample())
            over = terminated or truncated
    made = env.create_dataset("ours/recorded-v0")
    env.close()
    return made


def same(one, two):
    """Compare episodes of Minari: values and dtypes of up to 32 bits."""
    assert len(one) == len(two)
    for a, b in zip(one.iterate_episodes(), two.iterate_episodes(), strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations", "infos"):
            x, y = getattr(a, name), getattr(b, name)
            assert jax.tree.structure(x) == jax.tree.structure(y), name
            jax.tree.map(np.testing.assert_array_equal, x, y)
    ids = one.episode_indices
    seeds = [[each.get("seed") for each in made.storage.get_episode_metadata(ids)] for made in (one, two)]
    assert seeds[0] == seeds[1]


@pytest.mark.parametrize("observation", ["nested", "box", "tuple"])
@pytest.mark.parametrize("action", [*ACTIONS])
def test_a_round_trip_through_a_store_is_equal(observation, action):
    spaces = {"nested": NESTED, "box": NESTED["place"][0], "tuple": NESTED["place"]}
    made = recorded(spaces[observation], ACTIONS[action])
    episodes = from_minari(made, infos=["t", "pair"], narrow=True)
    store = jb.EpisodeStore(row=episodes.row)
    assert episodes.into(store) == [0, 1, 2]
    assert len(episodes) == 3
    assert store.metadata["ending"].tolist() == ["terminated", "terminated", "truncated"]
    assert store.metadata["length"].tolist() == [4, 5, 6]
    assert store.metadata["seed"].tolist() == [0, 1, 2]
    again = to_minari(
        store, "ours/again-v0", observation_space=spaces[observation], action_space=ACTIONS[action], infos=["t", "pair"]
    )
    same(made, again)
    same(made, minari.load_dataset("ours/again-v0"))


def test_rows_are_aligned_as_everywhere_in_the_library():
    made = recorded(NESTED, ACTIONS["discrete"])
    (rows, columns), *_ = from_minari("ours/recorded-v0", infos=["t"], narrow=True)
    whole = made[0]
    assert rows.extras["t"].tolist() == [0, 1, 2, 3]
    assert rows.reward.tolist() == [0, 1 / 8, 2 / 8, 3 / 8]
    assert rows.reward.dtype == (np.float64 if jax.config.jax_enable_x64 else np.float32)
    assert rows.action.tolist() == [*whole.actions.tolist(), 0]
    assert rows.obs["mission"] == whole.observations["mission"]
    assert rows.is_terminal.tolist() == rows.is_last.tolist() == [False, False, False, True]
    assert columns == {"minari_episode": 0, "seed": 0}


def test_some_episodes_in_several_batches(monkeypatch):
    monkeypatch.setattr("jaxbuffers.datasets.minari_out.AT_ONCE", 2)
    store = jb.EpisodeStore()
    for i in range(6):
        flat = np.full((3 + i, 2), i, np.float32)
        store.add_episode(
            jb.episode_rows(flat, np.zeros(2 + i, np.float32), np.ones(2 + i, np.float32), i % 2 == 0, True)
        )
    space = SPACES.Box(-9, 9, (2,), np.float32), SPACES.Box(-1, 1, (), np.float32)
    made = to_minari(
        store, "ours/some-v0", observation_space=space[0], action_space=space[1], where=lambda c: c["length"] != 5
    )
    assert [int(each.observations[0, 0]) for each in made.iterate_episodes()] == [0, 1, 3, 4, 5]
    assert [bool(each.terminations[-1]) for each in made.iterate_episodes()] == [True, False, False, True, False]
    assert [bool(each.truncations[-1]) for each in made.iterate_episodes()] == [False, True, True, False, True]


class Fake:
    """A data set of one episode that is not as Minari writes it."""

    def __init__(self, made, **changes):
        self.made, self.changes = made, changes
        self.episode_indices, self.storage = made.episode_indices[:1], made.storage
        self.observation_space, self.action_space = made.observation_space, made.action_space

    def __len__(self):
        return 1

    def iterate_episodes(self, ids):
        for episode in self.made.iterate_episodes(ids):
            fields = ("id", "observations", "actions", "rewards", "terminations", "truncations", "infos")
            whole = {name: getattr(episode, name) for name in fields}
            yield minari.EpisodeData(**whole | self.changes)


def test_malformed_data_sets_are_named():
    made = recorded(NESTED["place"], ACTIONS["box"], episodes=1)
    early = np.array([True, False, False])
    for changes, error, words in [
        ({"terminations": early}, jb.errors.StructureError, "'terminations' of episode 0 is True at step 0 of 3"),
        ({"truncations": early[:2]}, jb.errors.ShapeError, "'truncations' of episode 0"),
        (
            {"actions": np.zeros((2, 2), np.float32)},
            jb.errors.ShapeError,
            "'actions' has 2 entries, expected 3 for 3 steps",
        ),
        ({"observations": np.zeros(4)}, jb.errors.StructureError, "'observations' is not nested as"),
        ({"infos": {}}, jb.errors.MissingFieldError, "no info 't'"),
    ]:
        with pytest.raises(error, match=words):
            list(from_minari(Fake(made, **changes), infos=["t"], narrow=True))
    with pytest.raises(jb.errors.MissingFieldError, match="no info 'speed'; it has pair, t"):
        from_minari(made, infos=["speed"], narrow=True)
    if not jax.config.jax_enable_x64:
        with pytest.raises(jb.errors.DtypeError, match="narrow=True"):
            from_minari(made)


def test_a_data_set_that_is_not_here_is_named():
    with pytest.raises(FileNotFoundError, match=r"'ours/elsewhere-v0' on this machine.*minari download"):
        from_minari("ours/elsewhere-v0")


def test_a_data_set_without_episodes_is_named():
    made = recorded(NESTED["place"], ACTIONS["box"], episodes=1)
    with pytest.raises(jb.errors.StructureError, match="'ours/recorded-v0' has no episode"):
        from_minari(made.filter_episodes(lambda episode: False))


def test_what_minari_cannot_hold_is_named(monkeypatch):
    store = jb.EpisodeStore()
    space = SPACES.Box(-9, 9, (2,), np.float32)
    with pytest.raises(jb.errors.StructureError, match="no episode"):
        to_minari(store, "ours/none-v0", observation_space=space, action_space=space)
    rows = jb.episode_rows(
        np.zeros((2, 2), np.float32), np.zeros((1, 2), np.float32), np.ones(1, np.float32), True, False
    )
    store.add_episode(jax.tree.map(lambda x: np.asarray(x)[-1:], rows).replace(is_first=np.array([True])))
    with pytest.raises(jb.errors.StructureError, match="episode 0 has one row"):
        to_minari(store, "ours/none-v0", observation_space=space, action_space=space)
    monkeypatch.setattr("jaxbuffers.datasets.minari_out.AT_ONCE", 1)
    before = jb.EpisodeStore()
    before.add_episode(rows)
    before.add_episode(store[0].rows)  # the first one is not written either
    with pytest.raises(jb.errors.StructureError, match="episode 1 has one row"):
        to_minari(before, "ours/none-v0", observation_space=space, action_space=space)
    store.delete(0)
    store.add_episode(rows)
    with pytest.raises(jb.errors.MissingFieldError, match="no extras 't'"):
        to_minari(store, "ours/none-v0", observation_space=space, action_space=space, infos=["t"])
    for other, error, words in [
        (SPACES.Dict(a=space), jb.errors.StructureError, "'obs' is not nested as its space says"),
        (
            SPACES.Box(-9, 9, (3,), np.float32),
            jb.errors.ShapeError,
            r"leaf 'obs' has shape \(2,\) in the rows, \(3,\) in",
        ),
        (SPACES.MultiDiscrete([3, 3]), jb.errors.DtypeError, "leaf 'obs' is float32 in the rows, int32 in"),
    ]:
        with pytest.raises(error, match=words):
            to_minari(store, "ours/none-v0", observation_space=other, action_space=space)
    with pytest.raises(jb.errors.StructureError, match="'action' is not nested"):
        to_minari(store, "ours/none-v0", observation_space=space, action_space=SPACES.Text(3))
    for given in ({}, {"observation_space": space}, {"action_space": space}):
        with pytest.raises(jb.errors.ConfigurationError, match=r"give observation_space= and action_space=, or env="):
            to_minari(store, "ours/none-v0", **given)
    assert "ours/none-v0" not in minari.list_local_datasets()
