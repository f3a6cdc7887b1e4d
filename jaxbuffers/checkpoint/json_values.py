"""What a user says about a checkpoint: JSON that comes back as it was."""

from typing import Any

from jaxbuffers.errors import DtypeError

BITS = 14_000  # of an int; Python writes and reads no longer ones, but for those who ask it to
DEPTH = 100  # of lists and dicts in one another


def checked(value: Any, name: str = "metadata", depth: int = 0) -> Any:
    """Return the value, if JSON holds it as it is; refuse what would come back as something else.

    >>> checked({"step": 3, "scores": [0.5, 1.0]})
    {'step': 3, 'scores': [0.5, 1.0]}
    """
    if type(value) is int and value.bit_length() > BITS:
        raise DtypeError(f"{name} is an int of {value.bit_length()} bits, more than {BITS}; write hex(x), a str.")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, dict) and depth == DEPTH:
        raise DtypeError(f"{name[:40]}... is nested more than {DEPTH} deep, or holds itself.")
    if type(value) is list:
        return [checked(each, f"{name}[{i}]", depth + 1) for i, each in enumerate(value)]
    if type(value) is dict:
        if odd := [key for key in value if type(key) is not str]:
            raise DtypeError(f"{name} has the key {odd[0]!r}; keys are str in JSON.")
        return {key: checked(each, f"{name}[{key!r}]", depth + 1) for key, each in value.items()}
    raise DtypeError(
        f"{name} is a {type(value).__name__}, which JSON would not give back as it is: write x.item() or x.tolist() "
        f"for numbers of NumPy and JAX, list(x) for a tuple; arrays belong in the tree."
    )
