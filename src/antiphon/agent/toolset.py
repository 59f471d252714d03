"""The tools of an agent → what the prompt offers, and back from a recipient to the tool.

`python` and what begins with `browser.` are gpt-oss's own built-ins: they stand in the system
message as the model was trained on them, and their calls come on the analysis channel. Every other
tool is a function of the developer message, under an alias where its name would mislead the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from antiphon.api.toolnames import ToolNames
from antiphon.api.toolset import CUSTOM_PARAMETERS
from antiphon.model import tools as prompt
from antiphon.model.tools import BROWSER, FUNCTIONS, PYTHON, ToolNamespace
from antiphon.tools.protocol import Tool

__all__ = ["AgentTools"]

_BUILT_IN = {BROWSER.name: BROWSER, PYTHON.name: PYTHON}


class AgentTools:
    """What is offered. Raises ValueError for two tools of one name.

    ``built_ins`` is False where the model is reached through a chat route, which knows functions
    only; ``python`` and ``browser.search`` are functions then.
    """

    def __init__(self, tools: Sequence[Tool], *, built_ins: bool = True) -> None:
        self.tools = tuple(tools)
        by_name = {tool.name: tool for tool in tools}
        if len(by_name) != len(self.tools):
            names = [tool.name for tool in tools]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"there are two tools named {', '.join(twice)}")
        trained = {name for name in by_name if built_ins and _namespace(name) is not None}
        self.names = ToolNames([name for name in by_name if name not in trained])
        self.by_recipient: Mapping[str, Tool] = {
            (name if name in trained else self.names.recipient(name)): tool
            for name, tool in by_name.items()
        }
        functions = [
            prompt.Tool(
                self.names.alias(name),
                tool.description,
                CUSTOM_PARAMETERS if tool.parameters is None else dict(tool.parameters),
            )
            for name, tool in by_name.items()
            if name not in trained
        ]
        self.functions = prompt.functions(*functions) if functions else {}
        """For the developer message."""
        self.built_ins = _built_ins([by_name[name] for name in by_name if name in trained])
        """For the system message."""
        self.custom = frozenset(
            self.names.recipient(name)
            for name, tool in by_name.items()
            if name not in trained and tool.parameters is None
        )

    @property
    def namespaces(self) -> dict[str, ToolNamespace]:
        """All that may be called."""
        return {**self.functions, **self.built_ins}

    def find(self, recipient: str) -> Tool | None:
        """The tool behind a recipient."""
        return self.by_recipient.get(recipient)

    def name(self, recipient: str) -> str:
        """What people call it, tools that are not offered included."""
        tool = self.find(recipient)
        return self.names.client(recipient) if tool is None else tool.name

    def recipient(self, name: str) -> str:
        """How a name, as the model may have written it, stands in a header."""
        name = name.removeprefix(f"{FUNCTIONS}.")
        if name.partition(".")[0] in _BUILT_IN:
            return name
        return self.names.recipient(name)


def _namespace(name: str) -> ToolNamespace | None:
    space, dot, function = name.partition(".")
    found = _BUILT_IN.get(space)
    if found is None or not dot:
        return found if found is not None and not found.tools else None
    return found if any(tool.name == function for tool in found.tools) else None


def _built_ins(tools: Sequence[Tool]) -> dict[str, ToolNamespace]:
    """The namespaces, each whole: the model was trained on all of their functions together. One
    without functions is its description, which says what is special here.
    """
    spaces = {tool.name.partition(".")[0]: tool for tool in tools}
    return {
        name: space
        if space.tools
        else msgspec.structs.replace(space, description=spaces[name].description)
        for name, space in _BUILT_IN.items()
        if name in spaces
    }
