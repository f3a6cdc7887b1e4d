"""A look inside files: checkpoints, texts, arrays, and what is neither."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit

import jaxbuffers as jb
from jaxbuffers.__main__ import main
from jaxbuffers.inspecting import inspect
from jaxbuffers.inspecting.page import page

from .stores import table


def test_texts_arrays_and_what_is_neither(tmp_path, capsys, path):
    with jb.TextTable(tmp_path / "texts.sqlite") as texts:
        texts.intern(["open the door", "go", "go"])
        texts.commit()
    report = inspect(tmp_path / "texts.sqlite")
    assert dict(report.facts)["texts"] == "2"
    assert sorted(text for _, text in report.texts) == ["go", "open the door"]
    header = {
        "__metadata__": {"who": json.dumps({"a": 1, "b": [2]})},
        "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "run").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    report = inspect(tmp_path / "run")
    assert table(report, "Arrays") == {"w": ("F32", "[2]", "8 B")}
    assert dict(report.facts)["who"] == "a: 1\nb: [2]"
    assert not report.warnings
    (tmp_path / "run").write_bytes(len(text).to_bytes(8, "little") + text + bytes(7))
    assert inspect(tmp_path / "run").warnings
    (segment,) = (path / "segments").glob("*.safetensors")
    assert "obs.image" in table(inspect(segment), "Arrays")
    for header in (
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": ["0", "8"]}},
        {"w": {"dtype": 3, "shape": [2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"__metadata__": 3},
        {"__metadata__": {"who": 3}},
    ):
        text = json.dumps(header).encode()
        (tmp_path / "run").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        with pytest.raises(jb.errors.StructureError, match="not a file in the format of safetensors"):
            inspect(tmp_path / "run")
    (tmp_path / "nothing").write_bytes(b"x" * 50)
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    for name, words in [
        ("nothing", "StructureError"),
        ("missing", "no such file or folder"),
        ("empty", "neither a store nor"),
    ]:
        assert main(["inspect", str(tmp_path / name)]) == 1
        assert words in capsys.readouterr().err
    assert main(["inspect", str(path), "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert main(["inspect", str(path), "--html", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def learned(key, sampler):
    """A replay of 20 rows, some of whose windows have other priorities than at first."""
    replay = jb.Replay(16, num_envs=2, batch_size=4, view=jb.Items(), sampler=sampler)
    state = replay.init({"x": jnp.float32(0)})
    for _ in range(5):
        state = replay.add(state, {"x": jnp.zeros(2)})
    batch = replay.sample(state, key)
    return replay.update(state, batch.index, priority=jnp.array([2.0, 3.0, 5.0, 9.0]))


def test_a_checkpoint_shows_its_states_and_their_priorities(tmp_path, capsys):
    sampler = jb.Prioritized(alpha=0.5)
    seeds = quick_jit(jax.vmap(partial(learned, sampler=sampler)))(jax.random.split(jax.random.key(0), 2))
    ranks = quick_jit(partial(learned, sampler=jb.RankBased()))(jax.random.key(1))
    tree = {"agent": {"replay": seeds}, "ranks": ranks, "lr": 0.5}
    with jb.checkpoint.Manager(tmp_path / "run") as manager:
        manager.save(7, tree, metadata={"curve": list(range(1000))})
    report = inspect(tmp_path / "run")
    facts = dict(report.facts)
    assert report.title.startswith("Checkpoint ")
    assert (facts["rows in agent.replay"], facts["rows in ranks"]) == ("20", "10")
    assert "jaxbuffers" in facts["saved by"]
    assert facts["metadata"].startswith('{"curve": [0, 1, 2')
    assert len(facts["metadata"]) < 300
    (states,) = [each for each in report.tables if each.title == "States"]
    assert {row[0] for row in states.rows[1:]} == {"agent.replay", "", "ranks"}
    assert [row[2] for row in states.rows if row[1] == "sampler" and "Prioritized" in row[2]]
    (weights,) = report.histograms  # the counts of RankBased are none
    assert weights.title == "priorities in agent.replay.sampler.tree.0"
    kept = np.asarray(seeds.sampler.tree[0])
    assert weights.counts.sum() == (kept > 0).sum() == 20  # of both seeds; padding is none
    assert weights.edges[[0, -1]] == pytest.approx([kept[kept > 0].min(), kept.max()])
    assert weights.counts[-1] == (kept > weights.edges[-2]).sum() >= 1
    assert main(["inspect", str(tmp_path / "run")]) == 0
    assert "priorities in" in capsys.readouterr().out
    assert "priorities in agent.replay" in page(report)


@pytest.mark.parametrize("words", ["[1]", "{}", '{"versions": 1, "made_by": {}}', "no JSON"])
def test_a_file_that_only_looks_like_a_checkpoint_is_one_of_arrays(tmp_path, words):
    header = {
        "__metadata__": {"jaxbuffers": words},
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "file").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    report = inspect(tmp_path / "file")
    assert "jaxbuffers" in dict(report.facts)
    assert [each.title for each in report.tables] == ["Arrays"]
