"""Writers in checkpoints: the rows of open episodes, which are not in the store yet, and the texts in them."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from jaxbuffers.checkpoint.tree import Holder, Part
from jaxbuffers.episodes.writer import EpisodeWriter
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.texts.coding import decode, encode

Leaves = dict[str, Any]


def _part(writer: EpisodeWriter) -> Part:
    fill, texts = writer.open_rows, writer.texts
    most = int(fill.max())
    there = np.arange(most) < fill[:, None]  # what lies behind an episode's last row is nobody's
    rows = [np.where(_wide(there, leaf.ndim), leaf[:, :most], np.zeros((), leaf.dtype)) for leaf in writer._open]
    ids = np.unique(writer.text_ids())
    known = [(i, encode(text)) for i, text in zip(ids.tolist(), texts.lookup(ids), strict=True) if text is not None]
    data = b"".join(data for _, data in known)
    tree = {
        "fill": fill,
        "rows": rows,
        "ids": np.array([i for i, _ in known], np.int64),
        "sizes": np.array([len(data) for _, data in known], np.int64),
        "texts": np.frombuffer(data, np.uint8),
    }
    facts = {"row": str(writer._spec), "streams": len(fill), "most": most, "texts": [len(known), len(data)]}
    return Part(tree, facts)


def _like(writer: EpisodeWriter, facts: dict[str, Any]) -> Leaves:
    ours = {"row": str(writer._spec), "streams": len(writer.open_rows)}
    if wrong := [name for name, value in ours.items() if facts[name] != value]:
        said = "; ".join(f"{name}: saved {facts[name]}, here {ours[name]}" for name in wrong)
        raise ConfigurationError(f"the rows were saved from another writer: {said}.")
    writer._refuse_closed()
    (number, size), lead = facts["texts"], (facts["streams"], facts["most"])
    specs = zip(writer._spec.shapes, writer._spec.dtypes, strict=True)
    return {
        "fill": np.zeros(lead[:1], np.int64),
        "rows": [np.zeros((*lead, *shape), dtype) for shape, dtype in specs],
        "ids": np.zeros(number, np.int64),
        "sizes": np.zeros(number, np.int64),
        "texts": np.zeros(size, np.uint8),
    }


def _take(writer: EpisodeWriter, tree: Leaves) -> None:
    with writer._section():
        ids, ends, data = tree["ids"], np.cumsum(tree["sizes"]), tree["texts"].tobytes()
        begins = ends - tree["sizes"]
        texts = [decode(data[begin:end]) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        new, rows = writer.texts.intern(texts), [np.array(leaf) for leaf in tree["rows"]]
        for path, leaf in zip(writer._spec.paths, rows, strict=True):
            if path in writer._spec.texts and len(ids):  # the same text may have another id in this process
                at = np.minimum(np.searchsorted(ids, leaf), len(ids) - 1)
                leaf[:] = np.where(ids[at] == leaf, new[at], leaf)
        writer._open, writer._fill = rows, np.array(tree["fill"])


def _section(writer: EpisodeWriter) -> AbstractContextManager[Any]:
    section: AbstractContextManager[Any] = writer._section()
    return section


def _wide(mask: np.ndarray, axes: int) -> np.ndarray:
    return mask.reshape(*mask.shape, *[1] * (axes - 2))


WRITER = Holder(_part, _like, _take, _section)
