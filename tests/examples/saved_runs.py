"""What a run of an example has left in its folder, to compare two of them."""

import json

import jax

import jaxbuffers as jb


def last(folder):
    """The last checkpoint, all of its bytes; of a store's episodes not the ids and times, which differ."""
    data = max(folder.rglob("step-*"), key=lambda path: path.name).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    words = json.loads(header["__metadata__"]["jaxbuffers"])
    if words["store"] is None:
        return data
    words["store"] = words["store"]["episodes"]
    header["__metadata__"]["jaxbuffers"] = words
    return header, data[8 + length : -4]  # the last checksum is that of the header


def stored(folder):
    """All rows of the store of episodes, oldest first, as bytes."""
    with jb.EpisodeStore(folder / "episodes", read_only=True) as store:
        return [[leaf.tobytes() for leaf in jax.tree.leaves(episode.rows)] for episode in store]
