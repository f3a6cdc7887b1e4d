"""parse_response and render_response: the answer of a model as tokens, and tokens as such an answer."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxbuffers.errors import ConfigurationError, DtypeError, ResponseError
from jaxbuffers.trajectories import grammars, strict_json
from jaxbuffers.trajectories.tokens import TOKENS, Region, Tokens, checked, settled


class Grammar(NamedTuple):
    """One way to write a response.

    Attributes:
      read: from the text to its tokens; it raises `ResponseError` where they cannot be read.
      write: from tokens to text; None if they are only read.
    """

    read: Callable[[str], Tokens]
    write: Callable[[Tokens], str] | None = None


def _reader(inner: Callable[[Region], Tokens]) -> Callable[[str], Tokens]:
    def read(text: str) -> Tokens:
        whole = Region(text, 0, len(text))
        if (alone := _alone(whole)) is not None and inner is grammars.from_json:
            return settled(alone, 0)
        thought, rest = grammars.thinking(whole)
        found = inner(rest)
        if thought:
            if "thinking" in found:
                raise ResponseError("repeated", rest.start, "there is thinking beside </think>.")
            found |= thought
        return settled(found, rest.start)

    return read


def _alone(whole: Region) -> Tokens | None:
    """Return the tokens of what is one JSON object and nothing else: marks within its texts mean nothing."""
    try:
        value = strict_json.loads(whole.text)
    except ValueError:
        return None
    return grammars.from_json(whole) if isinstance(value, dict) else None


def _any(region: Region) -> Tokens:
    if grammars.CALL.search(region.text, region.start, region.stop):
        return grammars.tool_call(region)
    if grammars.has_tags(region) or grammars.has_labels(region):
        return grammars.tagged_or_labelled(region)
    if grammars.FENCE.search(region.text, region.start, region.stop):
        return grammars.fenced(region)
    if "{" in region.inner:
        return grammars.from_json(region)
    raise ResponseError("not recognized", region.start, "there are no labels, tags, tool calls or JSON.")


def _auto(text: str) -> Tokens:
    if _alone(Region(text, 0, len(text))) is not None:
        return GRAMMARS["json"].read(text)
    return _reader(_any)(text)


def _think(tokens: Tokens, rest: str) -> str:
    return f"<think>{tokens['thinking']}</think>\n{rest}" if "thinking" in tokens else rest


def _parts(tokens: Tokens, form: str) -> list[str]:
    return [form.format(name, _text(tokens[name]), name.capitalize()) for name in TOKENS[1:] if name in tokens]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else strict_json.dumps(value)


def _call(tokens: Tokens) -> str:
    others = {name: value for name, value in tokens.items() if name != "tool_call"}
    call = f"<tool_call>{strict_json.dumps(tokens.get('tool_call'))}</tool_call>"
    return _think(tokens, "\n".join([*_parts(others, "{2}: {1}"), call]))


GRAMMARS: Mapping[str, Grammar] = MappingProxyType(
    {
        "json": Grammar(_reader(grammars.from_json), strict_json.dumps),
        "fenced": Grammar(_reader(grammars.fenced), lambda x: f"```json\n{strict_json.dumps(x)}\n```"),
        "labels": Grammar(_reader(grammars.labelled), lambda x: _think(x, "\n".join(_parts(x, "{2}: {1}")))),
        "tags": Grammar(_reader(grammars.tagged), lambda x: _think(x, "\n".join(_parts(x, "<{0}>{1}</{0}>")))),
        "tool_call": Grammar(_reader(grammars.tool_call), _call),
    }
)


def parse_response(text: str, grammar: str | Grammar | Callable[[str], Tokens] = "auto") -> Tokens:
    r"""Read what a model answered: its tokens, or an error; never a guess.

    The tokens are "thinking", "thought", "memory", "action", "tool_call" and "observation", those that there are. An
    answer without an action or a tool call is refused. ``<think>...</think>``, or a lone closing tag, may stand before
    everything else; prose may stand around it.

    Args:
      text: all of the answer.
      grammar: "json", "fenced" (JSON between ``` fences), "labels" (``Thought:``, ``Memory:``, ``Action:`` at the
        beginnings of lines), "tags" (``<action>...</action>``) or "tool_call" (``<tool_call>{json}</tool_call>``,
        labels or tags before it); "auto" for the one whose marks are there; or a function of your own, from the text to
        a dict of tokens, which raises `ResponseError` for what it cannot read.

    Returns:
      Texts by the names of the tokens. A tool call is a dict, and an action may be one, in JSON.

    Raises:
      ResponseError: with the reason and the place.

    >>> from jaxbuffers.trajectories import parse_response
    >>> parse_response("The login page.</think>Thought: log in\nAction: click(12, 34)")
    {'thinking': 'The login page.', 'thought': 'log in', 'action': 'click(12, 34)'}
    >>> parse_response("I would rather wait.")
    Traceback (most recent call last):
      ...
    jaxbuffers.errors.ResponseError: not recognized at character 0: there are no labels, tags, tool calls or JSON.
    """
    if not isinstance(text, str):
        raise DtypeError(f"a response is a str, got a {type(text).__name__}.")
    if isinstance(grammar, str) and grammar == "auto":
        return _auto(text)
    read = _grammar(grammar).read
    found = read(text)
    return found if isinstance(grammar, str) else checked(found, f"what {read!r} returned")


def render_response(tokens: Tokens, grammar: str | Grammar = "labels") -> str:
    """Write tokens, so that `parse_response` with the same grammar reads the same tokens again.

    Args:
      tokens: as `parse_response` returns them.
      grammar: see `parse_response`; one of your own is a `Grammar` with ``write``.

    Raises:
      ResponseError: they cannot be written in this grammar, as a thought that has a line "Action: ..." in it.
      DtypeError: they are no tokens.

    >>> from jaxbuffers.trajectories import render_response
    >>> print(render_response({"thought": "log in", "action": "click(12, 34)"}))
    Thought: log in
    Action: click(12, 34)
    """
    wanted, known = checked(tokens, "tokens"), _grammar(grammar)
    if known.write is None:
        raise ConfigurationError("this grammar only reads; give Grammar(read, write).")
    text = known.write(wanted)
    try:
        again = parse_response(text, grammar)
    except ResponseError as error:
        raise ResponseError("not writable", error.place, f"written, it would be refused: {error}") from error
    if again != wanted:
        differ = next(name for name in TOKENS if again.get(name) != wanted.get(name))
        raise ResponseError("not writable", 0, f"its {differ} would be read otherwise; write it as 'json'.")
    return text


def _grammar(grammar: Any) -> Grammar:
    if isinstance(grammar, Grammar):
        return grammar
    if callable(grammar):
        return Grammar(grammar)
    if isinstance(grammar, str) and grammar in GRAMMARS:
        return GRAMMARS[grammar]
    raise ConfigurationError(f"grammar must be auto, {', '.join(GRAMMARS)} or a function, got {grammar!r}.")
