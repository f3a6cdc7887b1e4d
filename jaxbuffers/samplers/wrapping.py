"""What every sampler is that holds another."""

import abc
from dataclasses import replace
from typing import Any

import jax
from typing_extensions import override

from jaxbuffers.batch import Draw, Index
from jaxbuffers.row import RowSpec
from jaxbuffers.samplers.base import Sampler, State
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal


class WrappingSampler(Sampler[State]):
    """A sampler that holds another and draws as that one does unless it says otherwise.

    Subclasses say which one (`inner`), return from `init` a dataclass with a field ``inner``, what that one remembers
    (``self.inner.init(windows)``), and begin `add`, `update` and `rewritten` with what this class does.
    """

    @property
    @abc.abstractmethod
    def inner(self) -> Sampler:
        """The sampler that is held."""

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        return self.inner.fields

    @property
    @override
    def takes_priority(self) -> bool:
        return self.inner.takes_priority

    @property
    @override
    def says_probability(self) -> bool:
        return self.inner.says_probability

    @override
    def check(self, spec: RowSpec) -> None:
        self.inner.check(spec)

    @abc.abstractmethod
    @override
    def init(self, windows: Windows) -> State: ...

    @override
    def add(self, state: Any, legal: Legal, added: Added, turnover: Turnover) -> Any:
        return replace(state, inner=self.inner.add(state.inner, legal, added, turnover))

    @override
    def can_draw(self, state: Any, legal: Legal, batch_size: int) -> jax.Array:
        return self.inner.can_draw(state.inner, legal, batch_size)

    @override
    def draw(self, state: Any, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        return self.inner.draw(state.inner, legal, key, batch_size)

    @override
    def probability(self, state: Any, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        return self.inner.probability(state.inner, legal, stream, start)

    @override
    def update(self, state: Any, legal: Legal, index: Index, priority: jax.Array | None) -> Any:
        return replace(state, inner=self.inner.update(state.inner, legal, index, priority))

    @override
    def rewritten(self, state: Any, legal: Legal, index: Index) -> Any:
        return replace(state, inner=self.inner.rewritten(state.inner, legal, index))
