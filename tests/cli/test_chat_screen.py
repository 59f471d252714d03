"""What reaches the screen of ``antiphon chat``: never a tag, and never an escape."""

from __future__ import annotations

import re
import time

import pytest
from tests.agent.agenting import CALL, FINAL, OSLO, RAIN, Made, agent_of
from tests.agent.test_agent_recovery import ANY, ThenAnswers
from tests.cli.chatting import Chat, chatted
from tests.codec.recovery_rows import ROWS
from tests.gateway.test_recovery_wire import called

from antiphon.cli.chat.markdown import MarkdownText
from antiphon.cli.chat.wrapping import Rows, clean, fold

UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202egnp.exe [bold]no markup[/bold] [@click=app.quit]x[/]"
    " [link=file:///etc/passwd]l[/link] &#27;[2J &#x202e; <b>html</b> [a](javascript:alert(1))"
    " \r\u2028 :smile: {x} %s $x"
)


def shown(text: str, width: int = 60, step: int | None = None) -> list[str]:
    """Markdown as rows, fed in steps and laid out behind each."""
    made = MarkdownText(width)
    for at in range(0, len(text), step or len(text) or 1):
        made.feed(text[at : at + (step or len(text))])
        made.layout()
    made.layout(ended=True)
    return [made.strip(row).text for row in range(len(made))]


@pytest.mark.parametrize("where", ["answer", "thinking", "preamble", "arguments", "result"])
def test_hostile_text_is_text(where: str) -> None:
    import json

    async def result(arguments: object, emit) -> str:
        emit(HOSTILE)
        return HOSTILE

    async def scenario(chat: Chat) -> None:
        await chat.ask("How is it?")
        await chat.press("ctrl+t", "ctrl+o")
        for row in chat.rows:
            assert not UNSAFE.search(row), row
        assert "[bold]no markup[/bold]" in chat.folded
        for block in chat.app.transcript.blocks:
            for number in range(len(block)):
                for _, style, control in block.strip(number):
                    assert not control
                    assert style is None or not (style.link or style.meta)

    arguments = json.dumps({"city": HOSTILE}, ensure_ascii=False)
    scripts = {
        "answer": [f"{FINAL}{HOSTILE}<|return|>"],
        "thinking": [f"<|channel|>analysis<|message|>{HOSTILE}<|end|><|start|>assistant{RAIN}"],
        "preamble": [
            f"<|channel|>commentary<|message|>{HOSTILE}<|end|><|start|>assistant{OSLO}",
            RAIN,
        ],
        "arguments": [f"{CALL}{arguments}<|call|>", RAIN],
        "result": [OSLO, RAIN],
    }[where]
    tool = Made(does=result if where == "result" else None)
    chatted(scenario, *scripts, tools=[tool], size=(100, 40))


def test_a_hostile_model_engine_and_question_are_text() -> None:
    import msgspec

    async def scenario(chat: Chat) -> None:
        chat.app.prompt.put("[red]x[/red] \u202e")
        await chat.press("enter")
        await chat.until(lambda: not chat.app.busy)
        for row in chat.rows:
            assert not UNSAFE.search(row), row
        assert "[red]x[/red]" in chat.plain

    agent = agent_of(RAIN)
    agent.dialogue.model = msgspec.structs.replace(
        agent.dialogue.model, name="a\x1b[31m[red]b[/red]", engine="\x9bc"
    )
    chatted(scenario, agent=agent)


@pytest.mark.slow
def test_no_trace_of_the_catalogue_shows_a_tag() -> None:
    """All in one chat, as they would come to somebody who goes on after each."""
    rows = [row for row in ROWS if "<|" not in row.says]

    async def scenario(chat: Chat) -> None:
        for number, row in enumerate(rows):
            chat.app.talk.agent.dialogue.tools = tools_of(row)
            runner = chat.app.talk.model.runner
            runner._engine = ThenAnswers("ids", row)  # type: ignore[attr-defined]
            await chat.ask(f"Question {number}")
            assert "<|" not in chat.screen, row
        await chat.press("ctrl+t", "ctrl+o")
        assert chat.everything.count("› Question") == len(rows)
        assert "<|" not in chat.everything

    def tools_of(row) -> list[Made]:
        names = sorted({*(row.tools or ()), *called(row)})
        return list({n: Made(n.removeprefix("functions."), parameters=ANY) for n in names}.values())

    chatted(scenario, agent=agent_of(engine=ThenAnswers("ids", rows[0])), size=(100, 30))


# Folding.


@pytest.mark.parametrize("width", [2, 3, 10, 33])
def test_rows_do_not_depend_on_how_the_text_came(width: int) -> None:
    text = "one two  three\nfour " + "long" * 20 + " \n\n日本語のテキスト and more   \nend"
    whole = Rows(width)
    whole.feed(text)
    pieces = Rows(width)
    for character in text:
        pieces.feed(character)
    assert [row.rstrip() for row in pieces.all()] == [row.rstrip() for row in whole.all()]
    assert "".join("".join(whole.all()).split()) == "".join(text.split())


def test_no_row_is_wider_than_the_screen() -> None:
    from rich.cells import cell_len

    for line in ("a b c d e f g", "abcdefghijkl", "日本語" * 5, " " * 40, ""):
        assert all(cell_len(row) <= 5 for row in fold(line, 5))


def test_what_drives_a_terminal_is_spelled_out() -> None:
    assert clean("a\x1b[31m\tb\ud800") == "a\\x1b[31m    b\ufffd"


def test_characters_without_width_make_no_endless_row() -> None:
    rows = Rows(10)
    for _ in range(200):
        rows.feed("\u0301" * 100)
    assert max(len(row) for row in rows.all()) <= 160


# Markdown.

PAGE = """# Title

Some **bold** and `code`, a [link](http://x.example/), ~~gone~~ and *slanted*.

1. one
2. two
   ```python
   def f(): return 1
   ```
3. three
   - nested
     - more

| name | what it is |
|---|---|
| a | the first one |
| b | the second |

> quoted
> text

---

    indented

![image](x.png)
"""


def test_markdown_looks_like_what_it_means() -> None:
    assert shown(PAGE) == [
        "Title",
        "",
        "Some bold and code, a link (http://x.example/), gone and",
        "slanted.",
        "",
        "1. one",
        "2. two",
        "   def f(): return 1",
        "3. three",
        "   • nested",
        "     • more",
        "",
        "name  what it is",
        "────  ─────────────",
        "a     the first one",
        "b     the second",
        "",
        "▌ quoted text",
        "",
        "─" * 60,
        "",
        "indented",
        "",
        "[image] (x.png)",
    ]


@pytest.mark.parametrize("step", [1, 3, 17])
def test_markdown_does_not_depend_on_how_it_came(step: int) -> None:
    assert shown(PAGE, step=step) == shown(PAGE)


def test_a_list_that_counts_one_one_one_goes_on_counting() -> None:
    text = "".join([f"1. item {n}\n" for n in range(1, 300)])
    rows = shown(text, step=7)
    assert [row.partition(".")[0] for row in rows] == [str(n) for n in range(1, 300)]


def test_long_code_and_tables_are_cut_where_nobody_sees_it() -> None:
    code = "```python\n" + "".join([f"x{n} = '{n}'\n" for n in range(400)]) + "```\nEnd.\n"
    rows = shown(code, step=97)
    assert [row for row in rows if row] == [*[f"x{n} = '{n}'" for n in range(400)], "End."]
    table = "| a | b |\n|---|---|\n" + "".join([f"| row {n:03} | {n:03} |\n" for n in range(300)])
    rows = shown(table, step=97)
    assert len([row for row in rows if row]) == 302
    assert rows[0].split() == ["a", "b"]
    assert {row.rindex(row.split()[-1]) for row in rows[2:]} == {9}


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    ["[", "*a_", "`", "<a ", "![", "a**b_c ", "((", "&", "\\", "> ", "- ", "`a``b", "|a", "#"],
)
def test_no_markdown_takes_longer_for_being_hostile(piece: str) -> None:
    """A hundred times the text takes no more than some hundred times as long."""

    def cost(size: int) -> float:
        begun = time.process_time()
        shown(piece * (size // len(piece)), step=200)
        return time.process_time() - begun

    cost(2_000)
    assert cost(100_000) < 60 * max(cost(10_000), 0.02)


# Drawing.


def test_only_rows_that_differ_are_drawn_again() -> None:
    from textual.geometry import Region

    async def scenario(chat: Chat) -> None:
        transcript = chat.app.transcript
        drawn: list[Region] = []
        refresh = transcript.refresh

        def noted(*regions: Region, **how: bool):
            drawn.extend(regions)
            return refresh(*regions, **how)

        transcript.refresh = noted  # type: ignore[method-assign]
        transcript.bring_up()
        assert drawn == []
        chat.app.note("a note")
        assert [(region.y, region.height) for region in drawn] == [(1, 1)]
        await chat.until("a note")
        del transcript.refresh

    chatted(scenario)


def test_the_scrollbar_moves_as_the_transcript_grows() -> None:
    async def scenario(chat: Chat) -> None:
        transcript = chat.app.transcript
        for number in range(60):
            chat.app.note(f"note {number}")
            if number % 20 == 19:
                await chat.until(f"note {number}")
        assert transcript.virtual_size.height == 61
        assert transcript.max_scroll_y == transcript.scroll_offset.y == 61 - transcript.size.height
        assert transcript.vertical_scrollbar.window_virtual_size == 61
        await chat.press("ctrl+home")
        await chat.until("note 0")
        assert "note 59" not in chat.plain

    chatted(scenario)


def test_frames_are_fewer_while_somebody_types() -> None:
    now = 100.0
    frames = 0

    async def scenario(chat: Chat) -> None:
        nonlocal now
        app = chat.app

        def counted() -> None:
            nonlocal frames
            frames += 1

        app._frame = counted  # type: ignore[method-assign]
        for _ in range(10):
            app._look()
        assert frames == 10
        await chat.type("a")
        for _ in range(10):
            app._look()
        assert frames == 15
        now += 1
        for _ in range(10):
            app._look()
        assert frames == 25
        del app._frame

    chatted(scenario, clock=lambda: now)
