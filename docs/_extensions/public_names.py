"""Every public name of the library, in full."""

from types import ModuleType

import jaxbuffers
import jaxbuffers.testing

MODULES = ("checkpoint", "datasets", "episodes", "errors", "filters", "loading", "planet", "returns", "trajectories")


def public_names() -> set[str]:
    """Return the names that the reference must document."""
    names = {f"jaxbuffers.{name}" for name in jaxbuffers.__all__ if name not in MODULES}
    for name in ("testing", *MODULES):
        module = getattr(jaxbuffers, name)
        again = {each for each in _members(module) if getattr(jaxbuffers, each, None) is getattr(module, each)}
        names |= {f"jaxbuffers.{name}.{member}" for member in _members(module) if member not in again}
    return names - {"jaxbuffers.errors.debug_checks"}  # it is jaxbuffers.debug_checks


def _members(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return module.__all__
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    ours = [name for name, value in public.items() if getattr(value, "__module__", None) == module.__name__]
    return [name for name in ours if name not in ("check", "debugging")]
