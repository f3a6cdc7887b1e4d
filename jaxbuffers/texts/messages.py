"""Prompts as lists of messages: each message is stored once, however many prompts repeat it."""

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.errors import DtypeError, ShapeError
from jaxbuffers.texts.nested import NULL
from jaxbuffers.texts.table import TextTable


def intern_messages(table: TextTable, prompts: Sequence[Sequence[str]], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Store the messages of prompts.

    Prompts that share their system prompt or their earlier rounds share the ids of those messages; a field
    ``jb.text[size]`` holds one prompt a row.

    Args:
      table: where the texts go.
      prompts: for each prompt its messages, oldest first.
      size: M, the most messages a prompt may have.

    Returns:
      The ids, int32 ``[N, M]``, -1 past the end of a prompt, and a bool ``[N, M]``, which are messages.

    Raises:
      ShapeError: a prompt has more than M messages; nothing is stored.

    >>> import jaxbuffers as jb
    >>> table = jb.TextTable()
    >>> ids, mask = jb.intern_messages(table, [["be brief", "hi"], ["be brief", "hi", "hello", "bye"]], size=4)
    >>> mask.sum(axis=1).tolist(), len(table)
    ([2, 4], 4)
    >>> jb.lookup_messages(table, ids[0])
    ['be brief', 'hi']
    """
    positive("size", size)
    for i, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            raise DtypeError(f"prompts[{i}] is a str, expected a list of messages.")
        if len(prompt) > size:
            raise ShapeError(f"prompts[{i}] has {len(prompt)} messages, more than size={size}; nothing is cut off.")
        if not all(isinstance(message, str) for message in prompt):
            raise DtypeError(
                f"prompts[{i}] must be a list of str, got {reprlib.repr(prompt)}. Write one with a role as one "
                f"str, such as json.dumps(message)."
            )
    flat = table.intern([message for prompt in prompts for message in prompt])
    mask = np.arange(size) < np.array([len(prompt) for prompt in prompts], np.int32).reshape(-1, 1)
    ids = np.full(mask.shape, NULL, np.int32)
    ids[mask] = flat
    return ids, mask


def lookup_messages(table: TextTable, ids: Any) -> Any:
    """Rebuild prompts: int32 ``[M]`` to a list of messages, ``[*S, M]`` to nested lists of them."""
    array = np.asarray(ids)
    if not array.ndim:
        raise ShapeError("ids must be an array [..., M], the messages of a prompt along the last axis.")
    texts = table.lookup(array)

    def strip(nested: Any, depth: int) -> Any:
        return [strip(x, depth - 1) for x in nested] if depth else [x for x in nested if x is not None]

    return strip(texts, array.ndim - 1)
