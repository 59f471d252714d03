"""What fills the blanks in the broad corpus: fixed lists, and words made from the vocabulary."""

from __future__ import annotations

import re
from functools import cache
from random import Random

from conversations import Pools

from antiphon.vocab.table import ordinary_bytes

CITIES = (
    *"""Paris London Tokyo Berlin Madrid Rome Oslo Cairo Lima Delhi Boston Chicago Seattle Toronto
    Sydney Dublin Vienna Prague Lisbon Athens Moscow Beijing Seoul Nairobi Havana Bogota Zurich
    Geneva Munich Milan Kyoto Osaka Dallas Denver Miami Austin Helsinki Warsaw Budapest
    Istanbul""".split(),
    *("San Francisco", "New York", "Los Angeles", "Buenos Aires"),
    *("Hong Kong", "Cape Town", "Tel Aviv", "Mexico City"),
)
NAMES = tuple(
    """Alice Bob Carol David Emma Frank Grace Henry Irene Jack Karen Leo Maria Nick Olivia Peter
    Quinn Rosa Sam Tina Uma Victor Wendy Xavier Yara Zoe Ada Alan Linus Guido""".split()
)
WORDS = tuple(
    """apple river stone cloud green blue red seven eight table window garden music paper silver
    gold winter summer happy quiet fast slow big small open close left right north south east west
    cat dog bird fish tree house road bridge light dark water fire earth moon star sun day night
    hello world alpha beta gamma delta omega zero one two three four five six nine ten the and of to
    in on with for from by at as or not all some new old""".split()
)
ODD_WORDS = (*"😀😂👍🎉🚀🌍❤🔥", *"café naïve 日本 東京 привет мир Zürich señor ½ €5 →".split())

_ONE_WORD = re.compile(r" ?[^\W\d_]{2,14}")


@cache
def _tokens() -> tuple[list[str], list[str]]:
    """Tokens that are one word: all of them, and those without a space in front."""
    words = []
    for token in ordinary_bytes():
        try:
            text = token.decode()
        except UnicodeDecodeError:
            continue
        if _ONE_WORD.fullmatch(text):
            words.append(text)
    return words, [word for word in words if word[0] != " "]


def new_word(random: Random) -> str:
    """One or two tokens of any language, a number, or a word with a suffix."""
    words, leading = _tokens()
    word = random.choice(leading)
    chance = random.random()
    if chance < 0.35:
        return word + random.choice(words)
    if chance < 0.45:
        return str(random.randrange(10 ** random.randrange(1, 7)))
    if chance < 0.5:
        return word + random.choice((", CA", "-1", "_2", "/x", "@y.z"))
    return word


def new_text(random: Random) -> str:
    """A text of up to two dozen such words, numbers, punctuation marks and rare characters."""
    words, leading = _tokens()
    text = random.choice(leading)
    for _ in range(random.randrange(23)):
        chance = random.random()
        if chance < 0.75:
            word = random.choice(words)
            text += word if word[0] == " " or random.random() < 0.3 else f" {word}"
        elif chance < 0.85:
            text += f" {random.randrange(1000)}"
        elif chance < 0.92:
            text += random.choice((",", ".", "!", "?", ":", ";", " -", " (", ")", "/"))
        else:
            ranges = ((0x1F300, 0x1F600), (0x4E00, 0x9000), (0x3B1, 0x3C9))
            text += " " + chr(random.randrange(*random.choice(ranges)))
    return text


BROAD = Pools(
    cities=CITIES,
    names=NAMES,
    words=WORDS,
    odd_words=ODD_WORDS,
    new_word=new_word,
    new_text=new_text,
)
"""Everything: the model learns the format and to copy, and cannot learn the answers by heart."""
