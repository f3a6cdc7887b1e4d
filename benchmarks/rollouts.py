"""An epoch of minibatches over a rollout, against the same work in PyTorch on the CPU."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch

import jaxbuffers as jb
from benchmarks import rings
from benchmarks.compiled import compiled
from benchmarks.timing import Result, race

ENVS, STEPS, WIDTH, BATCH = 1024, 16, 128, 1024


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one."""
    yield lambda: _epoch(laid_out=True)
    yield lambda: _epoch(laid_out=False)


def _epoch(laid_out: bool) -> Result:
    """Flatten, shuffle, read every minibatch and sum it; in one jit, and in PyTorch as one writes it there."""
    data = np.random.default_rng(0).standard_normal((STEPS, ENVS, WIDTH)).astype(np.float32)
    rollout = jb.Rollout(STEPS, ENVS)
    state = rollout.init(obs=jax.ShapeDtypeStruct((WIDTH,), jnp.float32))
    state = rollout.batch_update(state, "obs", data)

    @jax.jit
    def epoch(state: jb.RolloutState, key: jax.Array) -> jax.Array:
        if laid_out:
            batches = jb.minibatches(key, rollout.flatten(state).data, BATCH)
        else:
            batches = rollout.minibatches(state, key, BATCH)

        def consume(total: jax.Array, batch: tuple) -> tuple:
            return total + jnp.sum(batches.take(*batch).data["obs"], axis=0), None

        return jax.lax.scan(consume, jnp.zeros(WIDTH), (batches.index, batches.mask))[0]

    keys = rings.keys()
    # Flattening is a copy of the whole rollout; `Rollout.minibatches` promises none.
    compiled("jaxbuffers", epoch, state, next(keys), least=data.size * (2 if laid_out else 1))
    tensor = torch.from_numpy(data)

    def theirs() -> torch.Tensor:
        rows = tensor.transpose(0, 1).reshape(ENVS * STEPS, WIDTH)
        order = torch.randperm(ENVS * STEPS)
        total = torch.zeros(WIDTH)
        for start in range(0, ENVS * STEPS, BATCH):
            total += rows[order[start : start + BATCH]].sum(0)
        return total

    np.testing.assert_allclose(epoch(state, next(keys)), theirs().numpy(), rtol=1e-3, atol=0.05)
    how = "flatten + minibatches" if laid_out else "Rollout.minibatches"
    name = f"{how}, one epoch of {BATCH} over {ENVS} x {STEPS} rows of {WIDTH} floats, one jit"
    ours = lambda: epoch(state, next(keys)).block_until_ready()  # noqa: E731
    result = race(name, ours, f"PyTorch {torch.__version__}", theirs, rounds=201, goal=1.0)
    assert epoch._cache_size() == 1, "a second trace was timed"
    return result
