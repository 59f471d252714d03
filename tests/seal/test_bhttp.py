"""Binary HTTP: the examples of RFC 9292, its rules for cutting and padding, limits, any pieces."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.seal.sealing import cut_lists, mutated, outcome, pieces, read_all

from antiphon.seal import (
    BinaryHttpDecoder,
    BinaryHttpError,
    BinaryHttpLimits,
    Content,
    EndOfMessage,
    Informational,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    decode_request,
    decode_response,
    encode_content,
    encode_end,
    encode_head,
    encode_informational,
    encode_request,
    encode_response,
    forwardable,
)
from antiphon.seal.varint import MAX_VARINT, read_varint, varint

HELLO = RequestHead(
    method="GET",
    path="/hello.txt",
    fields=(
        (b"user-agent", b"curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3"),
        (b"host", b"www.example.com"),
        (b"accept-language", b"en, mi"),
    ),
)
EARLY = (
    Informational(status=102, fields=((b"running", b'"sleep 15"'),)),
    Informational(
        status=103,
        fields=(
            (b"link", b"</style.css>; rel=preload; as=style"),
            (b"link", b"</script.js>; rel=preload; as=script"),
        ),
    ),
)
FINAL = ResponseHead(
    status=200,
    fields=(
        (b"date", b"Mon, 27 Jul 2009 12:28:53 GMT"),
        (b"server", b"Apache"),
        (b"last-modified", b"Wed, 22 Jul 2009 19:15:56 GMT"),
        (b"etag", b'"34aa387-d-1568eb00"'),
        (b"accept-ranges", b"bytes"),
        (b"content-length", b"51"),
        (b"vary", b"Accept-Encoding"),
        (b"content-type", b"text/plain"),
    ),
)
WORLD = b"Hello World! My content includes a trailing CRLF.\r\n"


@pytest.fixture
def examples(golden) -> dict[str, bytes]:
    found = golden("seal/examples.json")["bhttp"]
    return {name: bytes.fromhex(text) for name, text in found.items()}


# The examples of the RFC


def test_the_known_length_request_is_read_and_written_byte_for_byte(examples) -> None:
    assert decode_request(examples["request_known"]) == Request(head=HELLO)
    assert encode_request(Request(head=HELLO)) == examples["request_known"]


def test_the_indeterminate_length_request_is_read_and_written_byte_for_byte(examples) -> None:
    assert decode_request(examples["request_indeterminate"]) == Request(head=HELLO)
    assert encode_head(HELLO) + encode_end() + bytes(10) == examples["request_indeterminate"]


def test_the_response_with_informational_ones_is_read_and_written_byte_for_byte(examples) -> None:
    data = examples["response_indeterminate"]
    assert decode_response(data) == Response(head=FINAL, content=WORLD, informational=EARLY)
    first, second = EARLY
    assert data == (
        encode_informational(first, first=True)
        + encode_informational(second, first=False)
        + encode_head(FINAL, first=False)
        + encode_content(WORLD)
        + encode_end()
    )


def test_the_known_length_response_with_a_trailer_is_read_and_written_byte_for_byte(
    examples,
) -> None:
    response = Response(
        head=ResponseHead(status=200),
        content=b"This content contains CRLF.\r\n",
        trailers=((b"trailer", b"text"),),
    )
    assert decode_response(examples["response_known"]) == response
    assert encode_response(response) == examples["response_known"]


# Cutting and padding


def test_empty_parts_at_the_end_may_be_missing(examples) -> None:
    for cut in range(3):
        data = examples["request_known"]
        assert decode_request(data[: len(data) - cut]) == Request(head=HELLO)
    for cut in range(13):
        data = examples["request_indeterminate"]
        assert decode_request(data[: len(data) - cut]) == Request(head=HELLO)


@pytest.mark.parametrize("name", ["request_known", "request_indeterminate"])
def test_a_request_cut_anywhere_else_is_refused(examples, name: str) -> None:
    data = examples[name].rstrip(b"\0")
    control = data.index(b"/hello.txt") + len(b"/hello.txt")
    for cut in range(len(data)):
        if name == "request_known" and cut == control:
            continue  # right behind the control data: a request without fields
        if name == "request_indeterminate" and cut == control:
            continue
        with pytest.raises(BinaryHttpError):
            decode_request(data[:cut])


def test_a_response_cut_inside_its_content_is_refused(examples) -> None:
    data = examples["response_indeterminate"]
    content = data.index(WORLD)
    for cut in range(content, content + len(WORLD)):
        with pytest.raises(BinaryHttpError, match="ends in the content"):
            decode_response(data[:cut])
    with pytest.raises(BinaryHttpError):
        decode_response(data[: content + len(WORLD)])  # without the end of the content


def test_an_informational_response_is_not_an_answer() -> None:
    early = encode_informational(Informational(status=103), first=True)
    with pytest.raises(BinaryHttpError, match="the status"):
        decode_response(early)


def test_padding_is_zero_bytes_of_any_number_up_to_its_limit() -> None:
    data = encode_request(Request(head=HELLO, content=b"x"))
    assert decode_request(data + bytes(5000)).content == b"x"
    with pytest.raises(BinaryHttpError, match="padding"):
        decode_request(data + bytes(50) + b"\1" + bytes(50))
    with pytest.raises(BinaryHttpError, match="over its limit"):
        decode_request(data + bytes(101), limits=BinaryHttpLimits(padding=100))


# What is not HTTP


@pytest.mark.parametrize(
    "head",
    [
        RequestHead(method="GE T"),
        RequestHead(method=""),
        RequestHead(method="GET", path=""),
        RequestHead(method="GET", path="v1/models"),
        RequestHead(method="GET", path="/a b"),
        RequestHead(method="GET", path="/a\r\nx: y"),
        RequestHead(method="GET", path="/é"),
        RequestHead(method="GET", scheme="ht tp"),
        RequestHead(method="GET", authority="a/b"),
        RequestHead(method="GET", authority="user@host"),
        RequestHead(method="POST", fields=((b"expect", b"100-continue"),)),
        RequestHead(method="GET", fields=((b"Host", b"a"),)),
        RequestHead(method="GET", fields=((b"", b"a"),)),
        RequestHead(method="GET", fields=((b":path", b"/b"),)),
        RequestHead(method="GET", fields=((b"a b", b"c"),)),
        RequestHead(method="GET", fields=((b"a", b"b\r\nc: d"),)),
        RequestHead(method="GET", fields=((b"a", b"b\0"),)),
        RequestHead(method="GET", fields=((b"a", b" b"),)),
        RequestHead(method="GET", fields=((b"connection", b"close"),)),
        RequestHead(method="GET", fields=((b"transfer-encoding", b"chunked"),)),
        RequestHead(method="GET", fields=((b"te", b"gzip"),)),
    ],
    ids=repr,
)
def test_what_http_does_not_allow_is_neither_written_nor_read(head: RequestHead) -> None:
    with pytest.raises(BinaryHttpError):
        encode_request(Request(head=head))
    raw = b"\0" + b"".join(
        varint(len(part)) + part
        for part in (
            text.encode() for text in (head.method, head.scheme, head.authority, head.path)
        )
    )
    lines = b"".join(
        varint(len(name)) + name + varint(len(value)) + value for name, value in head.fields
    )
    with pytest.raises(BinaryHttpError):
        decode_request(raw + varint(len(lines)) + lines)


@pytest.mark.parametrize("status", [0, 99, 600, 1000])
def test_a_status_that_is_none_is_neither_written_nor_read(status: int) -> None:
    with pytest.raises(BinaryHttpError):
        encode_response(Response(head=ResponseHead(status=status)))
    with pytest.raises(BinaryHttpError):
        decode_response(b"\1" + varint(status))


@pytest.mark.parametrize(
    ("declared", "good"),
    [(b"5", True), (b"4", False), (b"5x", False), (b"-5", False), (b"", False)],
)
def test_a_request_holds_what_its_content_length_says(declared: bytes, good: bool) -> None:
    head = RequestHead(method="POST", fields=((b"content-length", declared),))
    data = encode_head(head) + encode_content(b"he") + encode_content(b"llo") + encode_end()
    if good:
        assert decode_request(data).content == b"hello"
    else:
        with pytest.raises(BinaryHttpError, match="content-length"):
            decode_request(data)


def test_a_response_may_declare_the_length_that_another_method_would_have_had() -> None:
    head = ResponseHead(status=200, fields=((b"content-length", b"1000"),))
    assert decode_response(encode_response(Response(head=head))).head == head


@pytest.mark.parametrize("first", [b"\1", b"\3", b"\4", b"\x40\x01", b"\xff" * 8])
def test_a_message_of_another_kind_is_refused(first: bytes) -> None:
    with pytest.raises(BinaryHttpError, match="not a binary HTTP request"):
        decode_request(first + bytes(20))


def test_fields_of_a_connection_are_left_behind_when_a_message_is_taken_over() -> None:
    fields = [
        (b"Host", b"a"),
        (b"Connection", b"keep-alive, X-Hop"),
        (b"Keep-Alive", b"5"),
        (b"x-hop", b"1"),
        (b"Authorization", b" Bearer k "),
        (b"TE", b"trailers"),
    ]
    assert forwardable(fields) == ((b"host", b"a"), (b"authorization", b"Bearer k"))


# Limits


def refused(kind, data: bytes, **limits: int) -> int:
    decoder = BinaryHttpDecoder(kind, limits=BinaryHttpLimits(**limits))
    with pytest.raises(BinaryHttpError) as caught:
        read_all(decoder, data)
    return caught.value.status_hint


def test_each_part_has_a_limit_and_its_status() -> None:
    fields = tuple((b"x-%d" % n, b"y" * 10) for n in range(20))
    head = RequestHead(method="POST", path="/" + "p" * 99, fields=fields)
    known = encode_request(Request(head=head, content=b"c" * 100))
    stream = encode_head(head) + encode_content(b"c" * 60) + encode_content(b"c" * 60)
    for data in (known, stream):
        assert refused("request", data, target=99) == 413
        assert refused("request", data, fields=200) == 431
        assert refused("request", data, lines=19) == 431
        assert refused("request", data, content=99) == 413
    early = encode_informational(Informational(status=103), first=True)
    more = encode_informational(Informational(status=103), first=False)
    assert refused("response", early + more * 3, informational=3) == 400


@pytest.mark.parametrize("framing", [0, 2])
def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come(framing: int) -> None:
    start = bytes([framing]) + b"\3GET\5https\0\1/"
    decoder = BinaryHttpDecoder("request")
    assert decoder.feed(start) == []
    with pytest.raises(BinaryHttpError) as caught:
        decoder.feed(varint(MAX_VARINT))
    assert caught.value.status_hint == 431


def test_many_small_pieces_of_content_are_handed_on_and_not_kept() -> None:
    decoder = BinaryHttpDecoder("response")
    decoder.feed(encode_head(ResponseHead(status=200)))
    for _ in range(1000):
        assert decoder.feed(encode_content(b"z" * 1000)) == [Content(b"z" * 1000)]
        assert len(decoder._buffer) < 2000


# Any pieces, any content

NAMES = st.from_regex(rb"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: (
        name not in {b"te", b"expect", b"connection", b"upgrade", b"keep-alive", b"content-length"}
    )
)
VALUES = st.binary(max_size=90).map(lambda b: b.translate(None, b"\0\r\n").strip(b" \t"))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)
CONTENTS = st.lists(st.binary(max_size=200), max_size=6)
HEADS = st.builds(
    RequestHead,
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    authority=st.sampled_from(["", "example.com", "[::1]:8080"]),
    path=st.from_regex(r"/[!-~]{0,70}", fullmatch=True),
    fields=FIELDS,
)
EARLIES = st.lists(
    st.builds(Informational, status=st.integers(100, 199), fields=FIELDS), max_size=3
)
FINALS = st.builds(ResponseHead, status=st.integers(200, 599), fields=FIELDS)


@given(HEADS, CONTENTS, FIELDS, st.integers(0, 20), cut_lists())
def test_requests_come_back_in_both_forms_and_in_any_pieces(
    head, contents, trailers, padding, cuts
) -> None:
    request = Request(head=head, content=b"".join(contents), trailers=trailers)
    stream = encode_head(head) + b"".join(map(encode_content, contents)) + encode_end(trailers)
    for data in (encode_request(request), stream):
        padded = data + bytes(padding)
        assert decode_request(padded) == request
        decoder = BinaryHttpDecoder("request")
        out, end = outcome(decoder.feed, decoder.eof, pieces(padded, cuts))
        content = [Content(request.content)] if request.content else []
        assert out + end == [head, *content, EndOfMessage(trailers=trailers)]


@given(EARLIES, FINALS, CONTENTS, FIELDS, cut_lists())
def test_responses_come_back_in_both_forms_and_in_any_pieces(
    early, head, contents, trailers, cuts
) -> None:
    response = Response(
        head=head, content=b"".join(contents), trailers=trailers, informational=tuple(early)
    )
    stream = b"".join(encode_informational(one, first=n == 0) for n, one in enumerate(early))
    stream += encode_head(head, first=not early)
    stream += b"".join(map(encode_content, contents)) + encode_end(trailers)
    for data in (encode_response(response), stream):
        assert decode_response(data) == response
        decoder = BinaryHttpDecoder("response")
        out, end = outcome(decoder.feed, decoder.eof, pieces(data, cuts))
        content = [Content(response.content)] if response.content else []
        assert out + end == [*early, head, *content, EndOfMessage(trailers=trailers)]


@given(st.randoms(use_true_random=False), HEADS, CONTENTS, cut_lists())
def test_damaged_messages_end_alike_in_any_pieces_and_only_ever_in_our_error(
    random: Random, head, contents, cuts
) -> None:
    whole = encode_request(Request(head=head, content=b"".join(contents)))
    stream = encode_head(head) + b"".join(map(encode_content, contents)) + encode_end()
    for data in (mutated(whole, random), mutated(stream, random), random.randbytes(40)):
        results = []
        for split in ([data], pieces(data, cuts), [bytes([b]) for b in data]):
            decoder = BinaryHttpDecoder("request")
            out, end = outcome(decoder.feed, decoder.eof, split)
            results.append((out, end))
        assert results[0] == results[1] == results[2]


@given(st.integers(0, MAX_VARINT))
def test_lengths_come_back_from_the_shortest_and_from_longer_forms(value: int) -> None:
    shortest = varint(value)
    assert read_varint(b"x" + shortest, 1) == (value, 1 + len(shortest))
    assert all(read_varint(shortest[:n]) is None for n in range(len(shortest)))
    longest = (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    assert read_varint(longest) == (value, 8)
    assert len(shortest) == min(n for n in (1, 2, 4, 8) if value < 1 << (8 * n - 2))


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_a_length_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(OverflowError):
        varint(value)


def test_feeding_after_the_end_is_a_mistake_of_the_caller() -> None:
    decoder = BinaryHttpDecoder("request")
    decoder.feed(encode_request(Request(head=HELLO)))
    decoder.eof()
    with pytest.raises(ValueError, match="ended"):
        decoder.feed(b"x")
