"""Compiled functions that hand some of their arguments on: a compiled program would copy them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["place"])
@dataclass(frozen=True)
class _Argument:
    """Stands in a result for the argument with this number."""

    place: int


def forwarding(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of a pytree of arrays and of other arguments; results that are one of these arrays stay it.

    The caller gets the very array that it gave, so neither may be donated afterwards while the other is in use.
    """

    def traced(arrays: Any, *rest: Any) -> Any:
        places = {id(x): i for i, x in enumerate(jax.tree.leaves(arrays))}
        result = function(arrays, *rest)
        return jax.tree.map(lambda x: _Argument(places[id(x)]) if id(x) in places else x, result)

    compiled = jax.jit(traced)

    def call(arrays: Any, *rest: Any) -> Any:
        leaves = jax.tree.leaves(arrays)
        return jax.tree.map(
            lambda x: leaves[x.place] if isinstance(x, _Argument) else x,
            compiled(arrays, *rest),
            is_leaf=lambda x: isinstance(x, _Argument),
        )

    return call
