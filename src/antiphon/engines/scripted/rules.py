"""What the scripted gpt-oss does next: think, call a tool, answer from results, write JSON."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from antiphon.codec.grammar.plan import AnyText, Call, JsonBody, Plan
from antiphon.engines.scripted.answers import answer, is_plain
from antiphon.engines.scripted.arithmetic import find_expression
from antiphon.engines.scripted.hints import MAX_TEXT, Hints, subjects, words_of
from antiphon.engines.scripted.instance import instance
from antiphon.engines.scripted.scene import Scene
from antiphon.engines.scripted.typescript_reader import OfferedTool
from antiphon.model.message import Message
from antiphon.model.tools import FUNCTIONS

__all__ = ["MAX_PARALLEL", "respond"]

MAX_PARALLEL: Final = 8
"""Most calls in one turn."""

_MAX_FACTS: Final = 4_000
_DECLINED: Final = re.compile(
    r"\b(?:do not|don't|don’t|without|never|no need to|not) (?:use|using|call|calling)?\s*"
    r"(?:any |a |the |your )*(?:tool|function)s?\b",
    re.IGNORECASE,
)
_SEVERAL: Final = re.compile(
    r"\b(?:both|all|each|every|in parallel|at once|simultaneously|once per|several|two calls)\b",
    re.IGNORECASE,
)
_AT_LENGTH: Final = re.compile(
    r"\b(?:think (?:it )?(?:through|carefully|hard)|step[- ]by[- ]step|at length|reason(?:ing)?)\b",
    re.IGNORECASE,
)
_KEYS: Final = re.compile(r"\bkeys?\b([^.\n]{1,200})", re.IGNORECASE)
_KEY: Final = re.compile(r"[\"'`“]([^\"'`”]{1,40})[\"'`”]\s*(?:\(([^)]{0,40})\))?")
_COMMON: Final = frozenset(
    "a an the for of to in is and or get current it its by be with this that use tool tools call"
    " function functions what when returns return given one any from on at as".split()
)
_SUM_WORDS: Final = frozenset(
    "calculate calculator math arithmetic add sum evaluate multiply".split()
)


class _Offer(msgspec.Struct, frozen=True):
    """A tool that may be called now. ``schema`` is None for free text."""

    recipient: str
    channel: str
    schema: dict[str, Any] | None
    description: str = ""

    @property
    def name(self) -> str:
        return self.recipient.rpartition(".")[2]


def respond(scene: Scene, plan: Plan | None, *, seed: int, room: int | None) -> list[Message]:
    """The messages of the next completion: at most one of reasoning, then calls or one answer."""
    offers = _offers(scene.tools, plan)
    forced = plan is not None and plan.final is None
    calls = _calls(scene, plan, offers, forced=forced)
    reasons = plan is None or plan.analysis
    if calls:
        thought = f"I should call {' and '.join(dict.fromkeys([c.name for c, _ in calls]))}."
        said = [_call(offer, subject, scene) for offer, subject in calls]
    else:
        schema = _schema(scene, plan)
        text = _result(scene) if schema is None else None
        if schema is not None:
            thought = "The answer must be JSON."
            text = _json(scene, schema)
        elif text is not None:
            thought = "The tool has answered."
        else:
            thought = "Answer directly."
            text = answer(scene, seed=seed, room=room)
        said = [Message.final(text)]
    reasoning = _reasoning(scene, thought) if reasons else None
    return said if reasoning is None else [Message.analysis(reasoning), *said]


def _offers(tools: tuple[OfferedTool, ...], plan: Plan | None) -> list[_Offer]:
    if plan is None:
        return [
            _Offer(
                tool.recipient,
                "commentary" if tool.recipient.startswith(f"{FUNCTIONS}.") else "analysis",
                tool.schema,
                tool.description,
            )
            for tool in tools
        ]
    shown = {tool.recipient: tool for tool in tools}
    return [_offer(call, shown.get(call.recipient)) for call in plan.calls]


def _offer(call: Call, shown: OfferedTool | None) -> _Offer:
    """The tool of a plan, which leaves types open where nothing is strict: then the prompt's."""
    schema = call.body.schema if isinstance(call.body, JsonBody) else None
    if schema is not None and schema.keys() <= {"type"} and shown and shown.schema:
        schema = shown.schema
    description = "" if shown is None else shown.description
    return _Offer(call.recipient, call.channels[0], schema, description)


def _calls(
    scene: Scene, plan: Plan | None, offers: list[_Offer], *, forced: bool
) -> list[tuple[_Offer, str | None]]:
    """The calls to make now, each with what it is about."""
    if not offers:
        return []
    text = scene.user
    named = _named(offers, text)
    if scene.results and not forced:
        done = {(message.name or "").rpartition(".")[2] for message in scene.results}
        left = [offer for offer in named if offer.name not in done]
        return [(left[0], None)] if left and len(named) > 1 else []
    if not forced and (not text.strip() or _DECLINED.search(text[:MAX_TEXT])):
        return []
    ranked = _ranked(offers, text)
    if not forced and not named and not ranked[0][0] and is_plain(scene):
        return []
    about = subjects(text)
    best = named[0] if named else ranked[0][1]
    parallel = plan is None or plan.parallel
    if not parallel:
        return [(best, about[0] if about else None)]
    several = bool(_SEVERAL.search(text[:MAX_TEXT]))
    fitting = [offer for score, offer in ranked if score] or [best]
    if several and len(fitting) > 1:
        return [(offer, about[0] if about else None) for offer in fitting[:MAX_PARALLEL]]
    if len(about) > 1 and _takes_subject(best):
        return [(best, subject) for subject in about[:MAX_PARALLEL]]
    return [(best, about[0] if about else None)]


def _named(offers: list[_Offer], text: str) -> list[_Offer]:
    """The tools that the user names, in the order of their names in the text."""
    head = text[:MAX_TEXT]
    found = []
    for offer in offers:
        if ("_" in offer.name or len(offer.name) > 3) and (
            at := re.search(rf"(?<![\w.]){re.escape(offer.name)}(?!\w)", head)
        ):
            plain_word = offer.name.isalpha() and offer.name.islower()
            if not plain_word or re.search(
                rf"\b{offer.name} (?:tool|function)\b|`{offer.name}`", head
            ):
                found.append((at.start(), offer))
    return [offer for _, offer in sorted(found, key=lambda pair: pair[0])]


def _ranked(offers: list[_Offer], text: str) -> list[tuple[int, _Offer]]:
    """The tools by how much of their words the user said, the best first."""
    head = text[:MAX_TEXT].lower()
    said = {word for word in re.findall(r"[^\W_]+", head) if word not in _COMMON}
    if find_expression(head):
        said |= _SUM_WORDS
    scored = []
    for offer in offers:
        name = {word for word in words_of(offer.name) if word not in _COMMON}
        described = set(re.findall(r"[^\W_]+", offer.description.lower()[:500])) - _COMMON
        score = 3 * len(name & said) + len((described - name) & said)
        scored.append((score, offer))
    return sorted(scored, key=lambda pair: -pair[0])


def _takes_subject(offer: _Offer) -> bool:
    properties = (offer.schema or {}).get("properties")
    if not isinstance(properties, dict):
        return False
    probe = Hints("", subject="x")
    return any(
        isinstance(value, dict) and "x" in probe(name, value, True)
        for name, value in properties.items()
    )


def _call(offer: _Offer, subject: str | None, scene: Scene) -> Message:
    text = scene.user
    if offer.schema is None:
        expression = find_expression(text[:MAX_TEXT])
        code = f"print({expression})" if expression else "print('done')"
        body = code if offer.recipient == "python" else text.strip()
        kind = "code" if offer.recipient == "python" else None
        return Message.call(offer.recipient, body, channel=offer.channel, content_type=kind)
    hints = Hints(text, facts=_facts(scene), subject=subject)
    arguments = instance(offer.schema, hints)
    if not isinstance(arguments, dict):
        arguments = {}
    return Message.call(offer.recipient, _encoded(arguments), channel=offer.channel)


def _schema(scene: Scene, plan: Plan | None) -> dict[str, Any] | None:
    if plan is None:
        return scene.schema
    if isinstance(plan.final, AnyText) or plan.final is None:
        return None
    return plan.final.schema


def _json(scene: Scene, schema: dict[str, Any]) -> str:
    """An instance of the schema; for any object, one with the keys that the user asks for."""
    facts = _facts(scene)
    hints = Hints(scene.user, facts=facts)
    if schema.keys() <= {"type", "$schema", "title", "description", "additionalProperties"}:
        asked = _KEYS.search(scene.user[:MAX_TEXT])
        keys = _KEY.findall(asked.group(1)) if asked else []
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            return _encoded(
                {k: _typed(kind, k, hints) for k, kind in keys} or facts or {"ok": True}
            )
    return _encoded(instance(schema, hints, generous=True))


def _typed(kind: str, name: str, hints: Hints) -> Any:
    types = {"number": "number", "integer": "integer", "bool": "boolean", "array": "array"}
    word = next((t for part, t in types.items() if part in kind.lower()), "string")
    return instance(
        {"type": "object", "properties": {name: {"type": word}}, "required": [name]}, hints
    )[name]


def _facts(scene: Scene) -> dict[str, Any]:
    """The fields of the tool results that are JSON objects; the last one told wins."""
    facts: dict[str, Any] = {}
    for message in scene.results:
        if len(message.text) <= 100_000:
            try:
                facts.update(msgspec.json.decode(message.text, type=dict[str, Any]))
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                continue
    return facts


def _result(scene: Scene) -> str | None:
    """What the tools said, as a sentence for each; None if none was asked."""
    told = []
    for message in scene.results:
        name = (message.name or "tool").rpartition(".")[2]
        told.append(f"{name} says: {_plainly(message.text)}")
    return "\n".join(told) or None


def _plainly(text: str) -> str:
    text = text.strip()
    if len(text) > _MAX_FACTS:
        return text[:_MAX_FACTS].rstrip() + "…"
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return text or "nothing"
    if isinstance(value, dict) and value:
        return ", ".join([f"{k} is {_word(v)}" for k, v in value.items()]) + "."
    return _word(value)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else _encoded(value)


def _reasoning(scene: Scene, thought: str) -> str | None:
    """A few words at medium effort, the question turned over at high.

    At low effort nothing, unless the user asks for it.
    """
    asked = " ".join(scene.user[:MAX_TEXT].split())[:300]
    if scene.effort == "low" and not _AT_LENGTH.search(asked):
        return None
    if scene.effort == "high":
        return (
            f"The user says: {asked}\n\nLet me look at this from more than one side. What is wanted"
            " is a reply that is right, complete and no longer than it has to be. I go through what"
            " was said before, what the tools offer and what the format asks for."
            f" {thought} I check it once more: nothing is missing, and nothing contradicts what I"
            " was told."
        )
    if _AT_LENGTH.search(asked):
        return f"The user says: {asked}\n\nI go through it step by step, then I reply. {thought}"
    return thought


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
