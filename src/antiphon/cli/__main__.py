"""``python -m antiphon.cli``: the same as the ``antiphon`` command."""

from __future__ import annotations

import sys

from antiphon.cli.main import main

sys.exit(main())
