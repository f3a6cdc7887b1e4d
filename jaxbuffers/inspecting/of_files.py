"""What there is to see of a text file, and of a file of arrays such as a checkpoint."""

import json
import os
from functools import partial
from typing import Any

import numpy as np

from jaxbuffers.errors import StructureError
from jaxbuffers.inspecting.of_checkpoint import cut, look_at_states
from jaxbuffers.inspecting.report import Histogram, Report, Table, size_of
from jaxbuffers.texts import TextTable

SOME = 20  # texts to show
AT_ONCE = 1000  # texts in memory
LONGEST = 2**27  # bytes of a header
READ = {"F32": "<f4", "I32": "<i4"}  # what is looked into


def look_at_texts(path: str) -> Report:
    """Look at a text table."""
    with TextTable(path, read_only=True) as table:
        report = Report(f"Text table {path}")
        report.facts += [("texts", f"{len(table):,}"), ("their bytes", size_of(table.nbytes))]
        report.facts.append(("on disk", size_of(os.path.getsize(path))))
        ids = table.ids()
        parts = (ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE))
        lengths = Histogram.of(
            "characters of a text", [len(text or "") for part in parts for text in table.lookup(part)]
        )
        report.histograms += [] if lengths is None else [lengths]
        for i, text in zip(ids[-SOME:].tolist(), table.lookup(ids[-SOME:]), strict=True):
            report.texts.append((f"id {i}", text or ""))
    return report


def look_at_arrays(path: str) -> Report:
    """Look at a file of arrays in the format of safetensors: a checkpoint, or a segment of a store.

    Raises:
      StructureError: it is no such file.
    """
    size = os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, LONGEST):
                raise ValueError("it does not begin with the length of a header")
            header = json.loads(file.read(length))
        words = header.pop("__metadata__", {})
        if not all(isinstance(word, str) for word in words.values()):
            raise ValueError("its header says something that is not text")
        rows = [(name, each["dtype"], str(each["shape"]), _span(each)) for name, each in header.items()]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise StructureError(f"{path} is not a file in the format of safetensors: {error}.") from error
    report = Report(f"File of arrays {path}", [("arrays", f"{len(rows):,}"), ("on disk", size_of(size))])
    ended = 8 + length + max((each["data_offsets"][1] for each in header.values()), default=0)
    if ended != size:
        report.warnings.append(f"the file has {size:,} bytes, its header speaks of {ended:,}.")
    told = [("name", "dtype", "shape", "bytes"), *((*row[:3], size_of(row[3])) for row in rows)]
    report.tables.append(Table("Arrays", told))
    if "jaxbuffers" in words and (said := _checkpoint(words["jaxbuffers"])) is not None:
        report.title = f"Checkpoint {path}"
        where = {name: (8 + length + each["data_offsets"][0], each) for name, each in header.items()}
        readers = {name: partial(_array, path, *each) for name, each in where.items() if each[1]["dtype"] in READ}
        look_at_states(report, said, readers)
    else:
        report.facts += [(name, _told(value)) for name, value in words.items()]
    return report


def _checkpoint(words: str) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself; None where this is none."""
    try:
        said = json.loads(words)
    except ValueError:
        return None
    known = isinstance(said, dict) and all(isinstance(said.get(name), dict) for name in ("versions", "made_by"))
    return said if known else None


def _array(path: str, start: int, entry: dict[str, Any]) -> np.ndarray:
    """Read an array."""
    dtype = np.dtype(READ[entry["dtype"]])
    return np.fromfile(path, dtype, _span(entry) // dtype.itemsize, offset=start).reshape(entry["shape"])


def _span(entry: dict[str, Any]) -> int:
    start, end = entry["data_offsets"]
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end and isinstance(entry["dtype"], str)):
        raise ValueError(f"its header has an entry {entry}")
    return end - start


def _told(value: str) -> str:
    """Return what a header says beside the arrays, JSON as lines of its first level."""
    try:
        parsed = json.loads(value)
    except (RecursionError, ValueError):
        return value
    if not isinstance(parsed, dict):
        return str(parsed)
    return "\n".join(f"{name}: {cut(json.dumps(each))}" for name, each in parsed.items())
