"""`llm`, the command line tool, with the gateway as an extra OpenAI-compatible model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]

MODELS = """
- model_id: gpt-oss
  model_name: gpt-oss-120b
  api_base: "{url}"
  supports_tools: true
  supports_schema: true
"""


@pytest.fixture
def llm(server: Serving, tmp_path: Path) -> object:
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(url=server.base_url))

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "gpt-oss", *arguments],
            env=os.environ | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "unused"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.mark.parametrize("flags", [[], ["--no-stream"]])
def test_it_answers(llm: object, flags: list[str]) -> None:
    assert callable(llm)
    assert llm("Say exactly: naïve 🎉", *flags) == "naïve 🎉"


@pytest.mark.parametrize("flags", [[], ["--no-stream"]])
def test_it_calls_a_function_and_answers_with_its_result(llm: object, flags: list[str]) -> None:
    assert callable(llm)
    function = 'def multiply(x: int, y: int) -> int:\n    "Multiply."\n    return x * 1000 + y'
    said = llm("Call multiply with x 34 and y 57", "--functions", function, "--td", *flags)
    assert "34057" in said


def test_it_fills_in_a_schema(llm: object) -> None:
    assert callable(llm)
    told = json.loads(llm("Invent a dog.", "--schema", "name str, age int"))
    assert {type(told["name"]), type(told["age"])} == {str, int}
