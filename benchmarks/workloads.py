"""Seeded texts and conversations, made here so that nothing has to be downloaded.

Three kinds of text: ``ascii`` is English prose with Python code in it, ``mixed`` has accents,
other scripts, symbols and emoji between the English, ``cjk`` is Chinese, Japanese and Korean, rare
characters included, with emoji. Words are drawn with the falling frequencies of real text, and a
part of them is invented on the spot, so that no tokenizer can have seen them all.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from random import Random
from typing import Any, Final

from antiphon.vocab.table import ordinary_bytes
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["KINDS", "agent_chat", "completion_messages", "dialogue", "short_chat", "text", "tools"]


def _split(words: str) -> list[str]:
    return words.split()


_WORDS: Final = _split(
    "the of and to a in is that it for was on are as with be this from by at have or not but "
    "which an they you were all we can had their one there more if has what about when other "
    "into some could time these two may then do first any now such like our over even most made "
    "after also many before must through years where much way well should because each just "
    "those people how too little state good very make world still own see work long get here "
    "between both life being under never day same another know while last might us great old year "
    "off come since against go came right used take three small found thought server client "
    "request response token message channel parser buffer stream model prompt engine vector matrix "
    "function variable compiler network protocol database index query latency throughput memory "
    "temperature pressure velocity experiment hypothesis evidence conclusion analysis weather "
    "forecast tomorrow morning evening recipe kitchen garden window mountain river journey ticket "
    "station invoice contract customer delivery schedule meeting budget report quarter increase "
    "decrease approximately nevertheless furthermore consequently independent responsibility "
    "international characteristic understanding configuration implementation synchronization"
)
_WEIGHTS: Final = list(accumulate(1 / (i + 3) for i in range(len(_WORDS))))
_SYLLABLES: Final = _split(
    "ka lo mi ren tas vor el qui zan dor phe ul bri sto nax wy gle ith mar ost du ra kel bin"
)
_EUROPE: Final = _split(
    "für über Straße größer Übung déjà où élève garçon naïve señor mañana corazón ação não "
    "łódź żółty příliš žluťoučký şimdi değil öğrenci Москва погода сегодня привет вопрос "
    "ответ Αθήνα καλημέρα שלום עולם مرحبا العالم नमस्ते दुनिया สวัสดี"
)
_SYMBOLS: Final = _split("→ ≤ ≥ ≠ × ÷ √ ∑ ∫ π μ ° € £ ¥ © ™ … – — • ✓ ✗ “ ” ‘ ’ « »")
_CJK_WORDS: Final = _split(
    "今天 天气 怎么样 我们 需要 先 查询 数据库 然后 计算 结果 并且 回答 用户 的 问题 "
    "因为 所以 但是 如果 可以 使用 工具 语言 模型 推理 东京 大阪 京都 電車 時間 予定 "
    "会議 資料 確認 してください ありがとう ございます "
    "これは テスト です プログラム データ ネットワーク 서울 날씨 오늘 내일 안녕하세요 감사합니다 "
    "프로그램 데이터 모델 "
    "，。、！？：；「」（）"
)
_EMOJI: Final = _split(
    "🙂 😂 🤖 🚀 🔥 🎉 👍 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🇯🇵 ❤️ 🧑🏿‍💻 🦜 🫠 🪿 🫨 ☕ ⛄ 🧵 🪐 🥟 🛰️ 🧬 🧮"
)


def text(kind: str, tokens: int, seed: int) -> str:
    """About ``tokens`` tokens of text of one kind; the same seed gives the same text."""
    rng = Random(f"{kind} {seed}")
    piece = KINDS[kind]
    encode = default_tokenizer().encode
    ids: list[int] = []
    while len(ids) < tokens:
        ids += encode(piece(rng))
    table = ordinary_bytes()
    return b"".join([table[i] for i in ids[:tokens]]).decode("utf-8", "ignore")


def _word(rng: Random) -> str:
    chance = rng.random()
    if chance < 0.92:
        return rng.choices(_WORDS, cum_weights=_WEIGHTS)[0]
    if chance < 0.97:
        return "".join(rng.choices(_SYLLABLES, k=rng.randrange(2, 5))).capitalize()
    return f"{rng.randrange(10 ** rng.randrange(1, 6))}"


def _sentence(rng: Random) -> str:
    words = [_word(rng) for _ in range(rng.randrange(6, 22))]
    if rng.random() < 0.4:
        words[len(words) // 2] += ","
    return f"{' '.join(words).capitalize()}{rng.choice('....?!:')} "


def _code(rng: Random) -> str:
    name = "_".join(rng.choices(_WORDS, k=2))
    argument, local = rng.choice(_WORDS), rng.choice(_WORDS)
    return (
        f"\n\n```python\ndef {name}({argument}: list[int], limit: int = {rng.randrange(512)}):\n"
        f'    """{_sentence(rng).strip()}"""\n'
        f"    {local}_count = 0\n"
        f"    for i, item in enumerate({argument}):\n"
        f"        if item % {rng.randrange(2, 9)} == 0 and i < limit:\n"
        f"            {local}_count += item * 0x{rng.randrange(1 << 16):x}\n"
        f"    return {{'{local}': {local}_count}}  # {_word(rng)}\n```\n\n"
    )


def _ascii(rng: Random) -> str:
    if rng.random() < 0.12:
        return _code(rng)
    return "".join([_sentence(rng) for _ in range(rng.randrange(2, 6))]) + rng.choice(["", "\n\n"])


def _mixed(rng: Random) -> str:
    words = [
        rng.choice(rng.choice((_EUROPE, _EUROPE, _SYMBOLS, _CJK_WORDS, _EMOJI)))
        if rng.random() < 0.3
        else _word(rng)
        for _ in range(rng.randrange(6, 22))
    ]
    return f"{' '.join(words)}. "


def _cjk(rng: Random) -> str:
    pieces = []
    for _ in range(rng.randrange(6, 22)):
        chance = rng.random()
        if chance < 0.6:
            pieces.append(rng.choice(_CJK_WORDS))
        elif chance < 0.8:
            pieces.append(chr(rng.randrange(0x4E00, 0x9FA6)))
        else:
            pieces.append(rng.choice(_EMOJI))
    return "".join(pieces)


KINDS: Final[dict[str, Callable[[Random], str]]] = {"ascii": _ascii, "mixed": _mixed, "cjk": _cjk}


# Conversations, in the canonical JSON form as plain values.


def _text_message(role: str, words: str, **fields: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": words}], **fields}


def _call(rng: Random, arguments: str) -> dict[str, Any]:
    return _text_message(
        "assistant",
        arguments,
        channel="commentary",
        recipient=f"functions.{rng.choice(_TOOL_NAMES)}",
        content_type="<|constrain|>json",
    )


def completion_messages(count: int, tokens: int, seed: int) -> list[dict[str, Any]]:
    """What a model may write in one go: reasoning, calls, an answer, of ``tokens`` tokens each."""
    rng = Random(f"completion {seed}")
    out = []
    for i in range(count):
        words = text("ascii", tokens, seed * 1000 + i)
        if i == count - 1:
            out.append(_text_message("assistant", words, channel="final"))
        elif i % 4 == 3:
            out.append(_call(rng, words))
        else:
            out.append(_text_message("assistant", words, channel="analysis"))
    return out


def dialogue(count: int, tokens: int, seed: int) -> list[dict[str, Any]]:
    """User and assistant in turn, ``count`` messages of ``tokens`` tokens each."""
    return [
        _text_message("assistant", words, channel="final")
        if i % 2
        else _text_message("user", words)
        for i, words in enumerate(text("ascii", tokens, seed * 1000 + i) for i in range(count))
    ]


def short_chat(seed: int) -> list[dict[str, Any]]:
    """System settings, a question and its answer: about 126 tokens."""
    rng = Random(f"short {seed}")
    answer = "".join([_sentence(rng) for _ in range(2)])
    return [
        _SYSTEM,
        _text_message("user", _sentence(rng)),
        _text_message("assistant", answer, channel="final"),
    ]


def agent_chat(turns: int, seed: int) -> tuple[list[dict[str, Any]], list[int]]:
    """A long chat with tools, and how many messages the prompt of each model turn has.

    A turn is one completion: nine in ten reason and call a tool, whose result is the next message;
    the tenth answers, and the user asks the next question. About 540 tokens a turn.
    """
    rng = Random(f"agent {seed}")
    developer = {
        "type": "developer_content",
        "instructions": text("ascii", 200, seed),
        "tools": tools(12, seed),
    }
    out: list[dict[str, Any]] = [_SYSTEM, {"role": "developer", "content": [developer]}]
    prompts = []
    for turn in range(turns):
        words = seed * 100_000 + turn * 10
        if turn % 10 == 0:
            out.append(_text_message("user", text("ascii", 60, words)))
        prompts.append(len(out))
        out.append(_text_message("assistant", text("ascii", 110, words + 1), channel="analysis"))
        if turn % 10 == 9:
            out.append(_text_message("assistant", text("ascii", 300, words + 2), channel="final"))
            continue
        call = _call(rng, f'{{"city": "{_word(rng)}", "days": {rng.randrange(14)}}}')
        result = _text_message(
            "tool",
            text("ascii", 390, words + 3),
            name=call["recipient"],
            recipient="assistant",
            channel="commentary",
        )
        out += [call, result]
    return out, prompts


_SYSTEM: Final[dict[str, Any]] = {
    "role": "system",
    "content": [
        {
            "type": "system_content",
            "model_identity": "You are ChatGPT, a large language model trained by OpenAI.",
            "reasoning_effort": "Medium",
            "conversation_start_date": "2026-01-31",
            "knowledge_cutoff": "2024-06",
            "channel_config": {
                "valid_channels": ["analysis", "commentary", "final"],
                "channel_required": True,
            },
        }
    ],
}
_TOOL_NAMES: Final = ("get_weather", "lookup", "search_orders", "book_ticket", "list_files")


def tool_schemas(count: int, seed: int) -> list[dict[str, Any]]:
    """Function tools with a few typed parameters each."""
    rng = Random(f"tools {seed}")
    out = []
    for i in range(count):
        properties: dict[str, Any] = {
            "city": {"type": "string", "description": _sentence(rng).strip()},
            "days": {"type": "integer", "default": rng.randrange(9)},
            "unit": {"type": "string", "enum": ["metric", "imperial"], "default": "metric"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "options": {
                "type": "object",
                "properties": {_word(rng).lower(): {"type": "boolean"} for _ in range(3)},
            },
        }
        name = _TOOL_NAMES[i] if i < len(_TOOL_NAMES) else f"{rng.choice(_WORDS)}_{i}"
        out.append(
            {
                "name": name,
                "description": _sentence(rng).strip(),
                "parameters": {"type": "object", "properties": properties, "required": ["city"]},
            }
        )
    return out


def tools(count: int, seed: int) -> dict[str, Any]:
    """``tool_schemas`` as the namespace ``functions``."""
    return {"functions": {"name": "functions", "tools": tool_schemas(count, seed)}}
