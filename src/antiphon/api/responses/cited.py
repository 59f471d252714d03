"""An answer that may cite what the browser showed: its marks become links with annotations.

A mark is held back until it is whole, so that no client sees half of one. The deltas together are
the text with the links; each annotation follows the delta that completes its link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from antiphon.api.citations import (
    CitationText,
    Cited,
    Citing,
    FileCitation,
    UrlCitation,
    file_citations,
)
from antiphon.api.responses.output_item import MessageOutput
from antiphon.api.responses.usage import logprob_list
from antiphon.api.turn import Logprob

__all__ = ["CitingMessage"]


class CitingMessage(MessageOutput):
    """The message. Feed it with `cited`, not through ``texts``."""

    __slots__ = ("_files", "_marks", "_waiting")

    def __init__(
        self,
        id: str,
        index: int,
        phase: Literal["commentary", "final_answer"],
        *,
        logprobs: bool,
        citing: Citing,
    ) -> None:
        super().__init__(id, index, phase, logprobs=logprobs)
        self._marks = CitationText(citing.sources)
        self._files = citing.files
        self._waiting: list[Logprob] = []
        """Of tokens whose text is held back."""

    def cited(self, text: str, logprobs: Sequence[Logprob] = ()) -> list[bytes]:
        """The events of the next piece; maybe none."""
        self._waiting += logprobs
        return self._events(self._marks.feed(text))

    def rest(self) -> list[bytes]:
        """The events of what was held back, as the text is over."""
        events = self._events(self._marks.end())
        return events + self._annotated(file_citations(self.text, self._files()))

    def _events(self, piece: Cited) -> list[bytes]:
        events: list[bytes] = []
        if piece.text:
            self.texts.append(piece.text)
            shown = logprob_list(self._waiting) if self._with_logprobs else []
            self._waiting.clear()
            self._logprobs += shown
            events.append(
                self.event("response.output_text.delta", delta=piece.text, logprobs=shown)
            )
        return events + self._annotated(piece.annotations)

    def _annotated(self, annotations: Sequence[UrlCitation | FileCitation]) -> list[bytes]:
        events: list[bytes] = []
        for annotation in annotations:
            events.append(
                self.event(
                    "response.output_text.annotation.added",
                    annotation_index=len(self.annotations),
                    annotation=annotation,
                )
            )
            self.annotations.append(annotation)
        return events
