"""What runs at a URL, whether it is a gpt-oss, and how to speak to it: asked, not assumed."""

from __future__ import annotations

from antiphon.engines.detect.asking import base_url
from antiphon.engines.detect.cache import ProbeCache
from antiphon.engines.detect.discovery import USUAL_PORTS, discover
from antiphon.engines.detect.kinds import OUR_HEADER
from antiphon.engines.detect.probing import PROBE_SECONDS, probe
from antiphon.engines.detect.report import (
    KINDS,
    Evidence,
    Finding,
    Kind,
    ModelReport,
    ProbeReport,
)

__all__ = [
    "KINDS",
    "OUR_HEADER",
    "PROBE_SECONDS",
    "USUAL_PORTS",
    "Evidence",
    "Finding",
    "Kind",
    "ModelReport",
    "ProbeCache",
    "ProbeReport",
    "base_url",
    "discover",
    "probe",
]
