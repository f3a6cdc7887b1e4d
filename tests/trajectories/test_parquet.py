"""A pool as Parquet files: what pandas and Arrow read is what the pool says."""

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.datasets import to_parquet
from jaxbuffers.errors import DtypeError

from .made import trajectory

pytest.importorskip("pyarrow")
pandas = pytest.importorskip("pandas")


def pool_of(count):
    pool = jb.TrajectoryPool()
    pool.extend(trajectory(i, 1 + i, [1.0, 0.0, -1.0][i % 3], columns={"score": i / 4}) for i in range(count))
    return pool


def test_the_metadata_of_a_pool_are_what_pandas_reads(tmp_path):
    pool = pool_of(5)
    pool.judge(2, reward=0.5, evaluation={"why": "late"})
    assert to_parquet(pool.store, tmp_path / "trajectories.parquet") == []
    frame = pandas.read_parquet(tmp_path / "trajectories.parquet")
    assert list(frame["id"]) == [0, 1, 2, 3, 4]
    assert list(frame["length"]) == [1, 2, 3, 4, 5]
    assert list(frame["reward"]) == [1.0, 0.0, 0.5, 1.0, 0.0]
    assert list(frame["task_name"]) == [f"task {i}" for i in range(5)]
    assert list(frame["score"]) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert frame["evaluation"][2] == '{"why":"late"}'
    assert frame["iteration"].isna().all(), "what no trajectory has is null, not a number"
    assert frame[frame["reward"] >= 1]["id"].tolist() == np.flatnonzero(pool.metadata["reward"] >= 1).tolist()


def test_the_steps_of_a_pool_are_what_pandas_reads(tmp_path):
    pool = pool_of(4)
    names = to_parquet(pool.store, tmp_path / "trajectories.parquet", tmp_path / "steps.parquet")
    assert {"action_string", "raw_prompt", "raw_response", "ac_tree", "same_as_next"} <= set(names)
    frame = pandas.read_parquet(tmp_path / "steps.parquet")
    steps = [(id, i, step) for id in range(4) for i, step in enumerate(pool.trajectory(id).steps)]
    assert list(zip(frame["episode"], frame["time"], strict=True)) == [(id, i) for id, i, _ in steps]
    assert list(frame["raw_response"]) == [step.response.raw_response for _, _, step in steps]
    assert list(frame["action_string"]) == [step.action.action_string for _, _, step in steps]
    for said, (_, _, step) in zip(frame["raw_prompt"], steps, strict=True):
        assert len([each for each in said if each is not None]) == len(step.response.raw_prompt)


def test_half_a_surrogate_pair_is_refused_by_the_name_of_its_field(tmp_path):
    pool = jb.TrajectoryPool()
    pool.add(
        [
            {
                **trajectory(0, 1).steps[0].to_dict(),
                "response": {"raw_response": "\ud800", "raw_prompt": [{"role": "user", "content": "a"}]},
            }
        ]
    )
    with pytest.raises(DtypeError, match="raw_response"):
        to_parquet(pool.store, tmp_path / "t.parquet", tmp_path / "s.parquet")
