"""models.toml, the heads of model files, and the caches of other programs."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.registry.caches import locate
from antiphon.engines.registry.entries import Registry
from antiphon.engines.registry.header import MAX_BYTES, model_parts, read_header
from antiphon.errors import EngineError, SettingsError
from antiphon.settings.model import Settings


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def gguf(*entries: tuple[str, int, bytes], version: int = 3, count: int | None = None) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, 0, len(entries) if count is None else count)
    return head + b"".join(string(k) + struct.pack("<I", t) + v for k, t, v in entries)


def model(architecture: str = "gpt-oss", context: int = 131_072) -> bytes:
    return gguf(
        ("general.architecture", 8, string(architecture)),
        ("general.name", 8, string("A model")),
        ("general.tags", 9, struct.pack("<IQ", 8, 2) + string("a") + string("b")),
        ("general.sizes", 9, struct.pack("<IQ", 4, 2) + struct.pack("<II", 1, 2)),
        ("general.ratio", 6, struct.pack("<f", 0.5)),
        (f"{architecture}.context_length", 4, struct.pack("<I", context)),
        ("tokenizer.ggml.tokens", 9, b"whatever follows is not looked at"),
    )


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def put(name: str, data: bytes | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model() if data is None else data)
        return path

    return put


# Heads


def test_a_head_tells_architecture_name_and_context(put) -> None:
    header = read_header(put("a.gguf"))
    assert (header.architecture, header.name, header.context_length) == (
        "gpt-oss", "A model", 131_072,
    )  # fmt: skip
    assert header.gpt_oss
    assert not read_header(put("b.gguf", model("qwen3"))).gpt_oss


def test_the_tiny_models_own_head_can_be_read(tiny_model_path: Path) -> None:
    header = read_header(tiny_model_path)
    assert header.gpt_oss
    assert header.context_length == 131_072


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"PK\x03\x04 some zip file",
        gguf(version=1),
        gguf(count=2**63),
        gguf(("general.architecture", 8, struct.pack("<Q", 2**62))),
        gguf(("general.architecture", 99, b"")),
        gguf(("a", 9, struct.pack("<IQ", 9, 2**60))),
        gguf(("a", 9, struct.pack("<IQ", 8, 2**60))),
        gguf(("a", 9, struct.pack("<IQ", 4, 2**60))),
        gguf(("general.architecture", 4, struct.pack("<I", 1))),
        gguf(("general.name", 8, string("no architecture"))),
    ],
)
def test_what_is_no_whole_model_is_an_error_that_names_it(put, data: bytes) -> None:
    with pytest.raises(EngineError, match=r"bad\.gguf"):
        read_header(put("bad.gguf", data))


@pytest.mark.parametrize("cut", range(4, 120, 7))
def test_a_head_cut_anywhere_is_an_error_or_still_tells_the_architecture(put, cut: int) -> None:
    path = put("cut.gguf", model()[:cut])
    try:
        header = read_header(path)
    except EngineError:
        return
    assert header.architecture == "gpt-oss"


def test_only_the_start_of_a_file_is_read(put) -> None:
    long = ("general.list", 9, struct.pack("<IQ", 0, MAX_BYTES) + bytes(MAX_BYTES))
    late = ("general.architecture", 8, string("gpt-oss"))
    with pytest.raises(EngineError, match="does not say which architecture"):
        read_header(put("late.gguf", gguf(long, late)))
    assert read_header(put("early.gguf", gguf(late, long))).gpt_oss


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"none\.gguf: No such file"):
        read_header(tmp_path / "none.gguf")


def test_a_model_of_several_parts_starts_with_the_first(put) -> None:
    parts = [put(f"big-0000{n}-of-00003.gguf") for n in (1, 2, 3)]
    assert model_parts(parts[2]) == tuple(parts)
    assert locate(str(parts[1]), {}) == parts[0]
    parts[1].unlink()
    with pytest.raises(EngineError, match=r"one of 3 parts; missing .*big-00002-of-00003\.gguf"):
        locate(str(parts[0]), {})


# Caches


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


HUB = ".cache/huggingface/hub/models--org--some-GGUF"


def test_a_hugging_face_download_is_found_by_repository_and_quant(put, environ) -> None:
    q4 = put(f"{HUB}/snapshots/abc/some-Q4_K_M.gguf")
    q8 = put(f"{HUB}/snapshots/abc/some-Q8_0.gguf")
    put(f"{HUB}/snapshots/abc/mmproj-some-Q8_0.gguf")
    assert locate("org/some-GGUF:q8_0", environ) == q8
    assert locate("org/some-GGUF", environ) == q4
    with pytest.raises(EngineError, match="org/some-GGUF:Q2_K is not on this computer"):
        locate("org/some-GGUF:Q2_K", environ)


def test_the_revision_that_main_points_to_is_preferred(put, environ) -> None:
    put(f"{HUB}/snapshots/old/some.gguf")
    current = put(f"{HUB}/snapshots/new/some.gguf")
    put(f"{HUB}/snapshots/older/some.gguf")
    put(f"{HUB}/refs/main", b"new\n")
    assert locate("org/some-GGUF", environ) == current


def test_a_quant_is_not_part_of_another(put, environ) -> None:
    put(f"{HUB}/snapshots/abc/some-IQ4_XS.gguf")
    with pytest.raises(EngineError, match="is not on this computer"):
        locate("org/some-GGUF:Q4_XS", environ)


def test_the_first_part_is_found_in_a_folder_of_the_quant(put, environ) -> None:
    parts = [put(f"{HUB}/snapshots/a/F16/some-F16-0000{n}-of-00002.gguf") for n in (1, 2)]
    assert locate("org/some-GGUF:F16", environ) == parts[0]


def test_hugging_faces_own_variables_are_honoured(put, environ, tmp_path: Path) -> None:
    path = put("elsewhere/hub/models--org--some-GGUF/snapshots/abc/some-Q8_0.gguf")
    assert locate("org/some-GGUF", {**environ, "HF_HOME": str(tmp_path / "elsewhere")}) == path
    hub = str(tmp_path / "elsewhere" / "hub")
    assert locate("org/some-GGUF", {**environ, "HF_HUB_CACHE": hub}) == path


@pytest.mark.parametrize("base", [".lmstudio/models", ".cache/lm-studio/models"])
def test_an_lm_studio_download_is_found(put, environ, base: str) -> None:
    path = put(f"{base}/org/some-GGUF/some-MXFP4.gguf")
    assert locate("org/some-GGUF:mxfp4", environ) == path


def test_a_llama_cpp_download_is_found(put, environ, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    path = put(".cache/llama.cpp/org_some-GGUF_some-mxfp4.gguf")
    put(".cache/llama.cpp/org_other-GGUF_other-mxfp4.gguf")
    assert locate("org/some-GGUF:mxfp4", environ) == path
    moved = put("moved/org_some-GGUF_some-q8_0.gguf")
    assert locate("org/some-GGUF", {"LLAMA_CACHE": str(tmp_path / "moved")}) == moved


def test_of_several_files_without_a_usual_one_the_name_has_to_say_which(put, environ) -> None:
    put(f"{HUB}/snapshots/abc/some-Q2_K.gguf")
    put(f"{HUB}/snapshots/abc/some-Q6_K.gguf")
    with pytest.raises(EngineError, match=r"several files; .*:QUANT: some-Q2_K\.gguf, some-Q6_K"):
        locate("org/some-GGUF", environ)


def test_an_absent_model_says_where_was_looked_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as absent:
        locate("org/some-GGUF:mxfp4", {"HOME": str(tmp_path)})
    message = str(absent.value)
    for place in ("huggingface/hub/models--org--some-GGUF", ".lmstudio", "llama.cpp"):
        assert place in message
    assert 'hf download org/some-GGUF --include "*mxfp4*.gguf"' in message


@pytest.mark.parametrize("name", ["nowhere.gguf", "a b", "../x", "x/../y", "/no/where"])
def test_what_is_neither_file_nor_repository_is_said(name: str, environ) -> None:
    with pytest.raises(EngineError, match=r"no model file at .*OWNER/REPOSITORY|not on this comp"):
        locate(name, environ)


# models.toml


def registry(tmp_path: Path, text: str) -> Registry:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    return Registry.read(Settings(models_file=str(path)), {})


def test_gpt_oss_is_known_without_a_file_of_ones_own(tmp_path: Path) -> None:
    known = Registry.read(Settings(), {"HOME": str(tmp_path)})
    for name in ("gpt-oss-20b", "gpt-oss-120b"):
        entry = known.entries[name]
        assert entry.checkpoint == f"ggml-org/{name}-GGUF:mxfp4"
        assert "gpt-oss" in entry.labels
    assert known.own == frozenset()


def test_an_entry_is_found_by_name_and_alias(tmp_path: Path) -> None:
    known = registry(tmp_path, '[mine]\ncheckpoint = "a.gguf"\naliases = ["m"]\nttl = 60\n')
    found = known.find("m")
    assert found is not None
    assert (found[0], found[1].checkpoint, found[1].ttl) == ("mine", "a.gguf", 60.0)
    assert known.find("nothing") is None
    assert known.find("gpt-oss:20b") is not None
    assert known.own == {"mine"}


def test_ones_own_entry_replaces_the_one_that_is_shipped(tmp_path: Path) -> None:
    known = registry(tmp_path, '[gpt-oss-20b]\ncheckpoint = "/models/a.gguf"\n')
    assert known.entries["gpt-oss-20b"].checkpoint == "/models/a.gguf"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\ncheckpiont = 'x'", "models.toml: a: unknown setting checkpiont; did you mean check"),
        ("[a]\nlabels = ['x']", "models.toml: a: Object missing required field `checkpoint`"),
        ("[a]\ncheckpoint = 'x'\nttl = -1", "a: Expected `float` >= 0.0, at `ttl`"),
        ("[a]\ncheckpoint = 'x'\neffort = 'max'", "a: Invalid enum value 'max', at `effort`"),
        ("a = 1", "models.toml: a: expected a table ([a]), got 1"),
        ("[a", "models.toml: not TOML"),
    ],
)
def test_a_mistake_in_the_registry_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        registry(tmp_path, text)
    assert message in str(wrong.value)


def test_a_registry_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        Registry.read(Settings(models_file=str(tmp_path / "none.toml")), {})
