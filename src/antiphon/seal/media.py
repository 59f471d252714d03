"""Names on the wire around sealed messages: media types, paths, header fields, problem types."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BHTTP",
    "CHUNKED_REQUEST",
    "CHUNKED_RESPONSE",
    "DATE_PROBLEM",
    "INCREMENTAL",
    "KEYS",
    "KEY_PROBLEM",
    "PROBLEM_JSON",
    "REQUEST",
    "RESPONSE",
    "WELL_KNOWN_GATEWAY",
]

BHTTP: Final = "message/bhttp"
"""A Binary HTTP message (RFC 9292, section 7)."""

KEYS: Final = "application/ohttp-keys"
"""A list of key configurations (RFC 9458, section 3.2)."""

REQUEST: Final = "message/ohttp-req"
RESPONSE: Final = "message/ohttp-res"
"""One sealed message (RFC 9458, section 4.5)."""

CHUNKED_REQUEST: Final = "message/ohttp-chunked-req"
CHUNKED_RESPONSE: Final = "message/ohttp-chunked-res"
"""A message sealed chunk by chunk (draft-ietf-ohai-chunked-ohttp-08, section 3)."""

INCREMENTAL: Final = ("incremental", "?1")
"""Asks proxies not to hold chunks back; chunked requests and responses carry it."""

WELL_KNOWN_GATEWAY: Final = "/.well-known/ohttp-gateway"
"""GET: the key configurations; POST: sealed requests (RFC 9540, section 4)."""

PROBLEM_JSON: Final = "application/problem+json"

KEY_PROBLEM: Final = "https://iana.org/assignments/http-problem-types#ohttp-key"
"""The request used an unknown key: fetch the keys again (RFC 9458, section 5.3). In the clear."""

DATE_PROBLEM: Final = "https://iana.org/assignments/http-problem-types#date"
"""The request's Date is missing or too far off (RFC 9458, section 6.5.2). Inside the seal, with the
gateway's own Date beside it.
"""
