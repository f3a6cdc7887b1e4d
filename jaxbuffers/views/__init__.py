"""Views: what a sample is."""

from jaxbuffers.views.base import Reader, View
from jaxbuffers.views.episodes import Episode, Episodes
from jaxbuffers.views.frame_stack import FrameStack
from jaxbuffers.views.hindsight import Hindsight
from jaxbuffers.views.items import Items
from jaxbuffers.views.sequences import Sequences
from jaxbuffers.views.transitions import Transition, Transitions
from jaxbuffers.views.wrapping import WrappingView

__all__ = [
    "Episode",
    "Episodes",
    "FrameStack",
    "Hindsight",
    "Items",
    "Reader",
    "Sequences",
    "Transition",
    "Transitions",
    "View",
    "WrappingView",
]
