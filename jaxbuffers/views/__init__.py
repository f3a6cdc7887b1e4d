"""Views: what a sample is."""

from jaxbuffers.views.base import Reader, View
from jaxbuffers.views.items import Items
from jaxbuffers.views.sequences import Sequences
from jaxbuffers.views.transitions import Transition, Transitions

__all__ = ["Items", "Reader", "Sequences", "Transition", "Transitions", "View"]
