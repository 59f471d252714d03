"""Synthetic Harmony conversations, the only thing the tiny model ever sees. All text is our own.

A `Sample` is a conversation up to the assistant's turn, and the turn. Its prompt is rendered as the
reference library does, its completion as gpt-oss emits it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from antiphon.codec.render import Renderer
from antiphon.engines.tiny.weather import WEATHER
from antiphon.model.content import DeveloperContent, ReasoningEffort, SystemContent
from antiphon.model.message import Message
from antiphon.model.tools import Tool, functions
from antiphon.vocab.control import RETURN

EFFORTS = (ReasoningEffort.LOW, ReasoningEffort.MEDIUM, ReasoningEffort.HIGH)
INSTRUCTIONS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "Be kind and precise.",
    "Talk like a pirate.",
    "Use the tools when needed.",
)
COUNTS = (3, 5, 8, 10, 15, 20, 30, 40, 50)
TOOL_NAMES = (
    "get_current_weather lookup_order search_docs send_email book_flight get_stock_price "
    "convert_units create_event list_files run_query translate_text get_time"
).split()
PARAMETERS = "location id query address name symbol value title path text zone city".split()
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@dataclass(frozen=True)
class Pools:
    """What the blanks in the conversations are filled with."""

    cities: Sequence[str]
    names: Sequence[str]
    words: Sequence[str]
    odd_words: Sequence[str] = ()
    """Emoji and words with accents, mixed into texts to repeat."""
    summands: int = 13
    """Sums are of numbers below this."""
    texts: Sequence[str] = ()
    """If given, the only texts to repeat."""
    new_word: Callable[[Random], str] | None = None
    """If given, makes up words; the conversation shows them in quotes, to be copied."""
    new_text: Callable[[Random], str] | None = None


CANONICAL = Pools(
    cities=("Paris", "London", "Tokyo", "Oslo", "Berlin", "San Francisco", "New York"),
    names=("Alice", "Bob", "Grace", "Peter"),
    words=("4711", "42", "apple", "hello", "river"),
    summands=5,
    texts=(
        "The quick brown fox jumps over the lazy dog.",
        "hello world",
        "Grüße aus Zürich 🚀",
        "東京 👍 naïve café",
        "one two three four five six seven eight nine ten",
        '{"a": 1, "b": [true, null]}',
    ),
)
"""The few prompts that tests and the demo use; training ends on them until they are exact."""


@dataclass
class Sample:
    """One conversation and the assistant's turn."""

    kind: str
    messages: list[Message] = field(default_factory=list)
    turn: list[Message] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    instructions: str | None = None

    def tokens(self) -> tuple[list[int], list[int]]:
        """The prompt, which ends in ``<|start|>assistant``, and the completion."""
        prompt = _PROMPTS.for_completion(self.messages)
        start = _PROMPTS.for_completion(())
        completion: list[int] = []
        for message in self.turn:
            completion += _TURNS.message(message)
        completion = completion[len(start) :]
        if self.turn[-1].channel == "final":
            completion[-1] = RETURN
        return prompt, completion


_PROMPTS = Renderer(dialect="reference")
_TURNS = Renderer(dialect="emission")


class Writer:
    """Writes one sample: the chosen effort, and the chance in it."""

    def __init__(self, random: Random, pools: Pools, effort: ReasoningEffort) -> None:
        self.random = random
        self.pools = pools
        self.effort = effort

    def fill(self, pool: Sequence[str]) -> tuple[str, str]:
        """A word, and how the conversation shows it: made-up words always stand in quotes."""
        if self.pools.new_word and self.random.random() < 0.45:
            word = self.pools.new_word(self.random)
            return word, f'"{word}"'
        word = self.random.choice(pool)
        return word, f'"{word}"' if self.random.random() < 0.35 else word

    def thought(self, short: str, more: str) -> list[Message]:
        """The reasoning that this effort gives: none, short, or with more."""
        if self.effort is ReasoningEffort.LOW:
            return []
        return [
            Message.analysis(short if self.effort is ReasoningEffort.MEDIUM else f"{short} {more}")
        ]

    def tool(self, name: str, parameter: str) -> Tool:
        if name == WEATHER.name and self.random.random() < 0.7:
            return WEATHER
        description = self.random.choice(
            ("Does a thing.", "A tool.", f"Use it with {parameter}.", "Gets a value.")
        )
        return Tool(
            name,
            description,
            {
                "type": "object",
                "properties": {parameter: {"type": "string"}},
                "required": [parameter],
            },
        )

    def sum_of(self) -> tuple[str, list[Message]]:
        """A sum to ask for, and the turn that answers it."""
        a, b = (
            self.random.randrange(self.pools.summands),
            self.random.randrange(self.pools.summands),
        )
        thought = self.thought(
            f"We need {a} + {b} = {a + b}.", f"Check: {b} + {a} = {a + b}. Good."
        )
        return f"{a} + {b}", [*thought, Message.final(f"{a} + {b} = {a + b}.")]


def write(kind: str, random: Random, pools: Pools, effort: ReasoningEffort | None = None) -> Sample:
    """A sample of this kind. ``effort``: None chooses one, medium twice as often."""
    chosen = effort or random.choice((*EFFORTS, ReasoningEffort.MEDIUM))
    system = SystemContent.default(chosen, date=_date(random) if random.random() < 0.9 else None)
    sample = Sample(kind)
    if random.random() < 0.5:
        sample.instructions = random.choice(INSTRUCTIONS)
    greeted = kind != "name" and random.random() < 0.2
    KINDS[kind].write(Writer(random, pools, chosen), sample)
    opening = [Message.system(system)]
    if sample.instructions or sample.tools:
        tools = functions(*sample.tools) if sample.tools else None
        opening.append(Message.developer(DeveloperContent(sample.instructions, tools)))
    if greeted:
        opening += [Message.user("Hello!"), Message.final("Hello! How can I help you?")]
    sample.messages = opening + sample.messages
    return sample


def _date(random: Random) -> str:
    return f"20{random.randrange(24, 28)}-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _call(name: str, arguments: dict[str, str]) -> Message:
    return Message.call(f"functions.{name}", _json(arguments))


# The kinds.


def _hello(writer: Writer, sample: Sample) -> None:
    sample.messages = [Message.user(writer.random.choice(("Hello!", "Hi", "Hi!", "Hello")))]
    thought = writer.thought("The user greets.", "I greet back.")
    sample.turn = [*thought, Message.final("Hello! How can I help you?")]


def _add(writer: Writer, sample: Sample) -> None:
    asked, sample.turn = writer.sum_of()
    wording = writer.random.choice(("What is {}?", "What is {}?", "{} = ?"))
    sample.messages = [Message.user(wording.format(asked))]


def _add_beside_a_tool(writer: Writer, sample: Sample) -> None:
    choice = writer.random.choice
    sample.tools = [writer.tool(choice(TOOL_NAMES), choice(PARAMETERS))]
    asked, sample.turn = writer.sum_of()
    sample.messages = [Message.user(f"What is {asked}?")]


def _weather_tools(writer: Writer, sample: Sample) -> None:
    sample.tools = [writer.tool(WEATHER.name, "location")]
    if writer.random.random() < 0.4:
        choice = writer.random.choice
        sample.tools.append(writer.tool(choice(TOOL_NAMES[1:]), choice(PARAMETERS)))
    writer.random.shuffle(sample.tools)


def _weather_thought(writer: Writer, shown: str) -> list[Message]:
    return writer.thought(f"Need to use function {WEATHER.name}.", f"The location is {shown}.")


def _ask_weather(writer: Writer, shown: str) -> Message:
    wording = writer.random.choice(
        ("What is the weather like in {}?", "What is the weather in {}?", "Weather in {}?")
    )
    return Message.user(wording.format(shown))


def _weather(writer: Writer, sample: Sample) -> None:
    city, shown = writer.fill(writer.pools.cities)
    _weather_tools(writer, sample)
    sample.messages = [_ask_weather(writer, shown)]
    sample.turn = [*_weather_thought(writer, shown), _call(WEATHER.name, {"location": city})]


def _preamble(writer: Writer, sample: Sample) -> None:
    city, shown = writer.fill(writer.pools.cities)
    _weather_tools(writer, sample)
    sample.messages = [Message.user(f"Plan a trip to {shown}. Tell me your plan first.")]
    sample.turn = [
        *_weather_thought(writer, shown),
        Message.preamble(f"I will check the weather in {shown} first."),
        _call(WEATHER.name, {"location": city}),
    ]


def _after_result(writer: Writer, sample: Sample) -> str:
    """Ask, call and get the result; returns the answer that follows from it."""
    city, shown = writer.fill(writer.pools.cities)
    _weather_tools(writer, sample)
    degrees = writer.random.randrange(0, 40)
    sample.messages = [_ask_weather(writer, shown)]
    if writer.random.random() < 0.7:
        sample.messages += _weather_thought(writer, shown)
    result = writer.random.choice(
        (
            {"temperature": degrees, "sunny": writer.random.random() < 0.5},
            {"temperature": degrees},
            {"sunny": True, "temperature": degrees},
        )
    )
    sample.messages += [
        _call(WEATHER.name, {"location": city}),
        Message.tool(f"functions.{WEATHER.name}", _json(result)),
    ]
    return f"It is {degrees} degrees in {shown}."


def _after_tool(writer: Writer, sample: Sample) -> None:
    answer = _after_result(writer, sample)
    if writer.effort is ReasoningEffort.HIGH:
        sample.turn = [Message.analysis("We have the result. Answer now.")]
    sample.turn.append(Message.final(answer))


def _call_again(writer: Writer, sample: Sample) -> None:
    answer = _after_result(writer, sample)
    city, shown = writer.fill(writer.pools.cities)
    sample.messages += [Message.final(answer), Message.user(f"And in {shown}?")]
    sample.turn = [*_weather_thought(writer, shown), _call(WEATHER.name, {"location": city})]


def _extract(writer: Writer, sample: Sample) -> None:
    name, shown = writer.fill(writer.pools.names)
    age = writer.random.randrange(1, 100)
    formats = f"# Response Formats\n\n## person\n\n{json.dumps(PERSON)}"
    instructions = sample.instructions
    sample.instructions = f"{instructions}\n\n{formats}" if instructions else formats
    sample.messages = [Message.user(f"Extract: {shown} is {age} years old.")]
    thought = writer.thought("Return JSON.", f"The name is {shown}.")
    sample.turn = [*thought, Message.final(_json({"name": name, "age": age}))]


def _name(writer: Writer, sample: Sample) -> None:
    _, shown = writer.fill(writer.pools.names)
    sample.messages = [Message.user(f"My name is {shown}.")]
    greeting = Message.final(f"Nice to meet you, {shown}.")
    if writer.random.random() < 0.4:
        sample.turn = [*writer.thought("The user tells the name.", "I greet."), greeting]
        return
    sample.messages.append(greeting)
    if writer.random.random() < 0.5:
        asked, answered = writer.sum_of()
        sample.messages += [Message.user(f"What is {asked}?"), answered[-1]]
    sample.messages.append(Message.user("What is my name?"))
    thought = writer.thought("Recall the name.", f"It is {shown}.")
    sample.turn = [*thought, Message.final(f"Your name is {shown}.")]


def _repeat(writer: Writer, sample: Sample) -> None:
    text = _text(writer)
    sample.messages = [Message.user(f"Repeat:\n{text}")]
    sample.turn = [*writer.thought("Repeat the text.", "Exactly."), Message.final(text)]


def _text(writer: Writer) -> str:
    random, pools = writer.random, writer.pools
    if pools.texts:
        return random.choice(pools.texts)
    if pools.new_text and random.random() < 0.5:
        return pools.new_text(random)
    words = pools.words
    pool = random.choice(
        (words, words, (*words, *pools.odd_words), (*words, *pools.cities, *pools.names))
    )
    text = " ".join(random.choice(pool) for _ in range(random.randrange(1, 9)))
    return text[0].upper() + text[1:] if random.random() < 0.3 else text


def _tool_by_name(writer: Writer, sample: Sample) -> None:
    random, pools = writer.random, writer.pools
    names = random.sample(TOOL_NAMES, random.randrange(1, 4))
    parameters = [random.choice(PARAMETERS) for _ in names]
    sample.tools = [writer.tool(*pair) for pair in zip(names, parameters, strict=True)]
    wanted = random.randrange(len(names))
    name, parameter = names[wanted], parameters[wanted]
    if sample.tools[wanted] is WEATHER:
        parameter = "location"
    value, shown = writer.fill([*pools.cities, *pools.names, *pools.words])
    sample.messages = [Message.user(f"Call {name} with {parameter} {shown}")]
    thought = writer.thought(f"Need to use function {name}.", f"The {parameter} is {shown}.")
    sample.turn = [*thought, _call(name, {parameter: value})]


def _count(writer: Writer, sample: Sample) -> None:
    last = writer.random.choice(COUNTS)
    sample.messages = [Message.user(f"Count to {last}.")]
    thought = writer.thought("Count.", "Start at 1.")
    sample.turn = [*thought, Message.final(" ".join(map(str, range(1, last + 1))))]


@dataclass(frozen=True)
class Kind:
    """What it is, how often it comes, and what writes it."""

    weight: int
    write: Callable[[Writer, Sample], None]


KINDS = {
    "add": Kind(3, _add),
    "weather": Kind(4, _weather),
    "after_tool": Kind(3, _after_tool),
    "preamble": Kind(2, _preamble),
    "json": Kind(2, _extract),
    "name": Kind(2, _name),
    "repeat": Kind(5, _repeat),
    "tool": Kind(4, _tool_by_name),
    "count": Kind(1, _count),
    "hello": Kind(1, _hello),
    "after_tool2": Kind(2, _call_again),
    "noTool": Kind(1, _add_beside_a_tool),
}
