"""What a user says about a checkpoint: JSON that comes back as it was."""

from typing import Any

from jaxbuffers.errors import DtypeError


def checked(value: Any, name: str = "metadata") -> Any:
    """Return the value, if JSON holds it as it is; refuse what would come back as something else.

    >>> checked({"step": 3, "scores": [0.5, 1.0]})
    {'step': 3, 'scores': [0.5, 1.0]}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [checked(each, f"{name}[{i}]") for i, each in enumerate(value)]
    if type(value) is dict:
        if odd := [key for key in value if type(key) is not str]:
            raise DtypeError(f"{name} has the key {odd[0]!r}; keys are str in JSON.")
        return {key: checked(each, f"{name}[{key!r}]") for key, each in value.items()}
    raise DtypeError(
        f"{name} is a {type(value).__name__}, which JSON would not give back as it is: write x.item() or x.tolist() "
        f"for numbers of NumPy and JAX, list(x) for a tuple; arrays belong in the tree."
    )
