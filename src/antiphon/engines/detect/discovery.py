"""Engines that run on this computer, looked for on the ports they usually listen on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from antiphon.engines.detect.cache import ProbeCache
from antiphon.engines.detect.probing import probe
from antiphon.engines.detect.report import ProbeReport

__all__ = ["USUAL_PORTS", "discover"]

USUAL_PORTS: Final = (8080, 8000, 30000, 11434, 1234, 13305, 8001, 9931)
"""llama.cpp and mlx-lm, vLLM and transformers serve, SGLang, Ollama, LM Studio, Lemonade, and where
a second vLLM and newer llama.cpp servers are found. The order is that of preference."""
DISCOVERY_SECONDS: Final = 15.0
"""Longest search. Ports on which nothing listens refuse at once."""


async def discover(
    *,
    ports: Sequence[int] = USUAL_PORTS,
    host: str = "127.0.0.1",
    skip: Collection[str] = (),
    timeout: float = DISCOVERY_SECONDS,  # noqa: ASYNC109 - shared by all requests of each probe
    cache: ProbeCache | None = None,
) -> list[ProbeReport]:
    """Reports of the engines found, those with a usable gpt-oss first, else in the ports' order.

    ``skip`` are URLs that are known. A gateway of ours is never among the results.
    """
    urls = [url for port in dict.fromkeys(ports) if (url := f"http://{host}:{port}") not in skip]
    reports = await asyncio.gather(*[probe(url, timeout=timeout, cache=cache) for url in urls])
    found = [report for report in reports if report.kind.value not in (None, "antiphon")]
    return sorted(found, key=lambda report: not report.usable)
