"""The ids of the texts that the episodes of a store refer to."""

import numpy as np

from jaxbuffers.episodes.core import Core
from jaxbuffers.episodes.reading import shaped


def text_ids(core: Core) -> np.ndarray:
    """Return the ids in the text fields of all episodes, int64 ``[n]``, each once."""
    rows, table, found = core.made, core.table, [np.zeros(0, np.int64)]
    if rows is not None and rows.layout.spec.texts:
        spec = rows.layout.spec
        leaves = [spec.paths.index(path) for path in spec.texts]
        places = zip(table["segment"].tolist(), table["offset"].tolist(), table["length"].tolist(), strict=True)
        for number, offset, length in places:
            columns = rows.segments.columns(number, core.known[number].rows)
            for leaf in leaves:
                ids = shaped(spec, leaf, columns[leaf][offset : offset + length], (length,))
                found.append(np.unique(ids).astype(np.int64))
    return np.unique(np.concatenate(found))
