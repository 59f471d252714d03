"""144 token streams, valid and broken: what the total parser makes of each.

tests/golden/malformed.json holds the ids, the reference's strict and lenient result in short form
(`tests/compat` checks those), and ours: messages, stops and diagnostics, each looked at by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.codec.reading import as_reads, feed_one_by_one

from antiphon.codec.parse import parse

STREAMS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "malformed.json").read_text()
)


@pytest.mark.parametrize(
    "stream", STREAMS, ids=[f"#{s['number']}: {s['written']}" for s in STREAMS]
)
def test_stream_is_read(stream: dict[str, Any]) -> None:
    parsed = parse(stream["ids"], role=stream["role"])
    assert [list(read) for read in as_reads(parsed)] == stream["total"]
    assert [diagnostic.code for diagnostic in parsed.diagnostics] == stream["diagnostics"]
    assert as_reads(feed_one_by_one(stream["ids"], stream["role"], None)) == as_reads(parsed)


@pytest.mark.parametrize(
    "stream", STREAMS, ids=[f"#{s['number']}: {s['written']}" for s in STREAMS]
)
def test_no_word_of_a_stream_is_lost(stream: dict[str, Any]) -> None:
    """Every letter comes back in a text, a header field, or the diagnostic that names it."""
    parsed = parse(stream["ids"], role=stream["role"])
    heard = "".join(
        [f"{m.role}{m.name}{m.channel}{m.recipient}{m.content_type}{m.text}" for m in parsed]
        + [diagnostic.detail for diagnostic in parsed.diagnostics]
    )
    for word in _words(stream):
        assert word in heard


def _words(stream: dict[str, Any]) -> set[str]:
    from antiphon.vocab.control import is_control
    from antiphon.vocab.table import token_bytes

    runs = [[]]  # type: list[list[bytes]]
    for token in stream["ids"]:
        data = token_bytes(token)
        if is_control(token) or data is None:
            runs.append([])
        else:
            runs[-1].append(data)
    text = " ".join(b"".join(run).decode("utf-8", "replace") for run in runs)
    words = text.replace("to=", " ").replace("<|channel|>", " ").split()
    return {w for w in words if w.isalnum() and w not in ("assistant", "assistantassistant")}
