"""Judgements that come late."""

from typing import Any

import numpy as np

from jaxbuffers.episodes import EpisodeStore
from jaxbuffers.episodes.where import integers
from jaxbuffers.errors import ConfigurationError, DtypeError, TrajectoryError
from jaxbuffers.trajectories import strict_json
from jaxbuffers.trajectories.components import PENDING
from jaxbuffers.trajectories.kinds import json_value, number


def judge(store: EpisodeStore, ids: Any, reward: Any, evaluation: Any, again: bool) -> None:
    """Write judgements into the catalog, as `TrajectoryPool.judge` says."""
    several, wanted = np.ndim(ids) > 0, integers("ids", ids)
    count = len(wanted)
    rewards = list(reward) if several and np.ndim(reward) else [reward] * count
    said = evaluation if several and isinstance(evaluation, list) else [evaluation] * count
    if len(rewards) != count or len(said) != count:
        raise ConfigurationError(f"{count} trajectories need as many rewards and evaluations, or one for all.")
    settled = [number("reward", each) for each in rewards]
    if PENDING in settled:
        raise ConfigurationError(f"a reward of {PENDING} means that the judgement is pending: it is none.")
    table = store.table()
    before = table["reward"][table.find(wanted)]
    if not again and (before != PENDING).any():
        i = int(np.argmax(before != PENDING))
        raise ConfigurationError(f"trajectory {wanted[i]} was judged {before[i]} already; write again=True.")
    texts = [None if each is None else strict_json.dumps(json_value("evaluation", each)) for each in said]
    try:
        store.set(wanted, reward=settled, evaluation=texts)
    except DtypeError as error:  # half a surrogate pair
        raise TrajectoryError("value", "evaluation", f"cannot be stored: {error}") from error
