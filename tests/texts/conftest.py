"""Tables of every kind, closed when the test is over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb

KINDS = {"memory": (False, False), "compressed": (False, True), "file": (True, False), "small file": (True, True)}


@pytest.fixture
def opened():
    """Opens tables that are closed at the end."""
    tables = []

    def make(*args, **options):
        tables.append(jb.TextTable(*args, **options))
        return tables[-1]

    yield make
    for table in tables:
        table.close()


@pytest.fixture(params=long_but([*KINDS], quick=[0, 3]))  # each of the two options, on and off
def make(request, tmp_path, opened):
    """Makes another table of one kind."""
    in_file, compress = KINDS[request.param]
    number = iter(range(100))

    def another(**options):
        path = tmp_path / f"texts{next(number)}.db" if in_file else None
        return opened(path, compress=compress, **options)

    return another


@pytest.fixture
def table(make):
    return make()


@pytest.fixture
def replay():
    """Rows of one text: a replay, an empty state, and a jitted add of the ids of as many rows."""
    replay = jb.Replay(capacity=4, num_envs=None, batch_size=2, view=jb.Items())
    state = replay.init({"text": jb.text, "reward": jnp.float32(0)})

    @jax.jit
    def add(state, ids):
        return replay.add(state, {"text": ids, "reward": jnp.zeros(ids.shape, jnp.float32)})

    return replay, state, lambda state, ids: add(state, np.asarray(ids, np.int32))
