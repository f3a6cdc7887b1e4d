"""For loops in Python: stateful shells around the pure replay."""

from jaxbuffers.checkpoint.tree import register
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.checkpoints import DEMONSTRATIONS, REPLAY
from jaxbuffers.host.dataset import BatchDataset, Collated, WindowDataset, collate
from jaxbuffers.host.demonstrations import Demonstrations
from jaxbuffers.host.inbox import Inbox, InboxBlock
from jaxbuffers.host.replay import HostReplay

__all__ = [
    "BatchDataset",
    "Collated",
    "Demonstrations",
    "HostBatch",
    "HostReplay",
    "Inbox",
    "InboxBlock",
    "WindowDataset",
    "collate",
]

register(HostReplay, REPLAY)
register(Demonstrations, DEMONSTRATIONS)
