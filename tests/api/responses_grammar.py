"""The grammar of a Responses stream, as a checker that shares no code with what writes it.

    stream := created (queued)? in_progress? item* terminal          sequence numbers from 0, by one
    item   := output_item.added  (part | input | summary)*  output_item.done
    part   := content_part.added  (delta | annotation)*  done  content_part.done
    search := in_progress  searching  completed?
    code   := in_progress  code.delta*  code.done  interpreting  completed
    list   := in_progress  (completed | failed)                       of an MCP server's tools
    mcp    := in_progress  arguments.delta*  arguments.done  (completed | failed)

Every event of an item carries its id and its index, which is its place in the final output. The
deltas together are the text of ``done``, of ``content_part.done`` and of the item, which is the
item of the final response. Only the last item may be incomplete, and only if the response is not
completed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

__all__ = ["GrammarError", "check_events", "check_response", "read_sse"]

TERMINAL = {
    "response.completed": {"completed"},
    "response.incomplete": {"incomplete", "cancelled"},
    "response.failed": {"failed"},
}
FIELDS = (
    "id object created_at completed_at status incomplete_details model previous_response_id"
    " instructions output error tools tool_choice truncation parallel_tool_calls text top_p"
    " presence_penalty frequency_penalty top_logprobs temperature reasoning usage"
    " max_output_tokens max_tool_calls store background service_tier metadata safety_identifier"
    " prompt_cache_key"
).split()
NEVER_NULL = (
    "temperature top_p presence_penalty frequency_penalty top_logprobs tools tool_choice truncation"
    " background service_tier store parallel_tool_calls id object created_at status model output"
    " metadata text"
).split()
PREFIXES = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
    "web_search_call": "ws_",
    "code_interpreter_call": "ci_",
    "mcp_list_tools": "mcpl_",
    "mcp_call": "mcp_",
    "mcp_approval_request": "mcpr_",
}
STEPS = {
    # type of an item of the server's own → its events in order, without "response." and the deltas
    "web_search_call": [
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
    ],
    "code_interpreter_call": [
        "code_interpreter_call.in_progress",
        "code_interpreter_call_code.done",
        "code_interpreter_call.interpreting",
        "code_interpreter_call.completed",
    ],
    "mcp_list_tools": ["mcp_list_tools.in_progress", "mcp_list_tools.completed"],
    "mcp_call": ["mcp_call.in_progress", "mcp_call_arguments.done", "mcp_call.completed"],
    "mcp_approval_request": [],
}
WITHOUT_STATUS = ("mcp_list_tools", "mcp_approval_request")
STEP_DELTAS = {
    # type of such an item → its delta event, the event of the whole, the field of both
    "code_interpreter_call": (
        "code_interpreter_call_code.delta",
        "code_interpreter_call_code.done",
        "code",
    ),
    "mcp_call": ("mcp_call_arguments.delta", "mcp_call_arguments.done", "arguments"),
}
TEXT_EVENTS = {
    # delta event → (done event, field of done, type of the content part or None)
    "response.output_text.delta": ("response.output_text.done", "text", "output_text"),
    "response.reasoning_text.delta": ("response.reasoning_text.done", "text", "reasoning_text"),
    "response.reasoning.delta": ("response.reasoning.done", "text", "reasoning_text"),
    "response.function_call_arguments.delta": (
        "response.function_call_arguments.done",
        "arguments",
        None,
    ),
    "response.custom_tool_call_input.delta": (
        "response.custom_tool_call_input.done",
        "input",
        None,
    ),
}
ALLOWED = {
    "message": {"output_text"},
    "reasoning": {"reasoning_text", "reasoning"},
    "function_call": {"function_call_arguments"},
    "custom_tool_call": {"custom_tool_call_input"},
}


class GrammarError(AssertionError):
    """An event that may not be where it is."""


def need(condition: object, message: str) -> None:
    if not condition:
        raise GrammarError(message)


def check_events(events: Iterable[Any], *, terminal: bool = True) -> dict[str, Any]:
    """The final response of a stream that keeps to the grammar. Raises GrammarError.

    Events are JSON, or read already. ``terminal``: whether the stream must have come to its end.
    """
    stream = [
        json.loads(event) if isinstance(event, str | bytes | bytearray) else event
        for event in events
    ]
    checker = _Checker()
    for number, event in enumerate(stream):
        try:
            checker.take(number, event)
        except GrammarError as error:
            raise GrammarError(f"event {number} ({event.get('type')}): {error}") from None
    need(checker.response is not None, "no event came")
    assert checker.response is not None
    need(not terminal or checker.ended, "the stream has no terminal event")
    return checker.response


def check_response(response: dict[str, Any]) -> None:
    """A response object by itself."""
    missing = [field for field in FIELDS if field not in response]
    need(not missing, f"the response lacks {missing}")
    null = [field for field in NEVER_NULL if response[field] is None]
    need(not null, f"the response has null for {null}")
    need(response["object"] == "response", "the response is something else")
    status = response["status"]
    need((response["error"] is not None) == (status == "failed"), "error goes with failed")
    need(
        (response["incomplete_details"] is not None) == (status == "incomplete"),
        "incomplete_details goes with incomplete",
    )
    need(
        (response["completed_at"] is not None) == (status == "completed"),
        "completed_at goes with completed",
    )
    if response["usage"] is not None:
        usage = response["usage"]
        cached = usage["input_tokens_details"]["cached_tokens"]
        need("cache_write_tokens" in usage["input_tokens_details"], "cache_write_tokens is missing")
        need("reasoning_tokens" in usage["output_tokens_details"], "reasoning_tokens is missing")
        need(isinstance(cached, int), "cached_tokens is no number")
        need(
            usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"],
            "the total is not the sum",
        )
    for tool in response["tools"]:
        if tool["type"] == "function":
            need({"strict", "description", "parameters"} <= tool.keys(), "a tool lacks fields")
    ids = [item["id"] for item in response["output"]]
    need(len(set(ids)) == len(ids), "two items have one id")
    for at, item in enumerate(response["output"]):
        last = at == len(response["output"]) - 1
        check_item(item)
        if status not in ("in_progress", "queued"):
            need(status_of(item) != "in_progress", "an item is still in progress")
        if status_of(item) == "incomplete":
            need(last, "an incomplete item is not the last")
            need(status in ("incomplete", "failed", "cancelled"), "only the item is incomplete")


def status_of(item: dict[str, Any]) -> str | None:
    """OpenAI's types give some items no status."""
    need(("status" in item) != (item["type"] in WITHOUT_STATUS), "who has a status?")
    return item.get("status")


def check_item(item: dict[str, Any]) -> None:
    """An item of an output by itself."""
    kind = item["type"]
    need(kind in PREFIXES, f"unknown type of item {kind}")
    need(item["id"].startswith(PREFIXES[kind]), f"{item['id']} is no id of a {kind}")
    states = ["in_progress", "completed", "incomplete"]
    if kind in STEPS:
        states += ["searching", "interpreting", "calling", "failed"]
    need(status_of(item) in (*states, None), "unknown status")
    if kind == "message":
        need(item["role"] == "assistant", "who says this?")
        need(item["phase"] in ("commentary", "final_answer"), "a message without a phase")
        for part in item["content"]:
            need({"text", "annotations", "logprobs"} <= part.keys(), "a part lacks fields")
            for note in part["annotations"]:
                check_annotation(note, part["text"])
    elif kind == "reasoning":
        need(isinstance(item["summary"], list), "summary is no list")
    elif kind in STEPS:
        need("call_id" not in item, "the client has nothing to answer")
    else:
        need({"call_id", "name"} <= item.keys(), "a call lacks fields")
        need(item["call_id"], "a call without an id")


def check_annotation(note: dict[str, Any], text: str) -> None:
    """An annotation stands over what it is about."""
    start, end = note["start_index"], note["end_index"]
    need(0 <= start <= end <= len(text), "an annotation is outside of the text")
    if note["type"] == "url_citation":
        need(text[start:end].startswith("(["), "an annotation is not over a link")
        need(text[start:end].endswith("))"), "an annotation is not over the whole link")


class _Checker:
    def __init__(self) -> None:
        self.response: dict[str, Any] | None = None
        self.ended = False
        self.phase = "new"
        self.done: list[dict[str, Any]] = []
        self.item: dict[str, Any] | None = None
        self.part: dict[str, Any] | None = None
        self.text: list[str] = []
        self.logprobs: list[Any] = []
        self.said: dict[str, Any] | None = None
        """The text's ``done``."""
        self.closed = False
        """Whether the part was closed."""
        self.summary: list[str] = []
        self.steps: list[str] = []
        self.notes: list[Any] = []

    def take(self, number: int, event: dict[str, Any]) -> None:
        kind = event["type"]
        need(event.get("sequence_number") == number, "the sequence numbers have a gap")
        need(not self.ended, "something follows the terminal event")
        if "response" in event:
            self.life(kind, event["response"])
            return
        need(self.phase == "in_progress", "items come after response.in_progress")
        if kind == "response.output_item.added":
            self.added(event)
        elif kind == "response.output_item.done":
            self.item_done(event)
        else:
            self.inside(kind, event)

    def life(self, kind: str, response: dict[str, Any]) -> None:
        check_response(response)
        before = self.response
        if before is not None:
            for field in ("id", "created_at", "model", "tools", "instructions", "metadata"):
                need(before[field] == response[field], f"{field} changed")
        self.response = response
        if kind == "response.created":
            need(self.phase == "new", "created is the first event")
            self.phase = "created"
        elif kind == "response.queued":
            need(self.phase == "created", "queued comes after created")
            need(response["status"] == "queued", "queued, but not by its status")
            self.phase = "queued"
        elif kind == "response.in_progress":
            need(self.phase in ("created", "queued"), "in_progress comes once, after created")
            need(response["status"] == "in_progress", "in progress, but not by its status")
            self.phase = "in_progress"
        else:
            need(kind in TERMINAL, "unknown event of a response")
            need(response["status"] in TERMINAL[kind], f"{kind} with status {response['status']}")
            need(self.phase != "new", "a stream begins with created")
            need(self.item is None, "an item is still open")
            need(response["output"] == self.done, "the output is not what was streamed")
            self.ended = True
            return
        need(response["output"] == [], "there is output before the first item")

    def added(self, event: dict[str, Any]) -> None:
        item = event["item"]
        need(self.item is None, "the item before is not done")
        need(event["output_index"] == len(self.done), "output_index is not the next")
        need(status_of(item) in ("in_progress", None), "a new item is in progress")
        check_item(item)
        for field in ("content", "arguments", "input", "summary"):
            if item["type"] != "mcp_approval_request":  # shown when it is whole
                need(not item.get(field), f"a new item has {field} already")
        self.item = item
        self.part, self.said, self.closed = None, None, False
        self.text, self.logprobs, self.summary = [], [], []
        self.steps, self.notes = [], []

    def inside(self, kind: str, event: dict[str, Any]) -> None:
        item = self.item
        need(item is not None, "no item is open")
        assert item is not None
        need(event["item_id"] == item["id"], "the id is another item's")
        need(event["output_index"] == len(self.done), "output_index is another item's")
        family = kind.split(".")[1]
        if item["type"] in STEPS:
            self.stepped(item, kind.removeprefix("response."), event)
        elif kind == "response.output_text.annotation.added":
            need(self.part is not None and self.said is None, "no part is open")
            need(event["content_index"] == 0, "content_index is another part's")
            need(event["annotation_index"] == len(self.notes), "annotation_index is not the next")
            check_annotation(event["annotation"], "".join(self.text))
            self.notes.append(event["annotation"])
        elif kind == "response.content_part.added":
            need(item["type"] in ("message", "reasoning"), "this item has no parts")
            need(self.part is None, "there is a part already")
            need(event["content_index"] == 0, "the first part is not number 0")
            need(event["part"]["text"] == "", "a new part has text already")
            self.part = event["part"]
        elif kind == "response.content_part.done":
            need(self.part is not None, "no part is open")
            need(self.said is not None, "the part's text is not done")
            need(not self.closed, "the part is done already")
            assert self.part is not None
            assert self.said is not None
            need(event["content_index"] == 0, "content_index is another part's")
            need(event["part"]["type"] == self.part["type"], "the part changed its type")
            need(event["part"]["text"] == self.said["text"], "the part has another text")
            self.closed = True
        elif family.startswith("reasoning_summary"):
            self.summarised(kind, event)
        elif kind.endswith(".delta"):
            need(kind in TEXT_EVENTS, "unknown delta")
            need(family in ALLOWED[item["type"]], f"a {item['type']} has no such text")
            need(self.said is None, "a delta after done")
            self.placed(kind, event)
            need(event["delta"] != "", "an empty delta")
            self.text.append(event["delta"])
            if family == "output_text":
                self.logprobs += event["logprobs"]
        else:
            delta = kind.removesuffix(".done") + ".delta"
            need(kind.endswith(".done") and delta in TEXT_EVENTS, "unknown event")
            need(family in ALLOWED[item["type"]], f"a {item['type']} has no such text")
            need(self.said is None, "done twice")
            self.placed(delta, event)
            field = TEXT_EVENTS[delta][1]
            need(event[field] == "".join(self.text), "done is not the sum of the deltas")
            if family == "output_text":
                need(event["logprobs"] == self.logprobs, "done has other log probabilities")
            if family == "function_call_arguments":
                need(event["name"] == item["name"], "done names another function")
            self.said = event

    def stepped(self, item: dict[str, Any], kind: str, event: dict[str, Any]) -> None:
        """An event of an item of the server's own."""
        delta, whole, field = STEP_DELTAS.get(item["type"], (None, None, ""))
        steps = STEPS[item["type"]]
        if kind == delta:
            need(len(self.steps) == 1, "a delta is out of its place")
            need(event["delta"] != "", "an empty delta")
            self.text.append(event["delta"])
            return
        need(len(self.steps) < len(steps), "out of order")
        if item["type"].startswith("mcp_") and len(self.steps) == len(steps) - 1:
            kind = kind.replace(".failed", ".completed")
        need(kind == steps[len(self.steps)], "out of order")
        if kind == whole:
            need(event[field] == "".join(self.text), "the whole is not the sum of the deltas")
        self.steps.append(kind)

    def placed(self, delta: str, event: dict[str, Any]) -> None:
        part = TEXT_EVENTS[delta][2]
        if part is None:
            need("content_index" not in event, "this text is in no part")
            return
        need(self.part is not None, "no part is open")
        assert self.part is not None
        need(self.part["type"] == part, "the open part is of another kind")
        need(event["content_index"] == 0, "content_index is another part's")

    def summarised(self, kind: str, event: dict[str, Any]) -> None:
        assert self.item is not None
        need(self.item["type"] == "reasoning", "only reasoning has summaries")
        need(event["summary_index"] == 0, "one summary is number 0")
        self.summary.append(kind.removeprefix("response.reasoning_summary_"))
        if kind.endswith("part.done"):
            order = ["part.added", *["text.delta"] * (len(self.summary) - 3), "text.done"]
            need(self.summary == [*order, "part.done"], f"the summary came as {self.summary}")

    def item_done(self, event: dict[str, Any]) -> None:
        item, before = event["item"], self.item
        need(before is not None, "no item is open")
        assert before is not None
        need(event["output_index"] == len(self.done), "output_index is another item's")
        check_item(item)
        need(status_of(item) != "in_progress", "a done item is still in progress")
        for field in ("id", "type", "call_id", "name", "namespace", "phase", "role"):
            need(before.get(field) == item.get(field), f"{field} changed")
        need(self.part is None or self.closed, "the part is not done")
        text = "".join(self.text)
        kind = item["type"]
        if kind == "message":
            need(self.part is not None, "a message without a part")
            need(item["content"][0]["text"] == text, "the item has another text")
            need(item["content"][0]["logprobs"] == self.logprobs, "other log probabilities")
            need(item["content"][0]["annotations"] == self.notes, "other annotations")
        elif kind == "reasoning":
            parts = [part["text"] for part in item["content"]]
            need("".join(parts) == text, "the item has another text")
            if self.summary:
                need(self.summary[-1] == "part.done", "the summary is not done")
            need(bool(item["summary"]) == bool(self.summary), "the summary was not streamed")
        elif kind in STEPS:
            if status_of(item) in ("completed", None):
                need(self.steps == STEPS[kind], "a completed call skipped a step")
            if kind in STEP_DELTAS:
                need(item[STEP_DELTAS[kind][2]] == text, "the item has another text")
        else:
            need(self.said is not None, "a call's text is not done")
            field = "arguments" if kind == "function_call" else "input"
            need(item[field] == text, "the item has another text")
        self.done.append(item)
        self.item = None


def read_sse(data: bytes) -> list[Any]:
    """The events of a whole SSE body, which must end with ``[DONE]`` and name each event."""
    events = []
    *frames, last = data.decode().removesuffix("\n\n").split("\n\n")
    need(last == "data: [DONE]", "the last frame is not [DONE]")
    for frame in frames:
        lines = [line for line in frame.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines)
        event = json.loads(fields["data"])
        need(fields["event"] == event["type"], "the frame names another event")
        events.append(event)
    return events
