"""Text on the host: the side table, messages, tokens."""

from jaxbuffers.texts.messages import intern_messages, lookup_messages
from jaxbuffers.texts.remap import Remap
from jaxbuffers.texts.table import TextTable
from jaxbuffers.texts.tokens import TokenBatch, Tokens

__all__ = ["Remap", "TextTable", "TokenBatch", "Tokens", "intern_messages", "lookup_messages"]
