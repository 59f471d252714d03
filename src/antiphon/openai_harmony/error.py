"""The drop-in's error, and the reference's texts for it."""

from __future__ import annotations

from typing import NoReturn

from antiphon.errors import AntiphonError

__all__ = ["HarmonyError", "raise_disallowed_special_token"]


class HarmonyError(AntiphonError, RuntimeError):
    """What the reference raises for tokens it cannot parse or decode."""

    status_hint = 502


def raise_disallowed_special_token(token: str) -> NoReturn:
    """Refuse text that spells a control token, with advice on how to allow it."""
    raise HarmonyError(
        "Encountered text corresponding to disallowed special token "
        f"{token!r}.\n"
        "If you want this text to be encoded as a special token, "
        f"pass it to `allowed_special`, e.g. `allowed_special={{'{token}', ...}}`.\n"
        "If you want this text to be encoded as normal text, disable the check for this token "
        f"by passing `disallowed_special=(enc.special_tokens_set - {{'{token}'}})`.\n"
        "To disable this check for all special tokens, pass `disallowed_special=()`.\n"
    )
