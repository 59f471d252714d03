"""Every diagnostic the parser gives: its code, the recovery rule behind it, its meaning."""

from __future__ import annotations

from typing import Final

__all__ = ["CODES", "RULES"]

RULES: Final[dict[str, str]] = {
    "R1": "Nothing is dropped: what cannot be classified becomes content or reasoning.",
    "R2": "The last known channel wins, and the last recipient that names a tool.",
    "R3": "A call is accepted if its recipient means exactly one declared tool.",
    "R4": "A message starts wherever its header can be told, with or without its start token.",
    "R5": "Free text in a header is text: the message's own where its message token is missing.",
    "R6": "All stop tokens end a message alike; a stop token outside a message means nothing.",
    "R7": "Arguments are valid JSON, or repaired, or delivered as they are; see docs/grammar.md.",
    "R8": "A misspelt channel is guessed; an unknown one is content.",
}
"""Recovery rules by number."""

CODES: Final[dict[str, tuple[str, str]]] = {
    "addressed-to-itself": ("R2", "`to=assistant` on an assistant message: taken as reasoning"),
    "addressed-to-user": ("R2", "`to=user` or `to=all`: the same as no recipient"),
    "channel-as-role": ("R1", "a channel word where the role belongs: an assistant message"),
    "channel-as-type": ("R2", "a channel word behind `<|constrain|>`"),
    "control-token-in-content": ("R1", "a control token inside text: its name is kept as text"),
    "empty-channel": ("R8", "`<|channel|>` without a word: content"),
    "empty-header": ("R4", "a header without text or channel that another token ended: skipped"),
    "header-too-long": ("R5", "no `<|message|>` within the header limit: it is text"),
    "missing-message-token": ("R5", "free text in a header that was never closed: it is the text"),
    "missing-role": ("R4", "a header that begins with `to=`: an assistant message"),
    "missing-start": ("R4", "a header without `<|start|>role` behind a finished message"),
    "missing-stop": ("R4", "a new header inside text: the message before it ends there"),
    "misspelt-channel": ("R8", "a channel word with a slip, cut off, or another name for it"),
    "misspelt-recipient": ("R3", "a recipient that means a declared tool but is spelled otherwise"),
    "misspelt-role": ("R4", "a role in another case, or with something glued to it"),
    "repeated-channel": ("R2", "more than one channel: the last one counts"),
    "repeated-recipient": ("R2", "more than one recipient: the last that names a tool counts"),
    "repeated-role": ("R4", "the role written again"),
    "repeated-type": ("R2", "more than one content type: the last marked one counts"),
    "stray-control-token": ("R6", "a control token outside a message that begins nothing"),
    "stray-white-space": ("R1", "white space between messages"),
    "text-in-header": ("R5", "words that fit nowhere in a closed header: kept as reasoning"),
    "text-without-header": ("R1", "text outside any message: content at the start, else reasoning"),
    "truncated-header": ("R5", "the input ended inside a header without any text"),
    "unknown-channel": (
        "R8",
        "a channel that resembles none: kept as it is, to be shown as content",
    ),
    "unknown-content-type": ("R2", "a content type gpt-oss was not trained on: kept as it is"),
    "unknown-recipient": ("R3", "a recipient that means no declared tool: the text is content"),
    "unknown-role": ("R1", "no known role: a tool's name, or text"),
    "unknown-token": ("R1", "an id outside the vocabulary: U+FFFD"),
    "unmarked-channel": ("R2", "a channel word without `<|channel|>`"),
    "unmarked-recipient": ("R3", "a tool's name without `to=`: a call"),
}
"""Code → (rule, meaning)."""
