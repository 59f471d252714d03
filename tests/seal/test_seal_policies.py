"""Padding and the replay window; the package's names and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.seal.sealing import NOW

import antiphon.seal
from antiphon.net.sse import ServerSentEventDecoder
from antiphon.seal import (
    Freshness,
    Padding,
    ReplayWindow,
    Request,
    RequestHead,
    date_of,
    decode_request,
    encode_request,
)
from antiphon.seal.padding import MAX_PADDED_BYTES

POLICIES = st.lists(st.integers(2, 600), max_size=5, unique=True).map(
    lambda sizes: Padding(tuple(sorted(sizes)))
)

# Padding


@given(POLICIES, st.integers(0, 5000))
def test_a_length_grows_to_a_size_of_the_policy_and_to_the_smallest(policy, length) -> None:
    target = policy.target(length)
    assert target >= length
    if not policy.sizes or not length:
        assert target == length
    else:
        last = policy.sizes[-1]
        assert target in policy.sizes or target % last == 0
        assert not any(length <= size < target for size in policy.sizes)
        assert target - length < last


@given(POLICIES, st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_padded_events_read_like_the_events_and_have_a_length_of_the_policy(policy, texts) -> None:
    lines = [text.replace("\r", "").replace("\n", "").replace("\0", "") for text in texts]
    events = "".join(f"data: {line}\n\n" for line in lines).encode()
    padded = policy.fill_events(events)
    assert policy.target(len(padded)) == len(padded)
    plain, filled = ServerSentEventDecoder(), ServerSentEventDecoder()
    assert filled.feed(padded + padded) == plain.feed(events + events)


@given(POLICIES, st.binary(max_size=400))
def test_a_padded_message_reads_like_the_message(policy, content) -> None:
    request = Request(head=RequestHead(method="POST"), content=content)
    message = encode_request(request)
    padded = policy.fill_message(message)
    assert len(padded) == policy.target(len(message))
    assert decode_request(padded) == request


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("none", ()), ("multiple:128", (128,)), ("buckets:64,256,1024", (64, 256, 1024))],
)
def test_a_policy_has_a_short_form(text: str, sizes: tuple[int, ...]) -> None:
    assert Padding.parse(text) == Padding(sizes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "some",
        "multiple",
        "multiple:0",
        "multiple:1",
        "multiple:-5",
        "multiple:1,2",
        "buckets:",
        "buckets:64,64",
        "buckets:256,64",
        "multiple:64\n",
        f"multiple:{MAX_PADDED_BYTES + 1}",
        "buckets:" + ",".join(map(str, range(2, 99))),
    ],
)
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="padding is"):
        Padding.parse(text)


# Replay


def test_a_request_is_fresh_for_a_while_and_clocks_may_differ_a_little() -> None:
    window = ReplayWindow(age=300, skew=60)
    assert window.judge(NOW, NOW) is Freshness.FRESH
    assert window.judge(NOW - 360, NOW) is Freshness.FRESH
    assert window.judge(NOW - 361, NOW) is Freshness.STALE
    assert window.judge(NOW + 60, NOW) is Freshness.FRESH
    assert window.judge(NOW + 61, NOW) is Freshness.EARLY
    assert window.judge(None, NOW) is Freshness.UNDATED


@given(st.integers(0, 600), st.integers(0, 120), st.integers(-2000, 2000), st.integers(0, 4000))
def test_a_nonce_is_remembered_as_long_as_a_copy_could_pass_by_its_date(
    age, skew, offset, later
) -> None:
    window = ReplayWindow(age=age, skew=skew)
    date = NOW + offset
    fresh_then = window.judge(date, NOW) is Freshness.FRESH
    fresh_later = window.judge(date, NOW + later) is Freshness.FRESH
    if fresh_then and fresh_later:
        assert later <= window.remember


def test_requests_without_a_date_pass_unless_they_must_have_one() -> None:
    assert ReplayWindow().accepts(Freshness.UNDATED)
    assert not ReplayWindow(require_date=True).accepts(Freshness.UNDATED)
    for window in (ReplayWindow(), ReplayWindow(require_date=True)):
        assert window.accepts(Freshness.FRESH)
        assert not window.accepts(Freshness.STALE)
        assert not window.accepts(Freshness.EARLY)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"Fri, 15 Jan 2027 08:00:00 GMT", NOW),
        (b"yesterday", None),
        (b"", None),
        (b"\xff", None),
        (b"Fri, 99 Jan 99999999 08:00:00 GMT", None),
    ],
)
def test_the_date_of_a_request_is_read_or_is_none(value: bytes, seconds: int | None) -> None:
    assert date_of([(b"host", b"a"), (b"date", value)]) == seconds


def test_two_dates_are_none() -> None:
    date = (b"date", b"Fri, 15 Jan 2027 08:00:00 GMT")
    assert date_of([date]) == NOW
    assert date_of([date, date]) is None
    assert date_of([]) is None


# The package


def test_every_name_of_the_package_exists_and_no_other() -> None:
    for name in antiphon.seal.__all__:
        assert getattr(antiphon.seal, name) is not None
    assert set(antiphon.seal.__all__) <= set(dir(antiphon.seal))
    with pytest.raises(AttributeError, match="no attribute 'open_letter'"):
        antiphon.seal.open_letter  # noqa: B018


def loaded_by(code: str) -> set[str]:
    report = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_a_relay_needs_no_cryptography() -> None:
    loaded = loaded_by(
        "import antiphon.seal.media\nfrom antiphon.seal import Pin, decode_keys, BinaryHttpDecoder"
    )
    assert not {"cryptography", "pyhpke", "asyncio"} & loaded


def test_without_the_extra_the_error_says_how_to_install_it() -> None:
    code = (
        "import sys\n"
        "sys.modules['pyhpke'] = None\n"
        "from antiphon.errors import MissingExtraError\n"
        "try:\n"
        "    from antiphon.seal import seal_request\n"
        "except MissingExtraError as error:\n"
        "    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == (
        "pyhpke is not installed; install it with: pip install 'antiphon[seal]'"
    )
