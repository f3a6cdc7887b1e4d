"""The view and the sampler that CONTRIBUTING.md shows are short, and keep the contract outside the package."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest
from tier import long_but

import jaxbuffers as jb
from jaxbuffers import testing

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ROW = jb.Row(jnp.zeros(3), jnp.int32(0), jnp.float32(0), *[jnp.bool_(False)] * 3)


def shown(base):
    """The one class in the page that derives from ``base``, and the block it stands in."""
    for block in BLOCKS:
        names = {"__name__": "contributing"}
        exec(compile(block, "CONTRIBUTING.md", "exec"), names)
        for value in names.values():
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == "contributing":
                return value, block
    raise AssertionError(f"CONTRIBUTING.md shows no {base.__name__}")


@pytest.mark.parametrize("base", [jb.View, jb.Sampler])
def test_what_is_shown_is_shorter_than_60_lines(base):
    assert len(shown(base)[1].splitlines()) < 60


PAIRS = [(None, jb.Prioritized()), (jb.Sequences(3, "within"), None)]
PAIRS += [(None, None), (None, jb.Uniform()), (None, jb.WithoutReplacement()), (jb.Transitions(), None)]


@pytest.mark.parametrize("view, sampler", long_but(PAIRS, quick=[0, 1]), ids=str)
def test_the_view_and_the_sampler_keep_the_contract_with_ours_and_with_each_other(view, sampler):
    view = shown(jb.View)[0](3) if view is None else view
    sampler = shown(jb.Sampler)[0]() if sampler is None else sampler
    testing.check_replay(jb.Replay(capacity=24, num_envs=2, batch_size=3, view=view, sampler=sampler), ROW)
