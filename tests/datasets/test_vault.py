"""flashbax's Vaults: what flashbax has written is read without it, each environment by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.datasets import from_vault

ENVS, STEPS = 2, 11
NAMES = {"observations": "obs", "actions": "action", "rewards": "reward", "terminals": "done", "timeouts": "cut"}


def experience():
    """Entries [B, T]: environment 0 terminates every third step, environment 1 is cut every fourth."""
    t = np.arange(STEPS)
    where = np.stack([np.stack([np.full(STEPS, e), t], axis=1) for e in range(ENVS)])
    return {
        "obs": {"place": where.astype(np.int32), "image": (where[..., 1] % 256).astype(np.uint8)},
        "action": (100 * where[..., 0] + where[..., 1]).astype(np.int32),
        "reward": (where[..., 1] / 8).astype(np.float32),
        "done": np.stack([t % 3 == 2, t < 0]),
        "cut": np.stack([t < 0, t % 4 == 3]),
    }


def written(folder, monkeypatch, entries):
    pytest.importorskip("flashbax")
    from flashbax.vault import Vault

    buffers = pytest.importorskip("flashbax").make_trajectory_buffer(
        add_batch_size=ENVS, sample_batch_size=1, sample_sequence_length=1, period=1, min_length_time_axis=1,
        max_length_time_axis=64,
    )  # fmt: skip
    state = buffers.init(jax.tree.map(lambda x: x[0, 0], entries))
    monkeypatch.chdir(folder)
    vault = Vault("ours", state.experience, vault_uid="one")
    for part in (slice(0, 5), slice(5, STEPS)):  # in two writes
        state = buffers.add(state, jax.tree.map(lambda x, part=part: x[:, part], entries))
        vault.write(state)
    return folder / "vaults" / "ours" / "one"


def test_episodes_of_each_environment_end_as_their_flags_say(tmp_path, monkeypatch):
    entries = jax.tree.map(jnp.asarray, experience())
    episodes = from_vault(written(tmp_path, monkeypatch, entries), names=NAMES)
    found = list(episodes)
    assert len(found) == len(episodes) == 4 + 3
    assert [columns["env"] for _, columns in found] == [0] * 4 + [1] * 3
    assert not any(columns["final_observation"] for _, columns in found)
    times = [[0, 1, 2, 2], [3, 4, 5, 5], [6, 7, 8, 8], [9, 10], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    for (rows, columns), wanted in zip(found, times, strict=True):
        assert rows.obs["place"][:, 1].tolist() == rows.obs["image"].tolist() == wanted
        assert (rows.obs["place"][:, 0] == columns["env"]).all()
        ends = wanted[-1] == wanted[-2]  # terminated, and the final observation not known
        assert rows.is_terminal.tolist() == [False] * (len(wanted) - 1) + [ends]
        assert rows.reward.tolist() == [0] + [t / 8 for t in wanted[:-1]]
        known = [100 * columns["env"] + t for t in wanted]
        assert rows.action.tolist() == ([*known[:-1], 0] if ends else known)
    store = jb.EpisodeStore(row=episodes.row)
    assert episodes.into(store) == list(range(7))


def test_what_is_no_vault_is_named(tmp_path, monkeypatch):
    with pytest.raises(jb.errors.StructureError, match=r"no metadata\.json"):
        from_vault(tmp_path)
    path = written(tmp_path, monkeypatch, jax.tree.map(jnp.asarray, experience()))
    with pytest.raises(jb.errors.MissingFieldError, match="'observations'; there are action, cut, done, obs, reward"):
        from_vault(path)
    whole = (path / "metadata.json").read_text()
    for broken, words in [
        (whole.replace('"version": 1.2', '"version": 2.0'), "version 2.0"),
        ("{}", "not that of a Vault"),
        ("nothing", "not that of a Vault"),
        (whole.replace('"reward"', '"gain"'), "no array 'gain'"),
    ]:
        (path / "metadata.json").write_text(broken)
        with pytest.raises(jb.errors.StructureError, match=words):
            from_vault(path, names=NAMES)
