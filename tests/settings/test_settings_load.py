"""Settings: every one by file, environment and flag; mistakes are named exactly."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.errors import SettingsError
from antiphon.settings.effective import for_model, merged
from antiphon.settings.load import describe, load, settings_file
from antiphon.settings.model import ModelSettings, Settings
from antiphon.settings.options import Option, engine_options, model_options, options

OPTIONS = {option.path: option for option in options()}
PLAIN = [option for option in options() if option.path not in ("engines", "models")]


def ids(option: Option) -> str:
    return option.path


def other_value(option: Option) -> tuple[Any, str]:
    """A value that is not the default, and how a flag says it."""
    if option.expected.startswith("one of"):
        words = option.expected.removeprefix("one of ").split(", ")
        word = next(word for word in words if word != option.default)
        return word, word
    if option.expected == "true or false":
        return not option.default, str(not option.default).lower()
    if option.expected.startswith("a list of one of"):
        last = option.expected.rpartition(" ")[2]
        return [last], last
    if option.path == "guard.ports":
        return [80, 8000], "80, 8000"
    if option.expected.startswith("a list"):
        return ["a.example", "b.example"], "a.example, b.example"
    if option.expected.startswith("a whole number"):
        value = (option.default or 0) + 1
        if option.path == "turn.structured_retries":
            value = 3
        return value, str(value)
    if option.expected.startswith("a number"):
        return 0.5, "0.5"
    return "words", "words"


def value_of(settings: Settings, path: str) -> Any:
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


def as_toml(path: str, value: Any) -> str:
    table, _, name = path.rpartition(".")
    line = f"{name} = {msgspec.json.encode(value).decode()}\n"
    return f"[{table}]\n{line}" if table else line


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "antiphon.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def read(write: Any, text: str = "", **environ: str) -> Settings:
    return load(write(text), environ)


@pytest.mark.parametrize("option", PLAIN, ids=ids)
def test_every_setting_can_be_set_in_each_of_three_ways(option: Option, write: Any) -> None:
    value, text = other_value(option)
    expected = msgspec.convert(value, option.type)
    assert expected != option.default
    empty = write("")
    assert value_of(load(empty, {option.variable: text}), option.path) == expected
    assert value_of(load(empty, {}, {option.flag: text}), option.path) == expected
    assert value_of(load(empty, {}, {option.path: text}), option.path) == expected
    assert value_of(load(write(as_toml(option.path, value)), {}), option.path) == expected


def test_flags_win_over_the_environment_and_that_over_the_file(write: Any) -> None:
    file = write("[server]\nport = 1\nhost = 'file'\n[turn]\nseconds = 5\n")
    environ = {"ANTIPHON_SERVER_PORT": "2", "ANTIPHON_SERVER_HOST": "variable"}
    settings = load(file, environ, {"--server-port": "3"})
    assert (settings.server.port, settings.server.host) == (3, "variable")
    assert settings.turn.seconds == 5


def test_host_and_port_have_short_flags(write: Any) -> None:
    settings = load(write(""), {}, {"--port": "81", "--host": "::1"})
    assert (settings.server.port, settings.server.host) == (81, "::1")


def test_no_two_settings_share_a_variable_or_a_flag() -> None:
    assert len({o.variable for o in options()}) == len(options())
    assert len({o.flag for o in options()}) == len(options())


def test_engines_and_models_come_from_the_file_as_tables(write: Any) -> None:
    settings = read(
        write,
        """
        [[engines]]
        url = "http://a:1"
        weight = 2
        [[engines]]
        url = "http://b:1"
        models = ["x"]
        [models."my/model"]
        effort = "high"
        aliases = ["m"]
        """,
    )
    assert [e.url for e in settings.engines] == ["http://a:1", "http://b:1"]
    assert (settings.engines[0].weight, settings.engines[1].models) == (2.0, ("x",))
    assert settings.models["my/model"].effort == "high"


def test_engines_and_models_come_from_the_environment_as_urls_or_json(write: Any) -> None:
    settings = read(
        write,
        ANTIPHON_ENGINES="http://a:1, http://b:1",
        ANTIPHON_MODELS='{"m": {"mode": "standard"}}',
    )
    assert [e.url for e in settings.engines] == ["http://a:1", "http://b:1"]
    assert settings.models["m"].mode == "standard"
    one = read(write, ANTIPHON_ENGINES='[{"url": "http://a:1", "concurrent": 4}]')
    assert one.engines[0].concurrent == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[turn]\nsecondz = 1",
            "antiphon.toml: unknown setting turn.secondz; did you mean turn.seconds?",
        ),
        ("[sevrer]\nport = 1", "unknown setting sevrer; did you mean server?"),
        (
            "[turn]\nseconds = -1",
            "antiphon.toml: turn.seconds: expected a number greater than 0, got -1",
        ),
        ("[turn]\nseconds = nan", "turn.seconds: expected a number greater than 0, got nan"),
        ("[turn]\nseconds = inf", "turn.seconds: expected a number greater than 0, got inf"),
        ("[turn]\nseconds = true", "turn.seconds: expected a number greater than 0, got True"),
        ("[server]\nport = '80'", "server.port: expected a whole number from 0 to 65535, got '80'"),
        ("mode = 'fast'", "mode: expected one of auto, harmony, standard, got 'fast'"),
        ("turn = 3", "turn: expected a table, got 3"),
        ("[cors]\norigins = 'x'", "cors.origins: expected a list of text, got 'x'"),
        ("engines = 'x'", r"engines: expected a list of tables ([[engines]]), got 'x'"),
        ("[[engines]]\nweight = 1", "engines[0]: url is missing"),
        (
            "[[engines]]\nurl = 'x'\nwheight = 1",
            "engines[0]: unknown setting wheight; did you mean weight?",
        ),
        (
            "[models.a]\neffort = 'hihg'",
            "models.a.effort: expected one of none, minimal, low, medium,",
        ),
        ("models = 1", "models: expected tables ([models.NAME]), got 1"),
        ("models.a = 1", "models.a: expected a table, got 1"),
        ("a = ", "antiphon.toml: not TOML: "),
    ],
)
def test_a_mistake_in_the_file_is_named(write: Any, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        read(write, text)
    assert message in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "ANTIPHON_SERVER_PORT",
            "x",
            "ANTIPHON_SERVER_PORT (server.port): expected a whole number",
        ),
        (
            "ANTIPHON_TURN_ADOPT_CALLS",
            "maybe",
            "(turn.adopt_calls): expected true or false, got 'maybe'",
        ),
        (
            "ANTIPHON_SERVRE_PORT",
            "1",
            "unknown variable ANTIPHON_SERVRE_PORT; did you mean ANTIPHON_SERVER_PORT?",
        ),
        ("ANTIPHON_MODELS", "{", "ANTIPHON_MODELS: not JSON"),
        ("ANTIPHON_ENGINES", '[{"weight": 1}]', "ANTIPHON_ENGINES[0]: url is missing"),
        ("ANTIPHON_TURN_SECONDS", "inf", "expected a number greater than 0, got 'inf'"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    write: Any, name: str, value: str, message: str
) -> None:
    with pytest.raises(SettingsError) as wrong:
        load(write(""), {name: value})
    if name == "ANTIPHON_TURN_SECONDS":
        message = message.replace("'inf'", "inf")
    assert message in str(wrong.value)


def test_a_mistake_on_the_command_line_is_named(write: Any) -> None:
    with pytest.raises(SettingsError, match=r"unknown option --prot; did you mean --port\?"):
        load(write(""), {}, {"prot": "1"})
    with pytest.raises(
        SettingsError, match=r"unknown setting turn\.secnds; did you mean turn\.seconds\?"
    ):
        load(write(""), {}, {"turn.secnds": "1"})
    with pytest.raises(SettingsError, match=r"^--mode: expected one of auto, harmony, standard"):
        load(write(""), {}, {"mode": "x"})


def test_a_wrong_secret_is_not_repeated(write: Any) -> None:
    with pytest.raises(SettingsError) as wrong:
        read(write, "[[engines]]\nurl = 'x'\napi_key = 4242")
    assert "4242" not in str(wrong.value)
    assert "engines[0].api_key: expected text" in str(wrong.value)


def test_an_empty_variable_counts_as_not_set(write: Any) -> None:
    assert read(write, ANTIPHON_SERVER_PORT="", ANTIPHON_MODE="") == Settings()


def test_variables_of_ours_that_are_no_settings_and_foreign_ones_are_let_be(write: Any) -> None:
    # Kubernetes puts these into every container beside a service named antiphon.
    read(
        write,
        ANTIPHON_CACHE="/x",
        ANTIPHON_TRACEBACK="1",
        ANTIPHON_PORT="tcp://10.0.0.1:8000",
        ANTIPHON_SERVICE_HOST="10.0.0.1",
        PATH="/bin",
    )


def test_the_file_is_looked_for_here_and_in_the_configuration_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, config = tmp_path / "here", tmp_path / "config"
    here.mkdir()
    (config / "antiphon").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr("sys.platform", "linux")
    environ = {"XDG_CONFIG_HOME": str(config), "HOME": str(tmp_path)}
    assert settings_file(None, environ) is None
    users = config / "antiphon" / "antiphon.toml"
    users.write_text("mode = 'standard'")
    assert load(None, environ).mode == "standard"
    (here / "antiphon.toml").write_text("mode = 'harmony'")
    assert load(None, environ).mode == "harmony"
    assert load(None, {**environ, "ANTIPHON_CONFIG": str(users)}).mode == "standard"
    assert load(users, {**environ, "ANTIPHON_CONFIG": "nowhere"}).mode == "standard"


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml", {})
    with pytest.raises(SettingsError, match=r"nowhere\.toml: No such file"):
        load(None, {"ANTIPHON_CONFIG": str(tmp_path / "nowhere.toml")})


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(SettingsError, match="not UTF-8 at byte 5"):
        load(path, {})
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(SettingsError, match="larger than"):
        load(path, {})


def test_describe_shows_what_is_not_default_and_no_secret(write: Any) -> None:
    settings = read(write, "mode = 'harmony'\n[[engines]]\nurl = 'http://a'\napi_key = 'hush'")
    shown = dict(describe(settings))
    assert shown["mode"] == '"harmony"'
    assert "http://a" in shown["engines"]
    assert "hush" not in shown["engines"]
    assert set(shown) == {"mode", "engines"}
    assert describe(Settings()) == []


def test_a_model_has_its_own_effort_sampling_and_output() -> None:
    server = Settings()
    model = ModelSettings(effort="high", temperature=0.5, output_tokens=100, mode="standard")
    own = for_model(server, model)
    assert (own.prompt.effort, own.prompt.temperature, own.prompt.top_p) == ("high", 0.5, 1.0)
    assert (own.turn.output_tokens, own.mode) == (100, "standard")
    assert for_model(server, ModelSettings()) is server
    capped = msgspec.structs.replace(
        server, turn=msgspec.structs.replace(server.turn, output_tokens=10)
    )
    assert for_model(capped, model).turn.output_tokens == 10


def test_what_is_chosen_wins_over_a_models_defaults() -> None:
    defaults = ModelSettings(effort="low", temperature=0.5)
    both = merged(defaults, ModelSettings(effort="high"))
    assert (both.effort, both.temperature) == ("high", 0.5)


def test_every_setting_says_what_it_expects() -> None:
    for option in (*options(), *engine_options(), *model_options()):
        assert option.expected


def test_a_line_of_the_model_is_not_lost_in_its_documentation() -> None:
    """Documentation is read off the source: every string below a field is some setting's."""
    folder = Path(__file__).parents[2] / "src/antiphon/settings"
    sources = [(folder / name).read_text("utf-8") for name in ("model.py", "tools.py")]
    strings = {
        " ".join(below.value.value.split())
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        for field, below in zip(node.body, node.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
    assert strings == {o.doc for o in (*options(), *engine_options(), *model_options()) if o.doc}
