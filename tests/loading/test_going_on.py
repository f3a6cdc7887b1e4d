"""A loader and `jb.checkpoint` together: saved within an epoch, a fresh process goes on with the very next batch."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.episodes import ShuffledEpochs
from jaxbuffers.loading import Loader, StoreSteps

from .stores import places, rows_of, store_at

ROOT = Path(__file__).parents[2]
LENGTHS, STEPS, CUT = (4, 7, 3, 2), 10, 6  # an epoch is 4 batches: cut within the second one


def source(store):
    return StoreSteps(store, jb.Items(), 4, seed=1, law=ShuffledEpochs(1), steps=STEPS)


def begin():
    return {"weights": jnp.zeros(2), "key": jax.random.key(3), "step": 0}


@jax.jit
def learn(weights, key, data):
    """Depends on every batch, on their order and on the key."""
    key, noise = jax.random.split(key)
    gradient = data.obs["place"].astype(jnp.float32).mean(0) * (1 + data.reward.sum())
    return weights * 0.9 + gradient + jax.random.normal(noise, (2,)), key


def go_on(run, store, until, workers=0):
    """Learn up to some step; return the run, and which rows every batch had."""
    seen = []
    with Loader(source(store), workers=workers, start=run["step"]) as loader:
        while loader.step < until:
            batch = next(loader)
            weights, key = learn(run["weights"], run["key"], batch.data)
            run = {"weights": weights, "key": key, "step": loader.step}
            seen.append(places(batch))
    return run, seen


def result(run, seen):
    return {"weights": np.asarray(run["weights"]).tobytes().hex(), "seen": [[list(x) for x in batch] for batch in seen]}


def main(folder, workers):
    """What the fresh process does: restore, go on, and say what came."""
    with jb.EpisodeStore(f"{folder}/store", read_only=True) as store:
        run = jb.checkpoint.restore(f"{folder}/saved", begin(), store=store).tree
        print(json.dumps(result(*go_on(run, store, STEPS, workers))))


# How many workers read before, and after. Long: more processes to start.
@pytest.mark.parametrize(
    "before, after", [(1, 0), *(pytest.param(*each, marks=pytest.mark.long) for each in [(0, 0), (0, 2), (2, 1)])]
)
def test_a_fresh_process_goes_on_with_the_next_batch_of_the_epoch(tmp_path, before, after):
    if before or after:
        pytest.importorskip("grain")
    with store_at(tmp_path / "store", *LENGTHS) as store:
        whole, seen = go_on(begin(), store, STEPS)
        cut, first = go_on(begin(), store, CUT, before)
        assert cut["step"] == CUT, "what was read ahead does not count"
        jb.checkpoint.save(tmp_path / "saved", cut, store=store)
    program = f"from tests.loading.test_going_on import main; main({str(tmp_path)!r}, {after})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == result(whole, seen[CUT:])
    assert first == seen[:CUT]


def test_a_store_that_has_grown_is_noticed_and_the_old_batches_can_be_had(tmp_path):
    with store_at(tmp_path / "store", *LENGTHS) as store:
        _, seen = go_on(begin(), store, STEPS)
        cut, _ = go_on(begin(), store, CUT)
        jb.checkpoint.save(tmp_path / "saved", cut, store=store)
        store.add_episode(rows_of(9, 5))
        with pytest.raises(jb.errors.CheckpointError, match="later"):
            jb.checkpoint.restore(tmp_path / "saved", begin(), store=store)
        saved = jb.checkpoint.restore(tmp_path / "saved", begin(), store=store, later="keep")
        old = StoreSteps(
            store, jb.Items(), 4, seed=1, law=ShuffledEpochs(1), steps=STEPS,
            where=lambda columns: columns["id"] <= saved.store["last"],
        )  # fmt: skip
        with Loader(old, start=saved.tree["step"]) as loader:
            assert [places(batch) for batch in loader] == seen[CUT:]
