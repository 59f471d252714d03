"""The screen of ``antiphon chat``: transcript, status, prompt; keys, and one turn at a time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Final

from rich.cells import set_cell_size
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from antiphon.agent.approval import Decision
from antiphon.agent.citing import sources_of
from antiphon.agent.events import AgentEvent, ApprovalAsked
from antiphon.cli.blocks import counted
from antiphon.cli.chat import blocks
from antiphon.cli.chat.approval import Approval
from antiphon.cli.chat.blocks import Block, Signs
from antiphon.cli.chat.commands import COMMANDS, Commands
from antiphon.cli.chat.feed import Feed
from antiphon.cli.chat.history import History
from antiphon.cli.chat.prompt import Prompt
from antiphon.cli.chat.talk import Talk
from antiphon.cli.chat.transcript import Transcript
from antiphon.cli.chat.wrapping import clean
from antiphon.errors import AntiphonError

__all__ = ["ChatApp"]

TERMINAL_SECONDS: Final = 1.0
"""How often it is looked whether the terminal is still there."""
FRAME: Final = 1 / 30
"""Seconds between looks at what the model has said."""
TYPING: Final = 0.2
"""Seconds after a key within which every second look is left out: keys are seen first."""
_ASK: Final = "Ask something, or /help"
_WHY: Final = "Why not? Enter refuses the call with these words"


class ChatApp(App[None], inherit_bindings=False):
    """Talks with the model of ``talk``. ``notes`` is what was told while it was opened."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: ansi_default; color: ansi_default; layout: vertical; }
    #status { height: 1; text-style: dim; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", priority=True),
        Binding("ctrl+t", "thoughts", priority=True),
        Binding("ctrl+o", "calls", priority=True),
        Binding("pageup", "page(-1)", priority=True),
        Binding("pagedown", "page(1)", priority=True),
        Binding("ctrl+end", "end", priority=True),
        Binding("ctrl+home", "top", priority=True),
    ]

    def __init__(
        self,
        talk: Talk,
        history: History,
        *,
        notes: tuple[str, ...] = (),
        signs: Signs = blocks.SIGNS,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.talk = talk
        self.transcript = Transcript()
        self.approval = Approval(clock)
        self.prompt = Prompt(history, commands=tuple(COMMANDS))
        self.status = Static("", id="status", markup=False)
        self._history = history
        self._notes = notes
        self._clock = clock
        self._signs = signs
        self._commands = Commands(talk, self)
        self._feed = Feed(
            self._add,
            signs,
            keep=lambda file: str(talk.keep_file(file)),
            sources=lambda: sources_of(talk.agent.dialogue.tools),
            clock=clock,
        )
        self._events: list[AgentEvent] = []
        self._turn: asyncio.Task[None] | None = None
        self._turn_began = 0.0
        self._next: list[str] = []
        """What was sent while a turn was under way."""
        self.turns = 0
        """Turns that are over."""
        self._leaving = False
        """Whether one more Ctrl+C ends the program."""
        self._draft: str | None = None
        """What was in the prompt when a reason was asked for."""
        self._typed = 0
        self._last_typed = 0.0
        self._looks = 0
        self._last_status = ""
        self._answer = ""
        talk.agent.ask = self._ask

    # The screen.

    def compose(self) -> ComposeResult:
        yield self.transcript
        yield self.approval
        yield self.status
        yield self.prompt

    def on_mount(self) -> None:
        self.prompt.placeholder = _ASK
        self.prompt.focus()
        self._timer = self.set_interval(FRAME, self._look, pause=True)
        model = self.talk.model
        self._feed.note(f"{model.name}, {model.engine}. /help lists keys and commands.", "text")
        for note in self._notes:
            self._feed.note(note)
        saved = self.talk.saved
        if saved is not None:
            self._feed.note(f"session {saved.id} goes on")
            self._feed.replay(self.talk.agent.dialogue.entries)
        self._show()
        self._end_on_signals()

    def _end_on_signals(self) -> None:
        """The terminal is put in order before a signal ends the program."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGHUP"):
            with suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(getattr(signal, name), self.leave)
        if not self.is_headless:
            self.set_interval(TERMINAL_SECONDS, self._leave_without_terminal)

    def _leave_without_terminal(self) -> None:
        """A terminal may go without SIGHUP, and what reads from it would read its end for ever."""
        if not os.isatty(0):
            self.leave()

    def _add(self, block: Block) -> None:
        self.transcript.add(block)

    def _show(self) -> None:
        self.transcript.bring_up()
        self._tell_status()

    def _tell_status(self) -> None:
        width = self.size.width
        talk = self.talk
        left = clean(f"{talk.model.name} {self._signs.bar} {talk.agent.dialogue.effort}")
        if not self.transcript.following:
            right = "looking back: Ctrl+End"
        elif self._leaving:
            right = "Ctrl+C again leaves"
        elif self.approval.asking:
            right = "asks you"
        elif self.busy:
            seconds = int(self._clock() - self._turn_began)
            waiting = f", {counted(len(self._next), 'question')} next" if self._next else ""
            right = f"{clean(self._feed.doing)} {seconds} s{waiting}, Ctrl+C stops"
        else:
            right = f"session {talk.session}" if talk.session else ""
        space = width - len(right) - 1
        line = f"{set_cell_size(left, max(0, space))} {right}"
        if line != self._last_status:
            self._last_status = line
            self.status.update(line)

    def on_resize(self) -> None:
        self._tell_status()

    # What commands do: `antiphon.cli.chat.commands.Screen`.

    @property
    def busy(self) -> bool:
        return self._turn is not None

    def note(self, text: str) -> None:
        self._feed.note(text)
        self._show()

    def progress(self, text: str) -> None:
        """What is being waited for; the screen's own status will do."""

    def error(self, text: str) -> None:
        self._feed.note(text, "error")
        self._show()

    def show(self, text: str) -> None:
        self._feed.note(text, "text")
        self._show()

    def copy(self) -> None:
        if not self._answer:
            self.error("there is no answer yet")
            return
        self.copy_to_clipboard(self._answer)
        self.note("copied, if the terminal lets programs copy")

    def leave(self) -> None:
        self.exit()

    # One turn.

    async def on_prompt_sent(self, message: Prompt.Sent) -> None:
        if self._draft is not None:
            self._refuse(message.text)
            return
        text = message.text
        if not text.strip():
            return
        if text.startswith("/") and "\n" not in text and not text.startswith("//"):
            if await self._commands.run(text):
                self._history.add(text)
            else:
                self.prompt.put_back(text)
            self._show()
            return
        if self.busy:
            self._next.append(text)
            self._tell_status()
            return
        self._begin(text)

    def _begin(self, text: str) -> None:
        self._turn_began = self._clock()
        self._feed.doing = "waiting for the model"
        self._turn = asyncio.create_task(self._work(text), name="turn")
        self._turn.add_done_callback(self._turn_over)
        self._timer.resume()
        self._history.add(text)
        self._feed.question(text)
        self.transcript.to_end()
        self._show()

    async def _work(self, text: str) -> None:
        answered = False
        try:
            self.talk.begin()
            end = await self.talk.agent.run(text, self._events.append)
            self._answer = end.answer
            answered = end.reason == "answer"
        except asyncio.CancelledError:
            pass
        except AntiphonError as error:
            self._feed.note(str(error), "error")
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            self._feed.note(f"internal error, please report it: {what}", "error")
        finally:
            self._turn = None
            self._timer.pause()
            self._frame()
            self.turns += 1
            self._go_on(answered)

    def _go_on(self, answered: bool) -> None:
        """Send what was written meanwhile, or put it back where there was no answer."""
        text = "\n\n".join(self._next)
        self._next.clear()
        if text and answered:
            self._begin(text)
        elif text:
            self.prompt.put_back(f"{text}\n" if self.prompt.text else text)

    def _turn_over(self, turn: asyncio.Task[None]) -> None:
        """A bug in what shows a turn ends the program rather than going unseen."""
        fault = None if turn.cancelled() else turn.exception()
        if isinstance(fault, Exception):
            self._handle_exception(fault)

    def _look(self) -> None:
        self._looks += 1
        if self._looks % 2 or self._clock() - self._last_typed >= TYPING:
            self._frame()

    def _frame(self) -> None:
        if self._events:
            events = self._events.copy()
            self._events.clear()
            self._feed.take(events)
            self.transcript.bring_up()
        self._tell_status()

    async def _ask(self, asked: ApprovalAsked) -> Decision:
        self._frame()
        had_focus = self.focused
        self.transcript.to_end()
        typed = self._last_typed if self.prompt.text else None
        asking = asyncio.ensure_future(self.approval.ask(asked, last_typed=typed))
        try:
            await asyncio.sleep(0)
            self.approval.focus()
            self._tell_status()
            return await asking
        finally:
            asking.cancel()
            self._end_reason()
            (had_focus or self.prompt).focus()

    def on_approval_answered(self, message: Approval.Answered) -> None:
        if message.word == "reason":
            self._draft = self.prompt.take()
            self.prompt.placeholder = _WHY
            self.prompt.focus()
            return
        self.approval.decide(
            Decision(allowed=message.word != "no", remember=message.word == "always")
        )

    def _refuse(self, why: str) -> None:
        self.approval.decide(Decision(allowed=False, reason=" ".join(why.split())))
        self._end_reason()

    def _end_reason(self) -> None:
        if self._draft is not None:
            self.prompt.put(self._draft)
            self.prompt.placeholder = _ASK
            self._draft = None

    # Keys.

    def on_text_area_changed(self) -> None:
        if self.prompt.typed != self._typed:
            self._typed = self.prompt.typed
            self._last_typed = self._clock()
        if self._leaving:
            self._leaving = False
            self._tell_status()

    def on_prompt_ended(self) -> None:
        self.leave()

    def action_interrupt(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
        elif self.prompt.text:
            self.prompt.put("")
        elif self._leaving:
            self.leave()
        else:
            self._leaving = True
            self._tell_status()

    def action_thoughts(self) -> None:
        opened = not self._feed.thoughts_opened
        self._feed.thoughts_opened = opened
        self._toggle(blocks.Thinking, opened)

    def action_calls(self) -> None:
        self._feed.calls_opened = not self._feed.calls_opened
        self._toggle((blocks.Call, blocks.Question), self._feed.calls_opened)

    def _toggle(self, kind: type[Block] | tuple[type[Block], ...], opened: bool) -> None:
        for block in self.transcript.blocks:
            if isinstance(block, kind):
                block.toggle(opened)
        self.transcript.all_changed()
        self._show()

    def action_page(self, direction: int) -> None:
        self.transcript.page(direction)
        self._tell_status()

    def action_end(self) -> None:
        self.transcript.to_end()
        self._tell_status()

    def action_top(self) -> None:
        self.transcript.look_at(0)
        self._tell_status()

    def _fatal_error(self) -> None:
        """A bug: the command line tells of it in its own way, with `fault`."""
        self._close_messages_no_wait()

    @property
    def fault(self) -> Exception | None:
        """What ended the program, if it was a bug."""
        return self._exception

    async def on_unmount(self) -> None:
        turn = self._turn
        if turn is not None:
            turn.cancel()
            with suppress(asyncio.CancelledError):
                await turn
