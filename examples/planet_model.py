"""The world model of planet.py: what it sees, remembers and foresees, and the plans that are made in it."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.lax import scan, top_k
from jax.nn import relu, sigmoid, softplus
from jax.random import normal, split

import jaxbuffers as jb

ACTIONS = 2  # numbers in an action
DETER, STOCH, UNITS = 96, 16, 96  # the two parts of a latent, and hidden units
IMAGE_STD, REWARD_STD, FREE_NATS = 0.2, 0.1, 2.0  # how exact predictions should be; divergence that costs nothing
HORIZON, ITERATIONS, CANDIDATES, ELITES = 10, 5, 64, 8  # of plans


def mlp(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Sequential:
    """One hidden layer."""
    return nnx.Sequential(nnx.Linear(inputs, UNITS, rngs=rngs), relu, nnx.Linear(UNITS, outputs, rngs=rngs))


class WorldModel(nnx.Module):
    """The recurrent state-space model. A latent [D] is a deterministic memory, followed by a Gaussian sample."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        linear = partial(nnx.Linear, rngs=rngs)
        # Convolutions whose stride is the size of their kernels: products of matrices, which CPUs are fast at.
        self.patches, self.encoder = linear(8 * 8 * 3, 48), linear(16 * 48, UNITS)
        self.decoder, self.pixels = linear(DETER + STOCH, 16 * 48), linear(48, 8 * 8 * 3)
        self.inputs, self.gates = linear(STOCH + ACTIONS, UNITS), linear(DETER + UNITS, 3 * DETER)
        self.prior, self.posterior = mlp(DETER, 2 * STOCH, rngs), mlp(DETER + UNITS, 2 * STOCH, rngs)
        self.reward = mlp(DETER + STOCH, 1, rngs)

    def encode(self, image: Array) -> Array:
        """Map images uint8 [..., 32, 32, 3] to what is seen in them [..., UNITS]."""
        squares = image.reshape(-1, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(*image.shape[:-3], 16, -1)
        x = relu(self.patches(squares / 255.0 - 0.5))
        return relu(self.encoder(x.reshape(*image.shape[:-3], -1)))

    def decode(self, latent: Array) -> Array:
        """Map latents [..., D] to images [..., 32, 32, 3], from 0 to 1."""
        x = relu(self.decoder(latent)).reshape(-1, 48)
        squares = self.pixels(x).reshape(-1, 4, 4, 8, 8, 3).swapaxes(2, 3)
        return squares.reshape(*latent.shape[:-1], 32, 32, 3) + 0.5

    def step(self, latent: Array, action: Array, seen: Array | None = None, noise: Any = 0.0) -> tuple:
        """Go on to the next latent: filtered if what is seen then is given, else imagined; without noise, the mean."""
        deter, stoch = latent[..., :DETER], latent[..., DETER:]
        x = relu(self.inputs(jnp.concatenate([stoch, action], -1)))
        reset, new, update = jnp.split(self.gates(jnp.concatenate([deter, x], -1)), 3, -1)
        update = sigmoid(update - 1)
        deter = update * jnp.tanh(sigmoid(reset) * new) + (1 - update) * deter
        prior = posterior = gaussian(self.prior(deter))
        if seen is not None:
            posterior = gaussian(self.posterior(jnp.concatenate([deter, seen], -1)))
        return jnp.concatenate([deter, posterior[0] + posterior[1] * noise], -1), prior, posterior

    def losses(self, steps: jb.planet.Steps, key: Array) -> dict[str, Array]:
        """Say how badly sequences [L, B, ...] are explained."""
        image = steps.observation
        action = jnp.concatenate([jnp.zeros_like(steps.action[:1]), steps.action])  # the one before each image
        inputs = action, self.encode(image), normal(key, (*action.shape[:2], STOCH))

        def step(latent: Array, inputs: tuple) -> tuple[Array, tuple]:
            latent, prior, posterior = self.step(latent, *inputs)
            return latent, (latent, prior, posterior)

        _, (latents, prior, posterior) = scan(step, jnp.zeros((action.shape[1], DETER + STOCH)), inputs)
        off = {
            "image": (self.decode(latents) - image / 255.0).reshape(*action.shape[:2], -1) / IMAGE_STD,
            "reward": (self.reward(latents[1:]) - steps.reward[..., None]) / REWARD_STD,
        }
        losses = {name: 0.5 * jnp.square(x).sum(-1).mean() for name, x in off.items()}
        return losses | {"kl": jnp.maximum(FREE_NATS, divergence(posterior, prior)).mean()}

    def promise(self, latent: Array, actions: Array) -> Array:
        """Add up the rewards that are expected of sequences of actions [N, H, A], from one latent [D] on: [N]."""

        def step(latent: Array, action: Array) -> tuple[Array, Array]:
            latent, _, _ = self.step(latent, action)
            return latent, self.reward(latent)[..., 0]

        start = jnp.broadcast_to(latent, (len(actions), *latent.shape))
        return scan(step, start, actions.swapaxes(0, 1))[1].sum(0)

    def plan(self, latent: Array, key: Array) -> Array:
        """Find the best action [A] in one latent [D], by the cross-entropy method."""

        def improve(belief: tuple, key: Array) -> tuple[tuple, None]:
            mean, std = belief
            actions = jnp.clip(mean + std * normal(key, (CANDIDATES, HORIZON, ACTIONS)), -1, 1)
            best = actions[top_k(self.promise(latent, actions), ELITES)[1]]
            return (best.mean(0), best.std(0)), None

        anything = jnp.zeros((HORIZON, ACTIONS)), jnp.ones((HORIZON, ACTIONS))
        (mean, _), _ = scan(improve, anything, split(key, ITERATIONS))
        return mean[0]


def gaussian(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation."""
    mean, std = jnp.split(x, 2, -1)
    return mean, softplus(std) + 0.1


def divergence(p: tuple[Array, Array], q: tuple[Array, Array]) -> Array:
    """Return the KL divergence of Gaussians [..., STOCH], in nats."""
    (mean, std), (other, spread) = p, q
    return (jnp.log(spread / std) + (std**2 + (mean - other) ** 2) / (2 * spread**2) - 0.5).sum(-1)
