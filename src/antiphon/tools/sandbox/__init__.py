"""Where commands and code of the model run: bubblewrap, without network, under limits."""

from __future__ import annotations

from antiphon.tools.sandbox.arguments import Folder
from antiphon.tools.sandbox.bubblewrap import Bubblewrap, SandboxError
from antiphon.tools.sandbox.limits import Finished, Limits
from antiphon.tools.sandbox.running import Running

__all__ = ["Bubblewrap", "Finished", "Folder", "Limits", "Running", "SandboxError"]
