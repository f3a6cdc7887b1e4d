"""The samples of docs/recorder.md run, and what they collect is right."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from .environments import AutoReset, Limited, PointMass

PAGE = Path(__file__).parents[2] / "docs" / "recorder.md"
SETUP, *SAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
CART_POLE = {"next_step": 0, "same_step": 1, "disabled": 2, "gymnax": 3}
BRAX, EPISODE_ROWS, WAS_DONE = 4, 5, slice(6, 9)

pytestmark = pytest.mark.skipif(jax.config.jax_enable_x64, reason="the page is written for JAX's default dtypes")


class Batched:
    """What ``brax.envs.create(name, batch_size=4)`` returns, in so far as the page uses it."""

    action_size = 1

    def __init__(self):
        self.env = AutoReset(Limited(PointMass(), 5))

    def reset(self, key):
        return jax.vmap(self.env.reset)(jax.random.split(key, 4))

    def step(self, state, action):
        return jax.vmap(self.env.step)(state, 3 * action[:, 0])  # fast enough to fall now and then


def execute(code, names):
    """Run code as a reader would, without the strict promotion of these tests."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, str(PAGE), "exec"), names)


def run(number, **names):
    """Run the set-up and one sample."""
    execute(SETUP + SAMPLES[number], names)
    batch = jax.tree.map(np.asarray, names["batch"])
    assert batch.valid
    return batch.data


def test_the_page_has_the_samples_that_these_tests_know():
    assert len(SAMPLES) == 9


@pytest.mark.parametrize("name", CART_POLE)
def test_each_cart_pole_sample_collects_transitions_that_obey_its_mechanics(name):
    """A cart moves by its speed times 0.02 seconds: between observations of two episodes it would not."""
    data = run(CART_POLE[name])
    np.testing.assert_allclose(data.next_obs[:, 0], data.obs[:, 0] + 0.02 * data.obs[:, 1], atol=1e-6)
    np.testing.assert_array_equal(data.reward, 1)
    assert set(data.discount) == {np.float32(0), np.float32(0.99)}


def test_the_brax_sample_bootstraps_from_no_observation_of_another_episode():
    data = run(BRAX, env=Batched())
    np.testing.assert_array_equal(data.discount > 0, data.next_obs[:, 2] == data.obs[:, 2] + 1)
    np.testing.assert_array_equal(data.discount > 0, (data.next_obs != data.obs).any(axis=1))
    assert set(data.discount) == {np.float32(0), np.float32(0.99)}


def test_the_episode_rows_sample_holds_its_three_transitions():
    data = run(EPISODE_ROWS)
    found = sorted(set(zip(*(x.tolist() for x in (data.obs, data.action, data.reward, data.discount)), strict=True)))
    expected = [(0.0, 2, 0.0, 0.5), (1.0, 3, 0.0, 0.5), (2.0, 4, 1.0, 0.0)]
    assert set(found) <= set(expected)
    assert len(found) >= 2


def test_the_samples_of_was_done_data_lose_the_reward_and_keep_it_as_the_page_says(capsys):
    execute(SETUP + "".join(SAMPLES[WAS_DONE]), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["0.0 0.5", "1.0 0.0", "[0.25, 0.5, 1.0]"]
    assert re.findall(r"^```\n\n```text\n(.*)\n```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == printed
