"""``antiphon chat`` under the fingers of a pilot: turns, approvals, commands, keys."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.agent.agenting import CALL, FINAL, OSLO, RAIN, THOUGHT, Made, agent_of
from tests.cli.chatting import Chat, Held, chatted, matches, other_model
from tests.cli.own_home import own_home
from tests.codec.reading import encode

from antiphon.cli.chat.history import History
from antiphon.tools.protocol import ToolFile, ToolOutput


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_home(monkeypatch, tmp_path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def held(*scripts: str, before: int = 8) -> Held:
    engine = Held([encode(script) for script in scripts], reading="ids")
    engine.given = {"grammar": None}
    engine.before = before
    return engine


# A turn.


def test_thinking_calls_results_and_answer_are_told_apart() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("How is it?")
        await chat.until("1 call")
        matches(chat, "turn")

    answer = f"{FINAL}# Oslo\n\nIt **rains**:\n\n- all day\n- all night\n\n```python\nx = 1\n```\n"
    chatted(scenario, THOUGHT + OSLO, THOUGHT + answer + "<|return|>", tools=[Made()])


def test_what_it_thinks_is_seen_while_it_does_and_opened_again_with_a_key() -> None:
    async def scenario(chat: Chat) -> None:
        engine = chat.app.talk.model.runner._engine  # type: ignore[attr-defined]
        await chat.send("How is it?")
        await chat.until("one two")
        assert "thinking" in chat.plain
        assert "Ctrl+C stops" in chat.plain
        engine.go_on.set()
        await chat.until("Rain.")
        assert "one two" not in chat.plain
        await chat.press("ctrl+t")
        await chat.until("one two three four")
        await chat.press("ctrl+t")
        await chat.until(lambda: "one two" not in chat.plain)

    thought = "<|channel|>analysis<|message|>one two three four<|end|><|start|>assistant"

    chatted(scenario, agent=agent_of(engine=held(thought + RAIN, before=5)))


def test_ctrl_c_stops_the_turn_and_not_the_program() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("How is it?")
        await chat.until("one two")
        await chat.press("ctrl+c")
        await chat.until("stopped")
        assert not chat.app.busy
        chat.app.talk.model.runner._engine.go_on.set()  # type: ignore[attr-defined]
        await chat.ask("And now?")
        assert "Rain." in chat.plain

    script = f"{FINAL}one two three four<|return|>"
    chatted(scenario, agent=agent_of(engine=held(script, RAIN, before=5)))


def test_questions_sent_meanwhile_are_asked_when_the_turn_is_over() -> None:
    async def scenario(chat: Chat) -> None:
        engine = chat.app.talk.model.runner._engine  # type: ignore[attr-defined]
        await chat.send("How is it?")
        await chat.until("one two")
        await chat.send("And now?")
        await chat.until("1 question next")
        await chat.send("And then?")
        await chat.until("2 questions next")
        assert chat.app.prompt.text == ""
        engine.go_on.set()
        await chat.until("Rain.")
        await chat.until(lambda: not chat.app.busy)
        assert "› And now? And then?" in chat.plain

    script = f"{FINAL}one two three<|return|>"
    chatted(scenario, agent=agent_of(engine=held(script, RAIN, before=5)))


def test_questions_sent_meanwhile_come_back_into_the_prompt_when_the_turn_is_stopped() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("How is it?")
        await chat.until("one two")
        await chat.send("And now?")
        await chat.until("1 question next")
        await chat.type("Or")
        await chat.press("ctrl+c")
        await chat.until("stopped")
        assert not chat.app.busy
        assert chat.app.prompt.text == "And now?\nOr"

    chatted(scenario, agent=agent_of(engine=held(f"{FINAL}one two three<|return|>", before=5)))


def test_what_goes_wrong_is_said_and_the_chat_goes_on() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("How is it?")
        await chat.until("1 turns were not enough (agent.turns)")
        await chat.send("/effort low")
        await chat.until("effort: low")

    chatted(scenario, OSLO, tools=[Made()], turns=1)


def test_output_of_a_tool_is_seen_while_it_works_and_long_results_are_cut() -> None:
    go_on = asyncio.Event()

    async def slow(arguments: object, emit) -> str:
        emit("step 1\nstep 2\n")
        await go_on.wait()
        return "\n".join([f"row {n}" for n in range(40)])

    async def scenario(chat: Chat) -> None:
        await chat.send("How is it?")
        await chat.until("step 2")
        assert "running" in chat.plain
        go_on.set()
        await chat.until("Rain.")
        assert "row 11" in chat.plain
        assert "28 more rows (Ctrl+O)" in chat.plain
        await chat.press("ctrl+o")
        await chat.until("row 39")

    chatted(scenario, OSLO, RAIN, tools=[Made(does=slow)], size=(80, 60))


def test_files_that_a_tool_makes_are_kept_and_their_path_is_shown(tmp_path: Path) -> None:
    async def plot(arguments: object, emit) -> ToolOutput:
        return ToolOutput("made", files=(ToolFile("../a plot.png", b"PNG", "image/png"),))

    async def scenario(chat: Chat) -> None:
        await chat.ask("Plot it")
        await chat.until("a plot.png: kept as")

    chatted(scenario, OSLO, RAIN, tools=[Made(does=plot)], size=(200, 24))
    (kept,) = (tmp_path / "home").rglob("a plot.png")
    assert kept.read_bytes() == b"PNG"


# Approvals.


@pytest.mark.parametrize(("key", "made"), [("y", 1), ("n", 0), ("a", 1), ("escape", 0)])
def test_a_key_decides_on_a_call(key: str, made: int) -> None:
    tool = Made(approval="ask")

    async def scenario(chat: Chat) -> None:
        await chat.send("How is it?")
        await chat.until("[y]es")
        assert "weather wants to: use weather" in chat.plain
        await chat.press("enter")  # decides nothing
        assert chat.app.approval.asking
        await chat.press(key)
        await chat.until(lambda: not chat.app.busy)
        assert chat.app.prompt.has_focus
        assert ("refused" in chat.plain) is not bool(made)

    chatted(scenario, OSLO, RAIN, tools=[tool])
    assert len(tool.calls) == made


def test_always_asks_no_more_in_this_session() -> None:
    tool = Made(approval="ask")

    async def scenario(chat: Chat) -> None:
        await chat.send("How is it?")
        await chat.until("[y]es")
        await chat.press("a")
        await chat.until(lambda: not chat.app.busy)
        await chat.ask("And now?")

    chatted(scenario, OSLO, RAIN, OSLO, RAIN, tools=[tool])
    assert len(tool.calls) == 2


def test_a_reason_to_refuse_reaches_the_model_and_a_draft_is_kept() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("How is it?")
        await chat.until("[y]es")
        chat.app.prompt.put("my draft")
        await chat.press("r")
        await chat.until(lambda: chat.app.prompt.has_focus)
        await chat.type("not now")
        await chat.press("enter")
        await chat.until(lambda: not chat.app.busy)
        assert chat.app.prompt.text == "my draft"
        assert "The user refused the call: not now" in chat.plain

    chatted(scenario, OSLO, RAIN, tools=[Made(approval="ask")])


def test_keys_that_were_meant_for_the_prompt_decide_nothing() -> None:
    tool = Made(approval="ask")
    now = 0.0

    async def scenario(chat: Chat) -> None:
        nonlocal now
        engine = chat.app.talk.model.runner._engine  # type: ignore[attr-defined]
        await chat.send("How is it?")
        await asyncio.wait_for(engine.waits.wait(), 60)
        await chat.type("and wh")
        engine.go_on.set()
        await chat.until("[y]es")
        await chat.press("y")
        assert chat.app.approval.asking
        now = 1.0
        await chat.press("n")
        await chat.until(lambda: not chat.app.busy)
        assert chat.app.prompt.text == "and wh"

    agent = agent_of(engine=held(OSLO, RAIN, before=3), tools=[tool])
    chatted(scenario, agent=agent, clock=lambda: now)
    assert not tool.calls


def test_an_interrupt_takes_the_question_away() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("How is it?")
        await chat.until("[y]es")
        await chat.press("ctrl+c")
        await chat.until("stopped")
        assert "[y]es" not in chat.plain
        await chat.type("ok")
        assert chat.app.prompt.text == "ok"

    chatted(scenario, OSLO, RAIN, tools=[Made(approval="ask")])


# Commands.


def test_help_lists_every_command_and_key() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("/help")
        await chat.until("Page Up")
        matches(chat, "help")

    chatted(scenario)


def test_the_model_is_listed_and_switched() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("/model")
        await chat.until("* gpt-oss other")
        await chat.send("/model nonsense")
        await chat.until("there is no model 'nonsense'")
        await chat.send("/model other")
        await chat.until("other │ medium")
        await chat.ask("How is it?")
        assert "Snow." in chat.plain

    chatted(scenario, RAIN, models=[other_model("other", f"{FINAL}Snow.<|return|>")])


def test_effort_and_instructions_reach_the_prompt() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("/effort high")
        await chat.until("gpt-oss │ high")
        await chat.send("/effort loud")
        await chat.until("low, medium or high")
        await chat.send("/system Be brief.")
        await chat.until("Be brief.")
        await chat.ask("How is it?")
        await chat.send("/raw all")
        await chat.until(lambda: "Reasoning: high" in chat.everything)
        assert "# Instructions\n\nBe brief." in chat.everything
        await chat.send("/system none")
        await chat.until("no instructions")
        assert chat.app.talk.agent.dialogue.instructions is None

    chatted(scenario, RAIN)


def test_instructions_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "style.txt").write_text("Be kind.\n", encoding="utf-8")

    async def scenario(chat: Chat) -> None:
        await chat.send(f"/system @{tmp_path}/style.txt")
        await chat.until(lambda: chat.app.talk.agent.dialogue.instructions == "Be kind.")
        await chat.send("/system @nowhere.txt")
        await chat.until("nowhere.txt")

    chatted(scenario)


def test_tools_are_shown_and_chosen() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("/tools")
        await chat.until("weather asks where it matters: The tool weather.")
        await chat.send("/tools read, list")
        await chat.until(lambda: len(chat.app.talk.tools()) == 2)
        assert [tool.name for tool in chat.app.talk.tools()] == ["read", "list"]
        await chat.send("/tools reed")
        await chat.until("did you mean read?")
        await chat.send("/tools none")
        await chat.until("no tools")

    chatted(scenario, tools=[Made()])


def test_raw_shows_the_harmony_of_this_turn() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("/raw")
        await chat.until("nothing was said yet")
        await chat.ask("First")
        await chat.ask("Second")
        await chat.send("/raw")
        await chat.until("<|start|>user<|message|>Second<|end|>")
        assert "<|start|>user<|message|>First" not in chat.folded
        assert "<|channel|>analysis<|message|>Hm.<|end|>" in chat.folded

    chatted(scenario, RAIN, THOUGHT + RAIN)


@pytest.mark.parametrize(
    "name",
    [
        "a.md",
        *[pytest.param(name, marks=pytest.mark.slow) for name in ("a.html", "a.json", "a.txt")],
    ],
)
def test_save_writes_the_session_into_a_file(name: str) -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("How is it?")
        await chat.send(f"/save {name}")
        await chat.until(f"written to {name}")
        await chat.send(f"/save {name}")
        await chat.until("is there already")
        await chat.send("/save a.doc")
        await chat.until("name it .md")

    chatted(scenario, RAIN)
    assert "Rain." in Path(name).read_text(encoding="utf-8")


def test_save_begins_to_keep_a_session_that_was_not_kept() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("How is it?")
        assert chat.app.talk.session is None
        await chat.send("/save")
        await chat.until("go on with: antiphon chat --resume")
        await chat.ask("And now?")

    app = chatted(scenario, OSLO, RAIN, RAIN, tools=[Made()])
    folder = app.talk._folder
    saved = folder.read(folder.list()[0].id)
    assert [entry.message.text for entry in saved.entries] == [
        "How is it?",
        '{"city":"Oslo"}',
        "wet",
        "Rain.",
        "And now?",
        "Rain.",
    ]
    assert saved.damaged == 0


def test_a_session_is_kept_from_the_first_question_on() -> None:
    async def nothing(chat: Chat) -> None:
        await chat.send("/help")

    async def scenario(chat: Chat) -> None:
        await chat.ask("How is it?")

    app = chatted(nothing, options={"save": True})
    assert app.talk._folder.list() == []
    app = chatted(scenario, RAIN, options={"save": True})
    assert [one.title for one in app.talk._folder.list()] == ["How is it?"]


def test_copy_takes_the_last_answer() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("/copy")
        await chat.until("there is no answer yet")
        await chat.ask("How is it?")
        await chat.send("/copy")
        await chat.until("copied")
        assert chat.app.clipboard == "Rain."

    chatted(scenario, RAIN)


def test_a_command_may_be_shortened_and_an_unknown_one_is_no_question() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("/eff low")
        await chat.until("gpt-oss │ low")
        await chat.send("/nonsense")
        await chat.until("there is no command /nonsense")
        assert not chat.app.busy
        await chat.send("/quit")
        await chat.until(lambda: not chat.app.is_running)

    chatted(scenario)


def test_what_would_change_the_turn_waits_for_its_end() -> None:
    async def scenario(chat: Chat) -> None:
        engine = chat.app.talk.model.runner._engine  # type: ignore[attr-defined]
        await chat.send("How is it?")
        await asyncio.wait_for(engine.waits.wait(), 60)
        await chat.send("/effort high")
        await chat.until("/effort has to wait until the turn is over")
        assert chat.app.prompt.text == "/effort high"
        engine.go_on.set()
        await chat.until(lambda: not chat.app.busy)

    chatted(scenario, agent=agent_of(engine=held(f"{FINAL}one two<|return|>", before=4)))


# Keys.


def test_ctrl_c_clears_the_prompt_and_leaves_when_it_is_pressed_twice() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.type("abc")
        await chat.press("ctrl+c")
        assert chat.app.prompt.text == ""
        await chat.press("ctrl+c")
        await chat.until("Ctrl+C again leaves")
        await chat.type("a")
        await chat.until(lambda: "Ctrl+C again" not in chat.plain)
        await chat.press("backspace", "ctrl+c", "ctrl+c")
        await chat.until(lambda: not chat.app.is_running)

    chatted(scenario)


def test_ctrl_d_leaves_from_an_empty_prompt_only() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.type("ab")
        await chat.press("home", "ctrl+d")
        assert chat.app.prompt.text == "b"
        await chat.press("ctrl+d", "ctrl+d")
        await chat.until(lambda: not chat.app.is_running)

    chatted(scenario)


def test_leaving_stops_a_turn() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.send("How is it?")
        await chat.until("one two")
        await chat.press("ctrl+d")
        await chat.until(lambda: not chat.app.is_running)

    app = chatted(
        scenario, agent=agent_of(engine=held(f"{FINAL}one two three<|return|>", before=5))
    )
    assert not app.busy


def test_several_lines_are_one_question() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.type("one\ntwo\\")
        await chat.press("enter")
        await chat.type("three")
        assert chat.app.prompt.text == "one\ntwo\nthree"
        assert chat.app.prompt.size.height == 3
        await chat.press("enter")
        await chat.until(lambda: not chat.app.busy)
        assert chat.app.talk.agent.dialogue.entries[0].message.text == "one\ntwo\nthree"
        assert chat.app.prompt.size.height == 1

    chatted(scenario, RAIN)


def test_what_was_written_comes_back_and_outlives_the_program(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.jsonl"

    async def first(chat: Chat) -> None:
        await chat.ask("one")
        await chat.ask("two\nlines")

    async def second(chat: Chat) -> None:
        await chat.type("draft")
        await chat.press("up")
        assert chat.app.prompt.text == "two\nlines"
        await chat.press("up", "up")
        assert chat.app.prompt.text == "one"
        await chat.press("up")
        assert chat.app.prompt.text == "one"
        await chat.press("down")
        assert chat.app.prompt.text == "two\nlines"
        await chat.press("down")
        assert chat.app.prompt.text == "draft"

    chatted(first, RAIN, RAIN, history=History(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        "one",
        "two\nlines",
    ]
    chatted(second, history=History(path))


def test_keys_count_in_the_order_in_which_they_were_pressed() -> None:
    """Bytes that come together, as over a slow line: Textual alone deletes behind the letters."""
    from textual import events

    async def scenario(chat: Chat) -> None:
        for key in ("a", "b", "backspace", "c", "ctrl+u", "d", "enter", "e"):
            character = key if len(key) == 1 else None
            chat.app.post_message(events.Key(key, character))
        await chat.until(lambda: chat.app.turns == 1)
        assert chat.app.prompt.text == "e"
        assert chat.app.talk.agent.dialogue.entries[0].message.text == "d"

    chatted(scenario, RAIN)


def test_a_command_is_completed() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.type("/ef")
        await chat.press("tab")
        assert chat.app.prompt.text == "/effort "

    chatted(scenario)


def test_pages_are_looked_back_at_and_the_end_is_a_key_away() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("Count")
        await chat.until("row 99")
        await chat.press("pageup")
        await chat.until("looking back")
        assert "row 99" not in chat.plain
        await chat.ask("More")
        await chat.until("› More")
        assert "looking back" not in chat.plain
        await chat.press("ctrl+home")
        await chat.until("› Count")
        await chat.press("ctrl+end")
        await chat.until("Rain.")

    rows = "\n".join([f"- row {n}" for n in range(100)])
    chatted(scenario, f"{FINAL}{rows}<|return|>", RAIN)


def test_a_click_opens_what_is_closed() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("How is it?")
        row = next(n for n, text in enumerate(chat.rows) if text.startswith("▸ thought"))
        await chat.pilot.click(chat.app.transcript, offset=(2, row))
        await chat.until("│ Hm.")

    chatted(scenario, THOUGHT + RAIN)


# Pastes.


def paste(chat: Chat, text: str) -> None:
    from textual import events

    chat.app.prompt.post_message(events.Paste(text))


def test_a_large_paste_is_one_word_on_the_screen_and_sent_whole() -> None:
    text = "\n".join([f"line {n}" for n in range(20_000)])

    async def scenario(chat: Chat) -> None:
        await chat.type("see ")
        paste(chat, text)
        await chat.until("[paste 1: 20,000 lines, 208,889 characters]")
        await chat.press("enter")
        await chat.until(lambda: not chat.app.busy)
        await chat.until("more rows")

    app = chatted(scenario, RAIN)
    assert app.talk.agent.dialogue.entries[0].message.text == f"see {text}"


def test_control_characters_in_a_paste_do_nothing() -> None:
    async def scenario(chat: Chat) -> None:
        paste(chat, "a\x1b[31mb\x07\x9bc\r\nd\x00\te")
        await chat.until(lambda: chat.app.prompt.text)
        assert chat.app.prompt.text == "a[31mbc\nd\te"

    chatted(scenario)


# The screen.


@pytest.mark.parametrize(
    "size",
    [
        (40, 12),
        pytest.param((80, 24), marks=pytest.mark.slow),
        pytest.param((120, 40), marks=pytest.mark.slow),
    ],
)
def test_it_is_laid_out_anew_when_the_window_changes(size: tuple[int, int]) -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("How is it?")
        await chat.pilot.resize_terminal(*size)
        await chat.until(lambda: chat.app.transcript.size.width == size[0])
        await chat.until("Rain.")
        assert len(chat.rows) == size[1]
        assert max(len(row) for row in chat.rows) <= size[0]
        for word in text.split():
            assert word in chat.everything

    text = "word " * 40
    thought = f"<|channel|>analysis<|message|>{text}<|end|><|start|>assistant"
    chatted(scenario, thought + f"{FINAL}{text} Rain.<|return|>", size=(60, 20))


def test_notes_of_the_opening_stand_at_the_top() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.until("without the tool shell: no sandbox")
        matches(chat, "opened")

    chatted(scenario, notes=("without the tool shell: no sandbox",))


def test_a_tool_that_writes_its_call_is_shown_as_it_is_written() -> None:
    async def scenario(chat: Chat) -> None:
        engine = chat.app.talk.model.runner._engine  # type: ignore[attr-defined]
        await chat.send("How is it?")
        await chat.until("● weather")
        assert "is being written" in chat.plain
        engine.go_on.set()
        await chat.until("Rain.")

    script = CALL + '{"city":"a town with a very long name that takes a while"}<|call|>'
    chatted(scenario, agent=agent_of(engine=held(script, RAIN, before=14), tools=[Made()]))
