"""Samples: some steps of a pool to learn from, as a sequence of dictionaries."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from typing_extensions import override

from jaxbuffers.checks import positive
from jaxbuffers.errors import ConfigurationError, StructureError
from jaxbuffers.trajectories import strict_json
from jaxbuffers.trajectories.rows import NONE
from jaxbuffers.trajectories.steps import Steps

Stores = Sequence[Any]


class Samples(Sequence[dict[str, Any]]):
    """Steps to learn from, each a dict.

    It has "message", the prompt as a list of dicts, and "action", the response; where rewards are included, also
    "trajectory_reward" and "same_as_next_screenshot"; and with tokens "action_tokens", int32 ``[n]``, and
    "message_tokens", a list of such arrays.

    The sequence has a copy of all that is in it: what happens to the pool later does not change it, and worker
    processes can have it. Loaders such as PyTorch's ``DataLoader`` and Grain take it as it is, a map-style dataset.

    Attributes:
      eligible: how many steps it was drawn from.
      source: int64 ``[n]``, which store each comes from; 0 if there is one.
      trajectory: int64 ``[n]``, the ids of their trajectories there.
      step: int64 ``[n]``, their numbers in these.
    """

    def __init__(
        self, stores: Stores, steps: Steps, chosen: np.ndarray, eligible: int, reward: bool, tokens: Any
    ) -> None:
        of = steps.trajectory[chosen]
        self.eligible, self._with_reward = eligible, reward
        self.source, self.trajectory, self.step = steps.source[of], steps.ids[of], steps.step[chosen]
        self._reward = steps.reward[of]
        self._same = np.zeros(len(chosen), np.bool_)
        self._response = np.zeros(len(chosen), np.int64)
        self._prompt: list[np.ndarray] = [np.zeros(0, np.int64)] * len(chosen)
        self._words: list[dict[int, str]] = [{} for _ in stores]
        self._tokens: list[dict[int, np.ndarray]] | None = None if tokens is None else [{} for _ in stores]
        if tokens is not None and (len(stores) != 1 or tokens.table is not stores[0].texts):
            raise StructureError("tokens must be a view of the pool's own texts: jb.Tokens(pool.texts, ...).")
        for number, store in enumerate(stores):
            some = np.flatnonzero(self.source == number)
            if len(some):
                self._read(number, store, some, tokens)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.step)

    @overload
    def __getitem__(self, i: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, i: slice) -> list[dict[str, Any]]: ...

    @override
    def __getitem__(self, i: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Return a sample, or a list of some."""
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not isinstance(i, int | np.integer) or isinstance(i, bool):
            raise IndexError(f"a sample is numbered by an int, got {i!r}.")
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        i = int(i) % len(self)
        words, prompt, response = self._words[self.source[i]], self._prompt[i].tolist(), int(self._response[i])
        found = {"message": [strict_json.loads(words[m]) for m in prompt], "action": words[response]}
        if self._with_reward:
            found |= {"trajectory_reward": float(self._reward[i]), "same_as_next_screenshot": bool(self._same[i])}
        if self._tokens is not None:
            tokens = self._tokens[self.source[i]]
            found |= {"action_tokens": tokens[response].copy(), "message_tokens": [tokens[m].copy() for m in prompt]}
        return found

    @override
    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Samples({len(self)} of {self.eligible} eligible steps)"

    def shard(self, number: int, count: int) -> "Samples":
        """Return every ``count``-th sample from ``number`` on, so that the shards of all readers are all samples."""
        count = positive("count", count)
        if positive("number", number, 0) >= count:
            raise ConfigurationError(f"number={number} must be below count={count}.")
        part = object.__new__(Samples)
        vars(part).update(vars(self))
        for name in ("source", "trajectory", "step", "_reward", "_same", "_response", "_prompt"):
            setattr(part, name, getattr(self, name)[number::count])
        return part

    def _read(self, number: int, store: Any, some: np.ndarray, tokens: Any) -> None:
        fields = ["raw_prompt", "raw_response", "same_as_next"]
        found = store.read(self.trajectory[some], self.step[some], 1, fields)
        self._same[some] = found["same_as_next"][:, 0]
        self._response[some] = found["raw_response"][:, 0]
        prompts = found["raw_prompt"][:, 0]
        for i, prompt in zip(some.tolist(), prompts, strict=True):
            self._prompt[i] = prompt[prompt != NONE]
        used = np.unique(np.concatenate([self._response[some], prompts[prompts != NONE]]))
        texts = store.texts.lookup(used)
        self._words[number] = dict(zip(used.tolist(), texts, strict=True))
        if self._tokens is not None:
            batch = tokens(used)
            if batch.truncated.any():
                text = texts[int(np.argmax(batch.truncated))]
                raise ConfigurationError(f"{text[:60]!r} has more than max_len={tokens.max_len} tokens; none is cut.")
            rows = zip(used.tolist(), batch.tokens, batch.mask.sum(axis=1), strict=True)
            self._tokens[number] = {i: row[:length] for i, row, length in rows}
