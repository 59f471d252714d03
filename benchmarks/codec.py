"""The codec's speed against openai-harmony 0.0.8, row by row.

    python benchmarks/codec.py                     every row
    python benchmarks/codec.py --only parse        rows whose group or name matches a pattern
    python benchmarks/codec.py --quick             small and inexact, to see that everything works
    python benchmarks/codec.py --write             every row, and benchmarks/RESULTS.md

Exits with 0 if every row was measured, whether or not it reached its target, and with 1 if the
outputs of a row differed. The method is described in timing.py and in RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
import time
from pathlib import Path

import cases_chat
import cases_cold
import cases_parse
import cases_render
import cases_stream
import cases_worst
from bench import Bench
from report import Report, machine, versions
from timing import Settings

RESULTS = Path(__file__).with_name("RESULTS.md")
CASES = [
    *cases_parse.CASES,
    *cases_stream.CASES,
    *cases_render.CASES,
    *cases_chat.CASES,
    *cases_worst.CASES,
    *cases_cold.CASES,
]


def main() -> int:
    options = _options()
    pattern = re.compile(options.only or "", re.IGNORECASE)
    cases = [case for case in CASES if pattern.search(f"{case.group}: {case.work}")]
    if options.list:
        print("\n".join([f"{case.group}: {case.work}" for case in cases]))
        return 0
    if not cases:
        print(f"no row matches {options.only!r}; see --list", file=sys.stderr)
        return 2
    bench = Bench(Settings.fast() if options.quick else Settings(pairs=options.pairs))
    report = Report()
    print(f"{machine()}\n{versions()}")
    begin = time.monotonic()
    for case in cases:
        report.add(case.group, case.run(bench, case.work))
    print(f"\n{report.summary()}; {time.monotonic() - begin:.0f} seconds")
    if options.write:
        command = "python benchmarks/codec.py --write"
        text = report.markdown(command, options.date, time.monotonic() - begin)
        # The gateway's part is written by gateway.py.
        _, mark, rest = RESULTS.read_text(encoding="utf-8").partition("\n# The gateway\n")
        RESULTS.write_text(text + mark + rest, encoding="utf-8")
        print(f"written to {RESULTS}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="PATTERN", help="rows matching this regular expression")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    parser.add_argument("--quick", action="store_true", help="small and inexact")
    parser.add_argument("--pairs", type=int, default=9, metavar="N", help="pairs a row (9)")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument(
        "--date",
        default=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        help="the date to write (today)",
    )
    options = parser.parse_args()
    if options.write and (options.only or options.quick):
        parser.error("--write needs every row, measured properly: no --only, no --quick")
    if options.pairs < 1:
        parser.error("--pairs needs at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
