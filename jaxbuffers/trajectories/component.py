"""Component: a frozen dataclass whose fields are checked when it is made, and that is a dictionary elsewhere."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from jaxbuffers.checks import one_of, settle
from jaxbuffers.errors import TrajectoryError
from jaxbuffers.trajectories.kinds import Kind, json_dict, refused, shown

C = TypeVar("C", bound="Component")


class Component(abc.ABC):
    """A part of a trajectory. The values of its fields are its own copies; do not change them."""

    kinds: ClassVar[dict[str, Kind]]
    reserved: ClassVar[frozenset[str]] = frozenset()  # keys of the dictionary that are no fields

    def __post_init__(self) -> None:
        for name, kind in self.kinds.items():
            settle(self, **{name: kind(f"{type(self).__name__}.{name}", getattr(self, name))})
        extra = json_dict(f"{type(self).__name__}.extra", getattr(self, "extra", None))
        if taken := set(extra) & {*self.kinds, *self.reserved}:
            raise TrajectoryError(
                "value", f"{type(self).__name__}.extra", f"has {min(taken)!r}, which has a meaning of its own."
            )
        settle(self, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold, unknown keys that were kept beside them."""
        found = {name: _plain(getattr(self, name)) for name in self.kinds}
        return found | getattr(self, "extra", {})

    @classmethod
    def from_dict(cls: type[C], data: Any, unknown: str = "refuse") -> C:
        """Make a component of a dictionary, or of any object that has the fields as attributes.

        Args:
          data: a mapping by the names of the fields; those with a default may be missing.
          unknown: what to do with other keys: "refuse" them, or "keep" them in ``extra``.

        Raises:
          TrajectoryError: naming the field.
        """
        one_of("unknown", unknown, ("refuse", "keep"))
        if isinstance(data, cls):
            return data
        given = dict(mapping_of(cls.__name__, data))
        fields = {name: given.pop(name) for name in cls.kinds if name in given}
        if given and unknown == "refuse":
            raise TrajectoryError(
                "unknown",
                f"{cls.__name__}.{next(iter(given))}",
                f"is no field; {cls.__name__} has {', '.join(cls.kinds)}. Keep it with unknown='keep'.",
            )
        return cls.of_fields(fields, given, unknown)

    @classmethod
    def of_fields(cls: type[C], fields: dict[str, Any], extra: dict[str, Any], unknown: str) -> C:
        """Make a component of the values of its fields, which are not checked yet."""
        for each in dataclasses.fields(cls):  # type: ignore[arg-type]
            optional = each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING
            if not optional and each.name not in fields:
                raise TrajectoryError("missing", f"{cls.__name__}.{each.name}", "is missing.")
        return cls(**fields, extra=extra)  # type: ignore[call-arg]  # every component has it


def mapping_of(place: str, data: Any) -> Mapping[str, Any]:
    """Return an object's attributes, or a mapping as it is."""
    if isinstance(data, Mapping):
        for key in data:
            if not isinstance(key, str):
                raise refused(f"{place} has a key that", "a str", key)
        return data
    if hasattr(data, "__dict__") and not isinstance(data, type) and not callable(data):
        return vars(data)
    raise TrajectoryError("type", place, f"must be a dict or an object with its fields, got {shown(data)}.")


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return value.to_dict()
    return value
