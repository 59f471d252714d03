"""How much work one question may take, and when the work leads nowhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from antiphon.agent.calls import Done
from antiphon.agent.events import EndReason
from antiphon.api.turn import TurnUsage
from antiphon.settings.model import AgentSettings

__all__ = ["Budget"]


class Budget:
    """Counts one run."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._failed: Counter[tuple[str, str]] = Counter()
        self.turns = 0
        self.calls = 0
        self.refused = 0
        self.usage = TurnUsage(completions=0)

    def spent(self) -> tuple[EndReason, str] | None:
        """The limit that is reached, and what to say of it."""
        limits = self._settings
        if self.turns >= limits.turns:
            return "turns", f"{self.turns} turns were not enough (agent.turns)"
        if limits.tokens and self.usage.completion_tokens >= limits.tokens:
            return "tokens", f"{limits.tokens} tokens were not enough (agent.tokens)"
        return None

    @property
    def tokens_left(self) -> int | None:
        """What the next turn may write; None: as much as it likes."""
        limit = self._settings.tokens
        return max(1, limit - self.usage.completion_tokens) if limit else None

    def count(self, usage: TurnUsage) -> None:
        """A turn is over."""
        known = self.usage
        self.usage = TurnUsage(
            prompt_tokens=known.prompt_tokens + usage.prompt_tokens,
            cached_tokens=known.cached_tokens + usage.cached_tokens,
            completion_tokens=known.completion_tokens + usage.completion_tokens,
            reasoning_tokens=known.reasoning_tokens + usage.reasoning_tokens,
            completions=known.completions + usage.completions,
        )

    def made(self, calls: Iterable[Done]) -> str | None:
        """Calls are over. What to say of one that failed the same way too often, if one did."""
        found = None
        for done in calls:
            self.calls += 1
            self.refused += done.refused
            if not done.output.failed:
                self._failed.pop(done.look, None)
                continue
            self._failed[done.look] += 1
            times = self._failed[done.look]
            if times >= self._settings.repeated_failures:
                found = f"the same call of {done.call.tool} failed {times} times"
        return found
