"""The project itself: its public names, what they cost to import, its metadata and its package."""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

import antiphon

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]

PUBLIC = """
    AntiphonError Author BROWSER ChannelConfig Conversation DeveloperContent Diagnostic EngineError
    Header Message MessageEnd MessageError MessageStart MissingExtraError PYTHON ParseError Parser
    ReasoningEffort RenderError Renderer ResponseFormat Role SchemaError Span Stop SystemContent
    TextContent TextDelta Tool ToolNamespace VocabularyError __version__ functions parse render
"""


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def modules_loaded_by(code: str) -> set[str]:
    report = "import sys; before = set(sys.modules)\n{}\nprint(*(set(sys.modules) - before))"
    return set(run(report.format(code)).split())


# Public names


def test_the_public_names_are_these_and_no_others() -> None:
    assert sorted(antiphon.__all__) == sorted(PUBLIC.split())
    assert len(set(antiphon.__all__)) == len(antiphon.__all__)


def test_every_public_name_exists_and_is_listed() -> None:
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None
    assert set(antiphon.__all__) <= set(dir(antiphon))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prase'"):
        antiphon.prase  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_see_the_names_where_they_really_come_from() -> None:
    tree = ast.parse((ROOT / "src/antiphon/__init__.py").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }
    assert set(declared) | {"__version__"} == set(antiphon.__all__)
    for name, module in declared.items():
        assert getattr(sys.modules[module], name) is getattr(antiphon, name)


# What importing costs


def test_importing_the_package_imports_nothing_else() -> None:
    assert modules_loaded_by("import antiphon") <= {"antiphon", "__future__"}


def test_parsing_does_not_load_the_encoder() -> None:
    loaded = modules_loaded_by(
        "import antiphon; antiphon.parse([200005, 17196, 200008, 3686, 200002], role='assistant')"
    )
    assert "antiphon.codec.parse" in loaded
    assert not {"splintr", "tiktoken", "antiphon.codec.render"} & loaded


def test_the_codec_loads_no_framework_and_no_extra() -> None:
    loaded = modules_loaded_by(
        "import antiphon; antiphon.parse(antiphon.render([antiphon.Message.user('hi')]))"
    )
    unwanted = ("aiohttp", "asyncio", "click", "logging", "numpy", "pydantic", "rich", "socket")
    assert not set(unwanted) & loaded


def test_the_command_without_its_extra_says_how_to_install_it() -> None:
    printed = run(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click': raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "sys.stderr = sys.stdout\n"
        "from antiphon.cli.main import main\n"
        "print(main(['--help']))"
    )
    assert printed.splitlines() == [
        "antiphon: click is not installed; install it with: pip install 'antiphon[cli]'",
        "2",
    ]


# Metadata


def test_the_installed_version_is_the_one_in_the_source() -> None:
    assert version("antiphon") == antiphon.__version__


def test_the_codec_depends_on_msgspec_and_the_tokenizer_only() -> None:
    names = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    assert names == {"msgspec", "splintr-rs"}


def test_the_extra_all_is_all_extras() -> None:
    (everything,) = (Requirement(text) for text in EXTRAS["all"])
    assert everything.extras == set(EXTRAS) - {"all"}


def test_constraints_pin_one_release_of_everything_we_ask_for() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) and not pin.url for pin in pins)
    release = {canonical(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    assert len(release) == len(pins)
    asked = [*PROJECT["project"]["dependencies"]]
    for group in [*EXTRAS.values(), *PROJECT["dependency-groups"].values()]:
        asked += [text for text in group if isinstance(text, str)]
    for requirement in map(Requirement, asked):
        if requirement.name != "antiphon":
            assert requirement.specifier.contains(release[canonical(requirement.name)]), requirement


def test_the_licence_is_the_apache_licence_word_for_word() -> None:
    text = (ROOT / "LICENSE").read_bytes()
    digest = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert hashlib.sha256(text).hexdigest() == digest


def test_make_says_what_each_of_its_targets_does() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    documented = re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE)
    assert sorted(phony[1].split()) == sorted(documented)


# The package


@pytest.mark.slow
def test_the_wheel_works_alone_in_a_fresh_environment(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("antiphon-*.whl")
    held = {name.partition("/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    assert {"py.typed", "vocab/data/o200k_base.zlib", "engines/tiny/data/tiny-gpt-oss.npz"} <= held
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= held

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, *pip[1:], "install", "-c", ROOT / "constraints.txt", wheel], check=True)
    round_trip = (
        "from antiphon import *\n"
        "print(parse(render([Message.final('hi')], completion=False))[0].text)"
    )
    done = subprocess.run([python, "-I", "-c", round_trip], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("hi\n", "")
    command = tmp_path / "venv" / "bin" / "antiphon"
    done = subprocess.run([command, "--help"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'antiphon[cli]'" in done.stderr
