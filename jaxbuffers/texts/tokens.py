"""Tokens: texts as arrays of token ids, in few lengths so that jit compiles few times."""

import os
import reprlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.errors import ConfigurationError, DtypeError
from jaxbuffers.texts.nested import integers
from jaxbuffers.texts.table import TextTable


class TokenBatch(NamedTuple):
    """Tokens of N texts, filled up to the smallest bucket L that holds the longest.

    Attributes:
      tokens: int32 ``[*S, L]``, ``pad`` past the end of a text.
      mask: bool ``[*S, L]``, True where there is a token.
      truncated: bool ``[*S]``, True where the text has more tokens than ``max_len``.
    """

    tokens: np.ndarray
    mask: np.ndarray
    truncated: np.ndarray


class Tokens:
    """A view of a text table through a tokenizer. Texts never change behind their id, so each is tokenized once.

    Args:
      table: whose ids are given.
      tokenizer: a function from ``str`` to a sequence of ints, or an object with ``encode`` that returns such a
        sequence or something with ``ids``, as Hugging Face's ``tokenizers`` do.
      max_len: the most tokens of a text; more are cut off, and ``truncated`` says so.
      buckets: the lengths L that a batch may have; ``max_len`` always is one of them.
      pad: the token past the end.
      cache_tokens: how many tokens to remember.

    >>> import jaxbuffers as jb
    >>> table = jb.TextTable()
    >>> words = {"go": 1, "to": 2, "the": 3, "red": 4, "door": 5}
    >>> tokens = jb.Tokens(table, lambda text: [words[w] for w in text.split()], max_len=16, buckets=(4, 8))
    >>> batch = tokens(table.intern(["go to the red door", "go to the door"]))
    >>> batch.tokens.shape, batch.mask.sum(axis=-1).tolist()
    ((2, 8), [5, 4])
    """

    def __init__(
        self,
        table: TextTable,
        tokenizer: Callable[[str], Sequence[int]] | Any,
        max_len: int,
        buckets: Sequence[int] = (),
        pad: int = 0,
        cache_tokens: int = 2**24,
    ) -> None:
        positive("max_len", max_len)
        if isinstance(buckets, int):
            raise ConfigurationError(f"buckets must be a tuple of lengths, such as ({buckets},).")
        for bucket in buckets:
            positive("a bucket", bucket)
            if bucket > max_len:
                raise ConfigurationError(f"the bucket {bucket} is larger than max_len={max_len}.")
        positive("cache_tokens", cache_tokens, 0)
        self.table, self.tokenizer, self.max_len, self.pad = table, tokenizer, max_len, pad
        self.buckets = tuple(sorted({*buckets, max_len}))
        self._encode = tokenizer.encode if hasattr(tokenizer, "encode") else tokenizer
        if not callable(self._encode) or isinstance(tokenizer, str):
            raise ConfigurationError(f"tokenizer must be a function or have encode(), got {tokenizer!r}.")
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._room = self._rooms = cache_tokens
        self._locks: dict[int, threading.Lock] = {}

    def __call__(self, ids: Any) -> TokenBatch:
        """Tokenize the texts of ids, int32 ``[*S]``; no text (-1) has no tokens."""
        array = integers(ids)
        flat = array.ravel()
        with self._lock:
            rows = self._tokens(flat)
        lengths = np.array([len(row) for row in rows], np.int64)
        bucket = next(b for b in self.buckets if b >= min(lengths.max(initial=0), self.max_len))
        tokens = np.full((len(flat), bucket), self.pad, np.int32)
        for line, row in zip(tokens, rows, strict=True):
            line[: min(len(row), bucket)] = row[:bucket]
        mask = np.arange(bucket) < lengths[:, None]
        shape = (*array.shape, bucket)
        return TokenBatch(tokens.reshape(shape), mask.reshape(shape), (lengths > self.max_len).reshape(array.shape))

    @property
    def _lock(self) -> threading.Lock:
        # That of this process: one that another thread held during a fork stays closed for ever.
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def _tokens(self, ids: np.ndarray) -> list[np.ndarray]:
        distinct = np.unique(ids).tolist()
        texts = self.table.lookup(np.array(distinct, np.int64))  # raises for ids that were freed, cached or not
        found = {}
        for i, text in zip(distinct, texts, strict=True):
            known = self._cache.get(i)
            found[i] = self._new(i, text) if known is None else known
            if i in self._cache:
                self._cache.move_to_end(i)
        return [found[i] for i in ids.tolist()]

    def _new(self, i: int, text: str | None) -> np.ndarray:
        if text is None:
            return np.zeros(0, np.int32)
        encoded = self._encode(text)
        try:
            given = np.asarray(getattr(encoded, "ids", encoded))
        except ValueError:  # lists of different lengths
            given = np.asarray(None)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            shown = reprlib.repr(encoded)
            raise DtypeError(f"the tokenizer must return a sequence of ints, got {shown} for {text[:40]!r}.")
        for token in (int(given.min()), int(given.max())) if given.size else ():
            if not -(2**31) <= token < 2**31:
                raise DtypeError(f"the tokenizer returned {token}, which is no int32.")
        row = given[: self.max_len + 1].astype(np.int32)  # one more, so that a cut is seen
        self._cache[i] = row
        self._room -= len(row)
        while self._room < 0 and self._cache:
            self._room += len(self._cache.popitem(last=False)[1])
        if not self._cache:
            self._room = self._rooms  # Ctrl-C between two steps may have left another
        return row
