"""The example of behaviour cloning runs, beats the untrained policy, and goes on after a reload."""

import os
import re
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # frames are drawn in memory
EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "vlm_bc.py"), run_name="vlm_bc")
FIELDS = "observation", "action", "next_observation"
LEVEL = "BabyAI-GoToLocalS5N2-v0"


@pytest.fixture(autouse=True)
def _promotion_as_flax_and_optax_need_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def run(folder, capsys, episodes, steps, more):
    """Run the program; its options, what it says of success, and the four rates in that."""
    options = ["--level", LEVEL, "--folder", str(folder / "run"), "--out", str(folder / "bc.png")]
    EXAMPLE["main"]([*options, "--episodes", str(episodes), "--steps", str(steps), "--more", str(more)])
    success = capsys.readouterr().out.rsplit("success: ", 1)[1].strip()
    return options, success, [float(rate) for rate in re.findall(r"(\d+)%", success)]


@pytest.mark.long  # a training run
@pytest.mark.filterwarnings("ignore")  # of MiniGrid and its renderer
def test_a_run_learns_and_goes_on_learning_after_a_reload(tmp_path, capsys):
    _, _, (untrained, _, cloned, reloaded) = run(tmp_path, capsys, 300, 600, 100)
    assert cloned > untrained + 20
    assert reloaded > untrained + 20


@pytest.mark.long  # a training run; quick: a reload, below
@pytest.mark.filterwarnings("ignore")
def test_a_short_run_reloads_leaves_a_picture_and_overwrites_no_other(tmp_path, capsys, monkeypatch):
    for name, value in {"CHUNK": 10, "BATCH": 16, "TRIALS": 20}.items():
        monkeypatch.setitem(EXAMPLE["main"].__globals__, name, value)
    main, out = EXAMPLE["main"], tmp_path / "bc.png"
    options, success, rates = run(tmp_path, capsys, 20, 10, 10)
    assert len(rates) == 4
    assert out.stat().st_size > 20_000
    with pytest.raises(SystemExit):
        main(options)  # another run must not overwrite it
    with pytest.raises(SystemExit):
        main([*options, "--resume", "--level", "BabyAI-GoToObj-v0"])
    with pytest.raises(SystemExit):
        main(["--resume", "--folder", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()
    main([*options, "--resume", "--more", "10"])
    resumed = capsys.readouterr().out.rsplit("success: ", 1)[1]
    assert success in resumed, "the picture of a resumed run has the whole history"
    assert resumed.count("reloaded") == 2


@pytest.mark.filterwarnings("ignore")
def test_a_reload_is_what_was_saved(tmp_path):
    learner = EXAMPLE["Learner"](tmp_path, LEVEL, seed=0)
    for steps in EXAMPLE["demonstrate"](LEVEL, 5, seed=0):
        learner.demos.insert_trajectory(steps)
    learner.save()
    first = learner.demos.sample(32)
    texts = [first.text(name) for name in FIELDS]
    learner.close()
    again = EXAMPLE["Learner"](tmp_path, LEVEL, seed=1)
    again.load()
    second = again.demos.sample(32)
    assert [second.text(name) for name in FIELDS] == texts
    for a, b in zip(jax.tree.leaves(first.batch), jax.tree.leaves(second.batch), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.demos.buffer.state.spec.texts == learner.demos.buffer.state.spec.texts
    again.close()
