"""Drive Gymnasium vector environments the way a training loop does, through a recorder into a replay."""

from functools import partial

import gymnasium as gym
import jax
import numpy as np

import jaxbuffers as jb

from .reference import extras_of

AUTORESET = {
    "next_step": gym.vector.AutoresetMode.NEXT_STEP,
    "same_step": gym.vector.AutoresetMode.SAME_STEP,
    "disabled": gym.vector.AutoresetMode.DISABLED,
}


def vector(makers, mode, **options):
    return gym.vector.SyncVectorEnv(list(makers), autoreset_mode=AUTORESET[mode], **options)


def final_observations(obs, infos):
    """Put the final observations of ``SAME_STEP``, an object array, into an array like ``obs``."""
    final = jax.tree.map(np.copy, obs)
    for env in np.flatnonzero(infos.get("_final_obs", ())):
        jax.tree.map(lambda out, leaf, env=env: out.__setitem__(env, leaf), final, infos["final_obs"][env])
    return final


@partial(jax.jit, static_argnums=0)
def record(recorder, rec, out):
    return recorder.step(rec, **out)


def collect(envs, mode, act, steps, *, seed=0, read_as=None, final=True, restart=()):
    """Record a number of vector steps of ``envs``, which auto-reset in ``mode``.

    ``restart`` names the steps before which all environments are reset by hand. Returns rows ``[N, R, E, ...]`` and
    their mask ``[N, R, E]``, where R is how many rows the recorder writes a step.
    """
    recorder = jb.Recorder(read_as or mode)
    obs, _ = envs.reset(seed=seed)
    rec = recorder.init(obs)
    written = []
    for time in range(steps):
        if time in restart:
            obs, _ = envs.reset()
            rec = recorder.reset(rec, obs)
        action = np.stack([act(jax.tree.map(lambda leaf, e=e: leaf[e], obs)) for e in range(envs.num_envs)])
        extras = extras_of(obs, envs.num_envs)
        obs, reward, terminated, truncated, infos = envs.step(action)
        out = {"action": action, "obs": obs, "reward": reward.astype(np.float32), "extras": extras}
        out |= {"terminated": terminated, "truncated": truncated}
        if recorder.mode == mode == "same_step" and final:
            out["final_obs"] = final_observations(obs, infos)
        rec, rows, mask = record(recorder, rec, out)
        written.append((rows, mask))
        done = terminated | truncated
        if mode == "disabled" and done.any():
            obs, _ = envs.reset(options={"reset_mask": done})
        if recorder.mode == "disabled" and done.any():
            rec = recorder.reset(rec, obs, where=done)
    envs.close()
    rows, mask = jax.tree.map(lambda *leaves: np.stack(leaves), *written)
    if recorder.mode == "next_step":
        rows, mask = jax.tree.map(lambda leaf: leaf[:, None], (rows, mask))
    return rows, mask


@partial(jax.jit, static_argnums=0)
def fill(replay, rows, mask):
    """Add recorded rows step by step."""

    def add(state, step):
        return replay.add(state, *step), None

    row = jax.tree.map(lambda leaf: leaf[0, 0, 0], rows)
    return jax.lax.scan(add, replay.init(row), (rows, mask))[0]
