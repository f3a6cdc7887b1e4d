"""A guard against transfers that nobody asked for lets those through that a call to the shell asks for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb

from .experts import FEATURES, trajectory

REPLAY = jb.Replay(capacity=4, num_envs=None, batch_size=2, view=jb.Items())


@pytest.fixture(autouse=True)
def guard():
    one = jnp.ones(())
    with jax.transfer_guard("disallow"):
        yield
        with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
            one + np.float32(1)


def test_every_verb_of_a_host_replay():
    table = jb.TextTable()
    buffer, other = (jb.HostReplay(REPLAY, {"text": jb.text, "place": np.float32}, table=table) for _ in range(2))
    for place in range(6):
        buffer.insert(text=f"{place}", place=place)
    batch = buffer.sample()
    assert batch.text("text") == [f"{place:.0f}" for place in jax.device_get(batch.data["place"])]
    buffer.update(batch.index, rows={"place": np.float32([7, 7])})
    rows, present = buffer.get(batch.index)
    assert jax.device_get((rows["place"], present))[0].tolist() == [7, 7]
    other.from_bytes(buffer.to_bytes())
    assert len(other) == other.count() == 4
    batches = other.batches(prefetch=0)
    assert set(next(batches)["text"]) <= set("2345")
    other.insert(text="5", place=5)
    assert set(next(batches)["text"]) <= set("345"), "one program for both"
    full, other.state = other.state, jb.HostReplay(REPLAY, {"text": jb.text, "place": np.float32}).state
    with pytest.raises(jb.errors.EmptyReplayError):
        next(batches)
    other.state = full
    assert buffer.sweep(states=full) == 2
    buffer.state = jax.device_get(other.state)


@pytest.mark.parametrize("copy", long_but([True, False], quick=[1]))
def test_the_windows_of_demonstrations(copy):
    demos = jb.Demonstrations(capacity=16, image_features=FEATURES)
    kept = demos.extend([trajectory(3), trajectory(2)], top=0.5)
    dataset = demos.dataset(copy=copy)
    assert kept.sum() == 1
    assert len(dataset) == len(demos)
    assert isinstance(dataset[0]["observation"], str)
