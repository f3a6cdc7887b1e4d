"""All views, and all samplers, speak one protocol: the same methods with the same parameter names."""

import dataclasses
import inspect

import pytest

import jaxbuffers as jb


def exported(base):
    found = [value for value in vars(jb).values() if inspect.isclass(value) and issubclass(value, base)]
    return [value for value in found if value not in (base, jb.WrappingView, jb.WrappingSampler)]


VIEWS, SAMPLERS = exported(jb.View), exported(jb.Sampler)
EVERY = [(base, kind) for base, kinds in ((jb.View, VIEWS), (jb.Sampler, SAMPLERS)) for kind in kinds]
every = pytest.mark.parametrize("base, kind", EVERY, ids=lambda kind: kind.__name__)


def methods(kind):
    return {
        name: list(inspect.signature(value).parameters)
        for name, value in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def test_the_views_and_samplers_of_the_package_are_found():
    assert {jb.Items, jb.Transitions, jb.Sequences} <= set(VIEWS)
    assert jb.Uniform in SAMPLERS


@every
def test_protocol_methods_have_the_same_parameter_names_everywhere(base, kind):
    assert methods(base).items() <= methods(kind).items()


@every
def test_a_property_of_the_protocol_is_a_property_or_a_field_everywhere(base, kind):
    for name, value in inspect.getmembers(base):
        if isinstance(value, property):
            fields = {each.name for each in dataclasses.fields(kind)}
            assert name in fields or isinstance(inspect.getattr_static(kind, name), property)


@every
def test_every_view_and_sampler_is_a_frozen_dataclass_and_final(base, kind):
    """Abstract or final: no class derives from one that can be made an instance of."""
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert not inspect.isabstract(kind)
    assert all(inspect.isabstract(parent) for parent in kind.__mro__[1:] if issubclass(parent, base))


@pytest.mark.parametrize("base", [jb.View, jb.Sampler, jb.WrappingView, jb.WrappingSampler])
def test_the_protocols_themselves_cannot_be_made_instances_of(base):
    with pytest.raises(TypeError, match="abstract"):
        base()
