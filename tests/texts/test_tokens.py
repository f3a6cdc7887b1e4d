"""Texts as tokens, in few shapes."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxbuffers as jb


class Counting:
    """One token for each letter; counts how often it is asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, text):
        self.asked.append(text)
        return [ord(letter) for letter in text]


@pytest.fixture
def table():
    return jb.TextTable()


@pytest.fixture
def letters():
    return Counting()


def test_tokens_masks_and_cuts(table, letters):
    tokens = jb.Tokens(table, letters, max_len=6, buckets=(2, 4), pad=-7)
    ids = table.intern([["a", "abc", None], ["", "abcdef", "abcdefg"]])
    got = tokens(ids)
    assert got.tokens.shape == got.mask.shape == (2, 3, 6)
    assert (got.tokens.dtype, got.mask.dtype, got.truncated.dtype) == (np.int32, np.bool_, np.bool_)
    for where, text in np.ndenumerate(np.array([["a", "abc", ""], ["", "abcdef", "abcdef"]], object)):
        assert "".join(map(chr, got.tokens[where][got.mask[where]])) == text
        assert (got.tokens[where][~got.mask[where]] == -7).all()
        assert got.mask[where].tolist() == [True] * len(text) + [False] * (6 - len(text))
    assert got.truncated.tolist() == [[False, False, False], [False, False, True]]


@pytest.mark.parametrize("longest, bucket", [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (5, 9), (9, 9), (10, 9)])
def test_the_smallest_bucket_that_holds_the_longest(table, letters, longest, bucket):
    tokens = jb.Tokens(table, letters, max_len=9, buckets=(4, 2, 4))
    assert tokens.buckets == (2, 4, 9)
    assert tokens(table.intern(["", "a" * longest])).tokens.shape == (2, bucket)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), ()])
def test_empty_batches_and_scalars(table, letters, shape):
    got = jb.Tokens(table, letters, max_len=8, buckets=(4,))(np.full(shape, -1, np.int32))
    assert got.tokens.shape == got.mask.shape == (*shape, 4)
    assert got.truncated.shape == shape
    assert not got.mask.any()
    assert jb.Tokens(table, letters, max_len=8)([]).tokens.shape == (0, 8)


def test_few_compilations(table, letters):
    tokens = jb.Tokens(table, letters, max_len=16, buckets=(4, 8))
    total = jax.jit(lambda batch: batch.tokens.sum(where=batch.mask))
    for length in range(17):
        text = "a" * length
        assert total(tokens(table.intern([text, "b"]))) == ord("a") * length + ord("b")
    assert total._cache_size() == 3


def test_each_text_is_tokenized_once(table, letters):
    tokens = jb.Tokens(table, letters, max_len=3)
    ids = table.intern(["a", "bb", "a", "long text"])
    first = tokens(ids)
    first.tokens[:] = 99  # its own memory
    again = tokens(ids[::-1])
    assert sorted(letters.asked) == ["a", "bb", "long text"]
    assert again.tokens.tolist() == [[ord(x) for x in "lon"], [97, 0, 0], [98, 98, 0], [97, 0, 0]]
    assert again.truncated.tolist() == [True, False, False, False], "a cut is remembered too"


def test_the_cache_is_bounded_and_forgets_the_oldest(table, letters):
    tokens = jb.Tokens(table, letters, max_len=8, cache_tokens=6)
    a, b, c, long = (table.intern(x) for x in ("aa", "bb", "cc", "longer one"))
    tokens(np.stack([a, b, c]))
    tokens(a)
    tokens(table.intern("dd"))  # b goes
    letters.asked.clear()
    tokens(np.stack([a, c]))
    assert letters.asked == []
    tokens(b)
    assert letters.asked == ["bb"]
    for _ in range(3):  # more than the whole cache
        assert tokens(np.stack([long, a])).mask.sum() == 10
        assert sum(map(len, tokens._cache.values())) + tokens._room == 6
    nothing = jb.Tokens(table, letters, max_len=8, cache_tokens=0)
    assert nothing(np.stack([a, b])).mask.sum() == 4
    assert not nothing._cache


def test_a_freed_text_raises_though_its_tokens_are_cached(table, letters, replay):
    _, state, _ = replay
    tokens = jb.Tokens(table, letters, max_len=8)
    i = table.intern("a")
    tokens(i)
    table.sweep(state)
    with pytest.raises(jb.errors.UnknownTextError, match=f"text id {i} "):
        tokens(i)
    assert tokens(table.intern("a")).tokens[0] == ord("a")


@pytest.mark.parametrize(
    "returned",
    [[1, 2], (1, 2), np.array([1, 2], np.uint8), np.array([1, 2], np.int64), SimpleNamespace(ids=[1, 2])],
    ids=lambda x: type(x).__name__,
)
@pytest.mark.parametrize("encodes", [False, True])
def test_any_tokenizer(table, returned, encodes):
    tokenizer = SimpleNamespace(encode=lambda text: returned) if encodes else lambda text: returned
    got = jb.Tokens(table, tokenizer, max_len=4)(table.intern("x"))
    assert got.tokens.tolist() == [1, 2, 0, 0]
    assert got.mask.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "returned", [[1.0], ["a"], 3, None, [[1]], [[1], [1, 2]], [True], "ab", {"input_ids": [1]}], ids=str
)
def test_what_is_no_sequence_of_ints_is_refused(table, returned):
    tokens = jb.Tokens(table, lambda text: returned, max_len=4)
    with pytest.raises(
        jb.errors.DtypeError, match=r"the tokenizer must return a sequence of ints, got .* for 'some text'"
    ):
        tokens(table.intern("some text"))
    assert not tokens._cache


@pytest.mark.parametrize("token", [2**31, -(2**31) - 1, 2**63])
def test_tokens_are_int32(table, token):
    with pytest.raises(jb.errors.DtypeError, match=f"the tokenizer returned {token}, which is no int32"):
        jb.Tokens(table, lambda text: np.array([token]), max_len=4)(table.intern("x"))


@pytest.mark.parametrize("ids", [[1.5], np.ones(2, np.float32), True, ["a"]], ids=str)
def test_ids_must_be_integers(table, letters, ids):
    with pytest.raises(jb.errors.DtypeError, match=r"ids must be integers"):
        jb.Tokens(table, letters, max_len=4)(ids)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_len": 0}, "max_len must be an int of at least 1"),
        ({"max_len": 4, "buckets": (5,)}, "the bucket 5 is larger than max_len=4"),
        ({"max_len": 4, "buckets": (0,)}, "a bucket must be an int of at least 1"),
        ({"max_len": 4, "cache_tokens": -1}, "cache_tokens must be an int of at least 0"),
        ({"max_len": 4, "tokenizer": 3}, r"tokenizer must be a function or have encode\(\), got 3"),
    ],
)
def test_impossible_options(table, options, message):
    with pytest.raises(jb.errors.ConfigurationError, match=message):
        jb.Tokens(table, **{"tokenizer": list, **options})


def test_a_tokenizer_of_hugging_face():
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=60, special_tokens=["[UNK]"], show_progress=False)
    said = ["go to the red ball", "pick up a key"]
    model.train_from_iterator(said * 10, trainer)
    table = jb.TextTable()
    batch = jb.Tokens(table, model, max_len=16, buckets=(4, 8))(table.intern(said))
    assert batch.tokens.shape == (2, 8)
    for line, mask, text in zip(batch.tokens, batch.mask, said, strict=True):
        assert line[mask].tolist() == model.encode(text).ids
        assert model.decode(line[mask].tolist()) == text
