"""Grammars that make a constrained sampler write well-formed Harmony.

A `Plan` says which messages may follow ``<|start|>assistant``: free analysis, then a call of an
allowed tool or a final answer. Three texts are written from it, one for each family of engines:

    plan(...) ─┬─► gbnf             llama.cpp
               ├─► structural_tag   vLLM, SGLang (xgrammar)
               └─► lark             llguidance

What a dialect cannot express is loosened, never tightened, and named in the text's ``notes``: check
the arguments and answers against the schema afterwards all the same (docs/grammar.md).
"""

from __future__ import annotations

from antiphon.codec.grammar.gbnf import gbnf
from antiphon.codec.grammar.lark import lark
from antiphon.codec.grammar.notes import GrammarText, Note
from antiphon.codec.grammar.plan import (
    AUTO,
    NONE,
    REQUIRED,
    AnyText,
    Body,
    Call,
    InputBody,
    JsonBody,
    Plan,
    ToolChoice,
    ToolMode,
    plan,
)
from antiphon.codec.grammar.structural_tag import structural_tag

__all__ = [
    "AUTO",
    "NONE",
    "REQUIRED",
    "AnyText",
    "Body",
    "Call",
    "GrammarText",
    "InputBody",
    "JsonBody",
    "Note",
    "Plan",
    "ToolChoice",
    "ToolMode",
    "gbnf",
    "lark",
    "plan",
    "structural_tag",
]
