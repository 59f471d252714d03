"""The built-in rules' answer as the ids that follow the prompt, prefilled headers included."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import msgspec

from antiphon.codec.grammar.plan import Plan
from antiphon.codec.render import Renderer
from antiphon.engines.scripted.answers import answer
from antiphon.engines.scripted.rules import respond
from antiphon.engines.scripted.scene import Scene
from antiphon.model.message import Message
from antiphon.vocab.control import CALL, CHANNEL, END, MESSAGE, RETURN
from antiphon.vocab.table import token_bytes

__all__ = ["complete_scene"]

_FINAL: Final = b"final"


@cache
def _renderer() -> Renderer:
    return Renderer(check=False, memo_tokens=0)


def complete_scene(scene: Scene, plan: Plan | None, *, seed: int, room: int | None) -> list[int]:
    """The ids of the completion. It ends in ``<|return|>`` or ``<|call|>``."""
    if not scene.harmony:
        return [*_renderer().encode(answer(scene, seed=seed, room=room)), RETURN]
    prefill = list(scene.prefill)
    if _is_final(prefill) and (plan is None or plan.final is not None):
        final = plan.final if plan is not None else None
        bound = Plan(final=final, analysis=False) if final is not None else None
        scene_now = scene if plan is not None else _without_tools(scene)
        messages = respond(scene_now, bound, seed=seed, room=room)[-1:]
    else:
        messages = respond(scene, plan, seed=seed, room=room)
    return _continued(messages, prefill, opened=scene.opened)


def _without_tools(scene: Scene) -> Scene:
    return msgspec.structs.replace(scene, tools=())


def _continued(messages: Sequence[Message], prefill: list[int], *, opened: bool) -> list[int]:
    """The messages as ids, from behind what is there already."""
    rendered = [_ids(m, last=i == len(messages) - 1) for i, m in enumerate(messages)]
    role = len(_renderer().encode("assistant")) + 1
    if not opened:
        return [token for ids in rendered for token in ids]
    for i, ids in enumerate(rendered):
        behind = ids[role:]
        if behind[: len(prefill)] == prefill:
            return behind[len(prefill) :] + [t for more in rendered[i + 1 :] for t in more]
    if MESSAGE not in prefill:
        # A header of its own making: end it, and go on with what was meant.
        last = rendered[-1]
        return last[last.index(MESSAGE) :]
    at = 0 if _is_analysis(prefill) else -1
    rest = _behind(messages[at].text, prefill[prefill.index(MESSAGE) + 1 :])
    rest.append(rendered[at][-1])
    return rest if at else rest + [t for more in rendered[1:] for t in more]


def _behind(text: str, begun: Sequence[int]) -> list[int]:
    """The text, or what is left of it if the prompt has begun it."""
    said = b"".join([token_bytes(token) or b"" for token in begun]).decode("utf-8", "replace")
    return _renderer().encode(text.removeprefix(said))


def _ids(message: Message, *, last: bool) -> list[int]:
    ids = _renderer().message(message)
    if message.channel == "final":
        ids[-1] = RETURN
    elif ids[-1] == CALL and not last:
        ids[-1] = END
    return ids


def _is_final(prefill: Sequence[int]) -> bool:
    return _channel(prefill).startswith(_FINAL)


def _is_analysis(prefill: Sequence[int]) -> bool:
    return _channel(prefill).startswith(b"analysis")


def _channel(prefill: Sequence[int]) -> bytes:
    """What a prefilled header says behind ``<|channel|>``."""
    if not prefill or prefill[0] != CHANNEL:
        return b""
    end = prefill.index(MESSAGE) if MESSAGE in prefill else len(prefill)
    return b"".join([token_bytes(token) or b"" for token in prefill[1:end]])
