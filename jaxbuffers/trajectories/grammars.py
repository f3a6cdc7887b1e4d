"""How responses are written: each function reads one way, in a region of the text, or raises `ResponseError`."""

import re
from collections.abc import Iterator

from jaxbuffers.errors import ResponseError
from jaxbuffers.trajectories import strict_json
from jaxbuffers.trajectories.tokens import Region, Tokens, put, token_name

OBJECT = re.compile(r"\{\s*[\"}]")  # how a JSON object begins; other braces are prose
WORDS = "Thinking|Thought|Memory(?:[_ ]Updated)?|Action|Observation"
LABEL = re.compile(rf"^[ \t]*(?:\*\*)?({WORDS})(?:\*\*)?:(?:\*\*)?", re.I | re.M)
TAG = re.compile(r"<(/?)(thinking|thought|memory|action|observation)>", re.I)
FENCE = re.compile(r"```[ \t]*(\w*)[ \t]*\n?(.*?)```", re.S)
THINK = re.compile(r"<(/?)think>", re.I)
CALL = re.compile(r"<(/?)tool_call>", re.I)


def thinking(whole: Region) -> tuple[Tokens, Region]:
    """Take ``<think>...</think>`` away, or all until a lone ``</think>``; return it, and what comes after."""
    marks = list(THINK.finditer(whole.text, whole.start, whole.stop))
    if not marks:
        return {}, whole
    kinds = "".join(mark[1] or "<" for mark in marks)
    if kinds == "<":
        raise ResponseError("unclosed", marks[0].start(), "<think> has no </think>: the response was cut off.")
    if kinds not in ("/", "</"):
        raise ResponseError("ambiguous", marks[-1].start(), "there are several <think> or </think>.")
    start = marks[0].end() if kinds == "</" else whole.start
    before = whole.part(whole.start, marks[0].start())
    if kinds == "</" and (has_tags(before) or has_labels(before) or CALL.search(before.inner)):
        raise ResponseError("ambiguous", whole.start, "there are tags or labels before <think>.")
    return {"thinking": whole.text[start : marks[-1].start()].strip()}, whole.part(marks[-1].end())


def from_json(region: Region) -> Tokens:
    """Read one JSON object, with prose around it or not."""
    objects = [each for each in _objects(region) if any(token_name(key) for key in each[1])]
    if not objects:
        raise ResponseError("not JSON", region.start, "there is no JSON object with the keys of a response.")
    if len(objects) > 1:
        raise ResponseError("ambiguous", objects[1][0], "there are several JSON objects.")
    return _tokens_of(*objects[0])


def fenced(region: Region) -> Tokens:
    """Read the JSON object between fences of backquotes."""
    blocks = [m for m in FENCE.finditer(region.text, region.start, region.stop) if m[1].lower() in ("", "json")]
    if not blocks:
        raise ResponseError("no fence", region.start, "there is no block between ```json and ```.")
    if len(blocks) > 1:
        raise ResponseError("ambiguous", blocks[1].start(), "there are several fenced blocks.")
    inside = region.part(blocks[0].start(2), blocks[0].end(2))
    try:
        value = strict_json.loads(inside.inner)
    except ValueError as error:
        at = inside.start + getattr(error, "pos", 0)
        raise ResponseError("not JSON", at, f"{getattr(error, 'msg', error)}.") from error
    if not isinstance(value, dict):
        raise ResponseError("not JSON", inside.start, "the block is no JSON object.")
    return _tokens_of(inside.start, value)


def tagged(region: Region) -> Tokens:
    """Read ``<thought>...</thought>``, ``<action>...</action>`` and their like."""
    found: Tokens = {}
    opened: tuple[str, int, int] | None = None
    for mark in TAG.finditer(region.text, region.start, region.stop):
        name = mark[2].lower()
        if opened is None:
            if mark[1]:
                raise ResponseError("unopened", mark.start(), f"{mark[0]} was never opened.")
            opened = (name, mark.start(), mark.end())
            continue
        if not mark[1] or name != opened[0]:
            raise ResponseError("unclosed", mark.start(), f"{mark[0]} stands within <{opened[0]}>.")
        put(found, name, region.text[opened[2] : mark.start()].strip(), opened[1])
        opened = None
    if opened is not None:
        raise ResponseError("unclosed", opened[1], f"<{opened[0]}> is not closed: the response was cut off.")
    return found


def labelled(region: Region) -> Tokens:
    """Read ``Thought:``, ``Memory:`` and ``Action:`` at the beginnings of lines; each goes on until the next."""
    found: Tokens = {}
    marks = list(LABEL.finditer(region.inner))  # lines of the region, so that it may begin within one
    ends = [*(mark.start() for mark in marks), len(region.inner)][1:]
    for mark, end in zip(marks, ends, strict=True):
        name = token_name(mark[1])
        assert name is not None
        put(found, name, region.inner[mark.end() : end].strip(), region.start + mark.start())
    return found


def tool_call(region: Region) -> Tokens:
    """Read ``<tool_call>{json}</tool_call>``, and tags or labels before it."""
    marks = list(CALL.finditer(region.text, region.start, region.stop))
    kinds = "".join(mark[1] or "<" for mark in marks)
    if kinds != "</":
        at = marks[-1].start() if marks else region.start
        reason = {"": "no tool call", "<": "unclosed", "/": "unopened"}.get(kinds, "ambiguous")
        raise ResponseError(reason, at, "there must be one <tool_call>...</tool_call>.")
    inside = region.part(marks[0].end(), marks[1].start())
    try:
        value = strict_json.loads(inside.inner)
    except ValueError as error:
        at = inside.start + getattr(error, "pos", 0)
        raise ResponseError("not JSON", at, f"{getattr(error, 'msg', error)}.") from error
    if not isinstance(value, dict):
        raise ResponseError("not JSON", inside.start, "a tool call is a JSON object.")
    before, after = region.part(region.start, marks[0].start()), region.part(marks[1].end())
    if has_tags(after) or has_labels(after):
        raise ResponseError("ambiguous", after.start, "there are tags or labels after the tool call.")
    found = tagged_or_labelled(before)
    put(found, "tool_call", value, marks[0].start())
    return found


def tagged_or_labelled(region: Region) -> Tokens:
    """Read tags or labels, whichever there are; refuse both at once."""
    if not has_tags(region):
        return labelled(region)
    found, at = tagged(region), region.start
    for mark in [*TAG.finditer(region.text, region.start, region.stop), None]:
        if mark is None or not mark[1]:
            outside = region.part(at, region.stop if mark is None else mark.start())
            if label := LABEL.search(outside.inner):
                place = outside.start + label.start()
                raise ResponseError("ambiguous", place, f"{label[0].strip()} stands beside tags.")
        else:
            at = mark.end()
    return found


def has_tags(region: Region) -> bool:
    """Whether there are tags of tokens."""
    return TAG.search(region.text, region.start, region.stop) is not None


def has_labels(region: Region) -> bool:
    """Whether there are labels at the beginnings of lines."""
    return LABEL.search(region.inner) is not None


def _objects(region: Region) -> Iterator[tuple[int, dict]]:
    text, at = region.text[: region.stop], region.start
    while found := OBJECT.search(text, at):
        try:
            value, at = strict_json.prefix(text, found.start())
        except ValueError as error:  # what is cut off or broken is not searched for parts that are whole
            place = getattr(error, "pos", found.start())
            raise ResponseError("not JSON", place, f"{getattr(error, 'msg', error)}.") from error
        yield found.start(), value


def _tokens_of(place: int, value: dict) -> Tokens:
    found: Tokens = {}
    for key, each in value.items():
        name = token_name(key)
        if name is None:
            raise ResponseError("unknown key", place, f"a response has no {key!r}.")
        if each is None:
            continue
        wrong = not isinstance(each, str | dict) or (isinstance(each, dict) and name not in ("action", "tool_call"))
        if wrong or (isinstance(each, str) and name == "tool_call"):
            raise ResponseError("wrong type", place, f"{key!r} is a {type(each).__name__}.")
        put(found, name, each, place)
    return found
