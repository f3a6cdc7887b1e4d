"""An epoch of minibatches over a rollout, against the same work in PyTorch on the CPU."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks import same
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.sides import rows


def epoch(envs: int, steps: int, width: int, batch: int, laid_out: bool) -> Contest:
    """Flatten, shuffle, read every minibatch and sum it; in one jit, and in PyTorch as one writes it there."""
    data = np.random.default_rng(0).standard_normal((steps, envs, width)).astype(np.float32)

    def ours() -> Side:
        rollout = jb.Rollout(steps, envs)
        state = rollout.init(obs=jax.ShapeDtypeStruct((width,), jnp.float32))
        state = rollout.batch_update(state, "obs", data)

        @jax.jit
        def epoch(state: jb.RolloutState, key: jax.Array) -> jax.Array:
            if laid_out:
                batches = jb.minibatches(key, rollout.flatten(state).data, batch)
            else:
                batches = rollout.minibatches(state, key, batch)

            def consume(total: jax.Array, each: tuple) -> tuple:
                return total + jnp.sum(batches.take(*each).data["obs"], axis=0), None

            return jax.lax.scan(consume, jnp.zeros(width), (batches.index, batches.mask))[0]

        keys = rows.keys()
        # Flattening is a copy of the whole rollout; `Rollout.minibatches` promises none.
        compiled("jaxbuffers", epoch, state, next(keys), least=data.size * (2 if laid_out else 1))
        return Side(lambda: epoch(state, next(keys)).block_until_ready(), np.asarray(epoch(state, next(keys))),
                    lambda: same.require(epoch._cache_size() == 1, "jaxbuffers", "a second trace"))  # fmt: skip

    def theirs() -> Side:
        import torch

        tensor = torch.from_numpy(data)

        def minibatches() -> Iterator[torch.Tensor]:
            flat = tensor.transpose(0, 1).reshape(envs * steps, width)
            order = torch.randperm(envs * steps)
            for start in range(0, envs * steps, batch):
                yield flat[order[start : start + batch]]

        def run() -> np.ndarray:
            total = torch.zeros(width)
            for each in minibatches():
                total += each.sum(0)
            return total.numpy()

        return Side(run, run())

    def sums(ours: np.ndarray, theirs: np.ndarray) -> None:
        """Each row is read once: the sums are those of all rows."""
        for side, found in (("jaxbuffers", ours), ("PyTorch", theirs)):
            same.require(np.isclose(found, data.sum((0, 1)), rtol=1e-3, atol=0.05), side, "sums of other rows")

    return Contest(ours, theirs, sums)
