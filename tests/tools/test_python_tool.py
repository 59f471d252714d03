"""The python tool: state, text that the model can use, files, limits; in both sandboxes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from tests.tools.confined import needs_sandbox, run_as, starters

from antiphon.tools.protocol import ToolOutput
from antiphon.tools.python import Interpreter, PythonTool, SandboxedPython
from antiphon.tools.python.monty import MontyPython
from antiphon.tools.sandbox import Limits

pytestmark = [needs_sandbox, pytest.mark.slow]

LIMITS = Limits(
    memory_bytes=512 << 20, cpu_s=600, wall_s=float("inf"), processes=48, output_bytes=20_000
)


def session(who: str, *codes: str, **options: Any) -> list[dict[str, Any]]:
    """Run pieces of code one after the other in one session."""

    async def work() -> Any:
        tool = PythonTool(SandboxedPython(**{"limits": LIMITS, "call_s": 20, **options}))
        try:
            assert await tool.check() is None
            return [said(await tool.call(code, emit=lambda text: None)) for code in codes]
        finally:
            await tool.aclose()

    result: list[dict[str, Any]] = run_as(who, work)
    return result


def said(output: ToolOutput) -> dict[str, Any]:
    return {
        "text": output.text,
        "failed": output.failed,
        "files": {file.name: [file.media_type, len(file.data)] for file in output.files},
        "lost": output.details["state_lost"],
    }


@pytest.fixture(params=starters())
def who(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# What code comes to


def test_state_is_kept_between_calls(who):
    first, second, third = session(
        who, "import math\nx = 41\ndef f(): return x + 1", "f()", "_ + math.floor(1.5)"
    )
    assert first["text"] == "(no output)"
    assert (second["text"], third["text"]) == ("42", "43")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print('a')\n'b'", "a\n'b'"),
        ("print('a', end='')\n1", "a\n1"),
        ("None", "(no output)"),
        ("x = 1;", "(no output)"),
        ("for i in range(3): print(i)", "0\n1\n2"),
        ("display({'a': 1})", "{'a': 1}"),
        ("import sys; print('e', file=sys.stderr)", "e"),
        ("import os; os.write(1, b'raw'); None", "raw"),
        ("import os; _ = os.system('echo child')", "child"),
        ("!echo shell", "shell\n0"),
        ("%matplotlib inline\n1", "1"),
        ("import asyncio\nawait asyncio.sleep(0)\n'awaited'", "'awaited'"),
        ("print('Größe 日本 \\U0001f600')", "Größe 日本 \U0001f600"),
        ("class A: pass\nimport pickle; type(pickle.loads(pickle.dumps(A()))).__name__", "'A'"),
        ("import os; os.getcwd()", "'/mnt/data'"),
        ("__name__", "'__main__'"),
        ("print('\\0end of output')", "\0end of output"),
    ],
)
def test_output_is_what_is_printed_and_then_the_last_value(code, text):
    (only,) = session(starters()[0], code)
    assert (only["text"], only["failed"]) == (text, False)


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("def f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero"),
        ("x = (", "SyntaxError: '(' was never closed"),
        ("undefined", "NameError: name 'undefined' is not defined"),
        ("exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("input()", "EOFError: EOF when reading a line"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("class E(Exception):\n  def __str__(self): 1/0\nraise E", "E: <exception str() failed>"),
        ("class R:\n  def __repr__(self): 1/0\nR()", "ZeroDivisionError: division by zero"),
    ],
)
def test_exceptions_are_text_without_our_own_frames_and_state_stays(code, last):
    _, error, after = session(starters()[0], "kept = 7", code, "kept")
    assert error["failed"]
    assert error["text"].splitlines()[-1] == last
    assert "worker" not in error["text"]
    assert after["text"] == "7"


def test_a_traceback_shows_the_codes_own_lines():
    (error,) = session(starters()[0], "def f(n):\n    return 1 / n\nf(0)")
    assert error["text"].startswith('Traceback (most recent call last):\n  File "<cell 1>", line 3')
    assert "    return 1 / n\n" in error["text"]


def test_output_streams_while_code_runs():
    async def work() -> Any:
        tool = PythonTool(SandboxedPython(limits=LIMITS))
        first = asyncio.Event()
        try:
            task = asyncio.create_task(
                tool.call(
                    "import time\nprint('now', flush=True)\ntime.sleep(1000)",
                    emit=lambda text: first.set(),
                )
            )
            await first.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return said(await tool.call("1 + 1", emit=lambda text: None))
        finally:
            await tool.aclose()

    after = run_as(starters()[0], work)
    assert (after["text"], after["lost"]) == ("2", False)


def test_files_come_back_once_and_with_their_type(who):
    write, same, change = session(
        who,
        "open('a.csv', 'w').write('x,y\\n'); import os; os.makedirs('d'); open('d/b.png', 'wb')"
        ".write(b'PNG'); None",
        "open('/mnt/data/a.csv').read()",
        "open('a.csv', 'a').write('1,2\\n'); None",
    )
    assert write["files"] == {"a.csv": ["text/csv", 4], "d/b.png": ["image/png", 3]}
    assert "[files in /mnt/data: a.csv, d/b.png]" in write["text"]
    assert (same["text"], same["files"]) == ("'x,y\\n'", {})
    assert change["files"] == {"a.csv": ["text/csv", 8]}


def test_open_figures_come_back_as_files():
    # A stand-in: matplotlib is large, and what is used of it are these four functions.
    fake = (
        "import sys, types\n"
        "m = types.ModuleType('matplotlib.pyplot')\n"
        "class Figure:\n"
        "  def savefig(self, name): open(name, 'wb').write(b'PNG')\n"
        "m.open = [1, 2]\n"
        "m.get_fignums = lambda: m.open\n"
        "m.figure = lambda n: Figure()\n"
        "m.close = lambda what: m.open.clear()\n"
        "sys.modules['matplotlib.pyplot'] = m\n"
    )
    plot, after = session(starters()[0], fake, "1")
    assert list(plot["files"]) == ["figure-1.png", "figure-2.png"]
    assert after["files"] == {}


def test_links_out_of_the_drive_do_not_come_back_as_files(who, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    linked, large = session(
        who,
        f"import os; os.symlink('/etc/passwd', 'p'); os.symlink({str(secret)!r}, 's');"
        " os.mkfifo('pipe'); os.link('/usr/bin/env', 'hard') if False else None",
        "open('big', 'wb').truncate(17 << 20); None",
    )
    assert linked["files"] == {}
    assert "too large to be shown: big" in large["text"]


# Limits and escapes


def test_a_call_that_takes_too_long_is_interrupted_and_variables_stay(who):
    _, late, sleeping, after = session(
        who, "x = 5", "while True: pass", "import time; time.sleep(1000)", "x", call_s=0.8
    )
    for one in (late, sleeping):
        assert one["failed"]
        assert "interrupted: it took longer than 0.8 s; variables are kept" in one["text"]
    assert after["text"] == "5"


def test_code_that_will_not_be_interrupted_is_ended(monkeypatch):
    from antiphon.tools.python import sandboxed

    monkeypatch.setattr(sandboxed, "_GRACE_S", 0.3)
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    _, late, after = session(starters()[0], "x = 5", stubborn, "x", call_s=0.8)
    assert "its variables are lost" in late["text"]
    assert late["lost"]
    assert "NameError" in after["text"]


SWALLOWS_ONE = """
import time
try:
    time.sleep(1000)
except KeyboardInterrupt:
    time.sleep(1000)
"""


def test_code_that_swallows_an_interrupt_gets_another():
    _, late, after = session(starters()[0], "x = 5", SWALLOWS_ONE, "x", call_s=0.8)
    assert "variables are kept" in late["text"]
    assert after["text"] == "5"


def test_an_interrupt_counts_that_comes_before_the_code_began():
    source = resources.files("antiphon.tools.python").joinpath("worker.py").read_text()
    with subprocess.Popen(
        [sys.executable, "-I", "-u", "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            for n in range(1, 51):
                code = json.dumps({"n": n, "code": "import time; time.sleep(600)"})
                worker.stdin.write(f'{code}\n{{"interrupt": {n}}}\n'.encode())
                worker.stdin.flush()
                done = json.dumps({"n": n, "done": True}).encode()
                while worker.stdout.readline().strip() != done:
                    assert worker.poll() is None
        finally:
            worker.kill()


def test_a_call_that_is_cancelled_twice_leaves_the_next_one_alone():
    async def work() -> Any:
        tool = PythonTool(SandboxedPython(limits=LIMITS))
        try:
            await tool.call("x = 5", emit=lambda text: None)
            began = asyncio.Event()
            call = asyncio.create_task(
                tool.call(f"print(1, flush=True){SWALLOWS_ONE}", emit=lambda text: began.set())
            )
            await began.wait()
            call.cancel()
            await asyncio.sleep(0.05)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return said(await tool.call("x", emit=lambda text: None))
        finally:
            await tool.aclose()

    assert run_as(starters()[0], work)["text"] == "5"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit status 137"),
        ("import ctypes; ctypes.string_at(0)", "exit status 139"),
        ("import os; os.close(0); os.closerange(0, 100); 1", ""),
    ],
)
def test_an_interpreter_that_dies_is_told_and_replaced(who, code, why):
    died, after = session(who, code, "1 + 1", call_s=3)
    assert died["failed"]
    assert why in died["text"]
    assert "variables are lost" in died["text"]
    assert after["text"] == "2"


def test_memory_is_bounded_and_the_error_is_text(who):
    error, after = session(who, "x = bytearray(1 << 31)", "1")
    assert error["text"].endswith("MemoryError")
    assert after["text"] == "1"


def test_a_fork_bomb_and_memory_in_children_are_held(who):
    bomb = (
        "import os\ntry:\n  while True:\n    if os.fork() == 0:\n      x = b'x' * 40_000_000\n"
        "      import time; time.sleep(1000)\nexcept OSError as error:\n  print(error)"
    )
    first, after = session(who, bomb, "1")
    assert "temporarily unavailable" in first["text"] or "ended" in first["text"]
    assert after["text"] == "1"


def test_output_without_end_is_cut_and_ended():
    few, flood, after = session(
        starters()[0],
        "print('x' * 100_000); 'last'",
        "while True: print('y' * 1000)",
        "1",
        limits=Limits(
            memory_bytes=512 << 20, wall_s=float("inf"), output_bytes=3000, flood_bytes=4 << 20
        ),
    )
    assert len(few["text"]) < 3200
    assert few["text"].endswith("'last'")
    assert "printed more than 4 megabytes" in flood["text"]
    assert after["text"] == "1"


def test_lies_on_the_answer_channel_harm_nobody(who):
    lies = (
        "import os, json\n"
        "for fd in range(3, 20):\n"
        "  for line in (b'not json\\n', b'{}\\n', b'[1]\\n', b'{\"n\": 1, \"out\": 5}\\n',"
        " b'{\"n\": 99, \"done\": true}\\n', b'x' * 3_000_000 + b'\\n', b'[' * 50_000 + b'\\n'):\n"
        "    try: os.write(fd, line)\n"
        "    except OSError: break\n"
    )
    first, after = session(who, lies + "'end'", "1 + 1", call_s=5)
    assert first["text"]
    assert after["text"] == "2"


def test_no_network_no_files_of_others_no_environment(who, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    (seen,) = session(
        who,
        "import os, socket, glob\n"
        "print(os.environ.get('OPENAI_API_KEY'), sorted(os.listdir('/')), os.getuid())\n"
        "print(os.path.exists('/etc/shadow'), os.path.exists('/home'))\n"
        "print(len(glob.glob('/proc/[0-9]*')))\n"
        "try: socket.create_connection(('192.0.2.1', 80), 1)\n"
        "except OSError as error: print(error)\n",
    )
    lines = seen["text"].splitlines()
    assert lines[0].startswith("None [")
    assert lines[0].endswith("1000")
    assert lines[1] == "False False"
    assert int(lines[2]) <= 3
    assert "unreachable" in lines[3]


def test_the_drive_goes_with_the_tool():
    async def work() -> Any:
        interpreter = SandboxedPython(limits=LIMITS)
        await interpreter.run("open('a', 'w').close()", emit=lambda text: None)
        assert interpreter._drive is not None
        folder = interpreter._drive.folder
        there = (folder / "a").exists()
        await interpreter.aclose()
        return [there, folder.exists()]

    assert run_as(starters()[0], work) == [True, False]


def test_calls_wait_for_one_another():
    async def work() -> Any:
        tool = PythonTool(SandboxedPython(limits=LIMITS))
        try:
            await tool.call("n = 0", emit=lambda text: None)
            await asyncio.gather(*(tool.call("n += 1", emit=lambda text: None) for _ in range(20)))
            return said(await tool.call("n", emit=lambda text: None))
        finally:
            await tool.aclose()

    assert run_as(starters()[0], work)["text"] == "20"


def test_a_warm_call_takes_under_20_ms_of_this_process():
    async def work() -> float:
        tool = PythonTool(SandboxedPython(limits=LIMITS))
        try:
            await tool.call("1", emit=lambda text: None)
            before = time.process_time()
            for _ in range(20):
                await tool.call("1 + 1", emit=lambda text: None)
            return (time.process_time() - before) / 20
        finally:
            await tool.aclose()

    assert run_as(starters()[0], work) < 0.020


def test_an_interpreter_that_does_not_start_is_a_reason(tmp_path):
    async def work(python: Path) -> str | None:
        interpreter = SandboxedPython(python=python, limits=LIMITS)
        try:
            output = await PythonTool(interpreter).call("1", emit=lambda text: None)
            assert output.failed
            return await interpreter.check()
        finally:
            await interpreter.aclose()

    assert "No such file" in str(asyncio.run(work(tmp_path / "python")))
    assert "does not start" in str(asyncio.run(work(Path("/usr/bin/false"))))


# The tool itself


class Fixed:
    notes = "Internet access for this session is disabled."

    async def check(self) -> str | None:
        return None

    async def run(self, code: str, *, emit: Any) -> Any:
        from antiphon.tools.python import Ran

        return Ran(code)

    async def aclose(self) -> None:
        pass


def test_it_is_described_as_the_model_was_trained_apart_from_the_network():
    tool = PythonTool(Fixed())
    assert tool.name == "python"
    assert tool.parameters is None
    assert "stateful Jupyter notebook environment" in tool.description
    assert "time out after 120.0 seconds" in tool.description
    assert tool.description.endswith("Internet access for this session is disabled.")


@pytest.mark.parametrize("arguments", ["1", {"code": "1"}, {"input": "1"}, {"script": "1"}])
def test_code_comes_as_text_or_as_a_functions_one_string(arguments):
    assert asyncio.run(PythonTool(Fixed()).call(arguments, emit=print)).text == "1"


@pytest.mark.parametrize(
    "arguments", [{}, {"a": "1", "b": "2"}, {"code": 1}, "\ud800", "x" * 2**21]
)
def test_what_is_no_code_is_told(arguments):
    assert asyncio.run(PythonTool(Fixed()).call(arguments, emit=print)).failed


def test_a_person_may_be_asked():
    need = PythonTool(Fixed(), approval="ask").need("\n\nimport os\nos.remove('a')")
    assert (need.approval, need.summary) == ("ask", "python (4 lines): import os")


# Monty


def monty(*codes: str, **options: Any) -> list[dict[str, Any]]:
    async def work() -> list[dict[str, Any]]:
        interpreter: Interpreter = MontyPython(**options)
        tool = PythonTool(interpreter)
        try:
            return [said(await tool.call(code, emit=lambda text: None)) for code in codes]
        finally:
            await tool.aclose()

    pytest.importorskip("pydantic_monty")
    return asyncio.run(work())


def test_monty_keeps_state_and_shows_values_and_output():
    first, second, third = monty("x = 41", "x + 1", "print('a')\n'b'")
    assert [one["text"] for one in (first, second, third)] == ["(no output)", "42", "a\n'b'"]


def test_montys_exceptions_are_text_and_state_stays():
    _, error, after = monty("x = 1", "x / 0", "x")
    assert error["failed"]
    assert "ZeroDivisionError: division by zero" in error["text"]
    assert after["text"] == "1"


def test_monty_reaches_nothing():
    for one in monty(
        "open('/etc/passwd').read()",
        "import os\nos.listdir('/')",
        "import socket",
        "import subprocess",
        "__import__('os').system('id')",
    ):
        assert one["failed"]
        assert "root:" not in one["text"]


def test_monty_is_bounded_in_time_and_memory_and_begins_anew():
    _, late, after = monty("x = 1", "while True: pass", "1 + 1", call_s=1.5)
    assert "variables are lost" in late["text"]
    assert late["lost"]
    assert after["text"] == "2"
    large, after = monty("x = ['x' * 1000000 for i in range(100000)]", "2", memory_bytes=8 << 20)
    assert "variables are lost" in large["text"]
    assert after["text"] == "2"


def test_a_cancelled_monty_is_ended_and_begins_anew():
    async def work() -> str:
        interpreter = MontyPython()
        try:
            await interpreter.run("x = 1", emit=lambda text: None)
            task = asyncio.create_task(interpreter.run("while True: pass", emit=lambda text: None))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await interpreter.run("2", emit=lambda text: None)).text
        finally:
            await interpreter.aclose()

    pytest.importorskip("pydantic_monty")
    assert asyncio.run(work()) == "2"
