"""The settings: what wins, what is refused, and how a refusal reads."""

from __future__ import annotations

import errno
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import SettingError
from service.settings import Settings
from service.settings_load import from_json, load_settings, read_dotenv, to_json, unknown_variables, without_effect
from service.settings_parse import Declared, declared, hash_key
from service.settings_table import markdown, shown_default

NUMBERS = [setting for setting in declared().values() if setting.shape in {"int", "float"}]


def test_defaults_are_inside_their_own_ranges() -> None:
    """Every default, written as a user would write it, reads back as itself."""
    for setting in declared().values():
        text = shown_default(setting)
        assert getattr(load_settings({setting.variable: text}), setting.name) == setting.default, setting.name


def test_every_setting_is_explained() -> None:
    """No setting lacks a help text, and no two share an alias."""
    aliases = [alias for setting in declared().values() for alias in setting.aliases]
    assert len(set(aliases)) == len(aliases)
    assert all(setting.about.help.endswith(".") for setting in declared().values())
    assert {"HOST", "PORT", "MODEL", "MODEL_NAME", "DEVICE", "MAX_LENGTH", "USE_FP16", "CORS_ORIGINS"} == set(aliases)


@given(st.sampled_from(NUMBERS), st.integers() | st.floats())
def test_a_number_is_taken_inside_its_range_and_refused_outside(setting: Declared, number: float) -> None:
    """A number outside a setting's range never gets in; one inside always does."""
    about = setting.about
    inside = (
        (setting.shape == "float" or isinstance(number, int))
        and (about.ge is None or number >= about.ge)
        and (about.gt is None or number > about.gt)
        and (about.le is None or number <= about.le)
    )
    if about.kind == "bytes" and isinstance(number, float):
        inside = False
    if inside:
        assert getattr(load_settings({setting.variable: str(number)}), setting.name) == number
        return
    with pytest.raises(SettingError) as refused:
        load_settings({setting.variable: str(number)})
    assert str(refused.value).startswith(f"{setting.variable}='{number}' is not allowed: it takes ")


@given(st.dictionaries(st.sampled_from([s.variable for s in declared().values()]), st.text(string.printable, max_size=12)))
def test_any_text_gives_settings_or_a_setting_error(environ: dict[str, str]) -> None:
    """Whatever stands in the environment, the outcome is settings that survive a trip through JSON, or one plain error."""
    try:
        settings = load_settings(environ)
    except SettingError as refused:
        assert "\n" not in str(refused).replace("\\n", "")
        return
    assert from_json(to_json(settings)) == settings


def test_sources_win_in_order() -> None:
    """Option, variable, variable in .env, alias, alias in .env, default: the first that is set and not empty counts."""
    environ = {"RERANKER_PORT": "2", "PORT": "4"}
    dotenv: dict[str, str | None] = {"RERANKER_PORT": "3", "PORT": "5"}
    assert load_settings(environ, {"port": "1"}, dotenv).port == 1
    assert load_settings(environ, {"port": None}, dotenv).port == 2
    assert load_settings({"PORT": "4"}, {}, dotenv).port == 3
    assert load_settings({"PORT": "4"}, {}, {"PORT": "5"}).port == 4
    assert load_settings({"PORT": " "}, {"port": ""}, {"PORT": "5"}).port == 5
    assert load_settings({}).port == Settings().port


def test_the_error_names_the_source_that_was_wrong() -> None:
    """A wrong value is reported under the name that its user wrote."""
    with pytest.raises(SettingError, match=r"^--port='x'"):
        load_settings({}, {"port": "x"})
    with pytest.raises(SettingError, match=r"^DEVICE='gpu' .*cuda:N"):
        load_settings({"DEVICE": "gpu"})
    with pytest.raises(SettingError, match=r"^RERANKER_PORT \(\.env\)='x'"):
        load_settings({}, {}, {"RERANKER_PORT": "x"})


def test_keys_are_hashed_and_never_shown() -> None:
    """No plain key is kept, sent to children or printed."""
    settings = load_settings({"RERANKER_API_KEY": f"opensesame, {hash_key('other')}"})
    assert settings.api_key == (hash_key("opensesame"), hash_key("other"))
    assert "opensesame" not in repr(settings) + to_json(settings).decode()


def test_none_is_an_empty_list() -> None:
    """Where the default is none, the word takes back what a weaker source says; a list that always holds something doesn't know it."""
    for setting in declared().values():
        if setting.shape == "tuple" and not setting.default:
            assert getattr(load_settings({setting.variable: " None "}, {}, {setting.variable: "x"}), setting.name) == ()
    assert load_settings({"RERANKER_MODEL_NAME": "none"}).model_name == ("none",)
    with pytest.raises(SettingError, match="RERANKER_DEVICE='none' is not allowed"):
        load_settings({"RERANKER_DEVICE": "none"})


def test_keys_that_are_only_commas_are_refused() -> None:
    """Somebody meant to close the service: it is not opened."""
    for text in (",", " , ,"):
        with pytest.raises(SettingError, match="RERANKER_API_KEY=… is not allowed"):
            load_settings({"RERANKER_API_KEY": text})


def test_a_hash_is_taken_in_any_case_and_whole() -> None:
    """Hashing a hash would refuse the key and let in who has read the hash; one that is not whole is refused without being repeated."""
    hashed = hash_key("opensesame")
    assert load_settings({"RERANKER_API_KEY": hashed.replace(hashed[7:], hashed[7:].upper())}).api_key == (hashed,)
    assert hash_key(hashed.upper()) == hashed
    for wrong in ("sha256:zz", hashed[:-1], hashed + "0", "sha256:", "SHA256:" + "g" * 64, "sha256: " + hashed[7:]):
        with pytest.raises(SettingError, match=r"^RERANKER_API_KEY=… is not allowed: it takes .* 64 hex digits, or none$"):
            load_settings({"RERANKER_API_KEY": f"plain,{wrong}"})


def test_sizes_take_suffixes() -> None:
    """K, M, G with or without B and iB are powers of 1,024."""
    for text, size in (("65536", 65536), ("64k", 65536), ("10M", 10 << 20), ("1 GiB", 1 << 30), ("2mb", 2 << 20)):
        assert load_settings({"RERANKER_MAX_BODY_BYTES": text}).max_body_bytes == size


def test_settings_that_contradict_one_another_are_refused() -> None:
    """A contradiction is an error that names the settings, never a silent choice."""
    for environ, words in (
        ({"RERANKER_TLS_CERT": "a.pem"}, "RERANKER_TLS_KEY is not set"),
        (
            {"RERANKER_IMAGE_NETWORKS": "10.1.0.0/33"},
            r"is not allowed: it takes .*networks \(10.1.0.0/16\), or none; '10.1.0.0/33' does not",
        ),
        ({"RERANKER_METRICS_AUTH": "1"}, "RERANKER_METRICS_AUTH=true would protect nothing: it needs RERANKER_API_KEY or"),
        ({"RERANKER_MODEL_PATH": "a,b"}, "2 directories for 1 models"),
        ({"RERANKER_MODEL_NAME": "a,a"}, "names a model twice"),
        ({"RERANKER_DEVICE": "auto,cpu"}, "auto beside others"),
        ({"RERANKER_DEVICE": ","}, "comma-separated list of auto"),
    ):
        with pytest.raises(SettingError, match=words):
            load_settings(environ)


@pytest.mark.parametrize(
    ("environ", "needs"),
    [
        ({"RERANKER_IMAGE_NETWORKS": "10.0.0.0/8"}, {"RERANKER_IMAGE_HOSTS": "a.example"}),
        ({"RERANKER_SCORE_CACHE_PER_KEY": "1"}, {"RERANKER_SCORE_CACHE_BYTES": "1M"}),
        ({"RERANKER_LOG_TEXT": "1"}, {"RERANKER_LOG_LEVEL": "debug"}),
        ({"RERANKER_TLS_MIN": "1.2"}, {"RERANKER_TLS_CERT": "a", "RERANKER_TLS_KEY": "b"}),
    ],
)
def test_a_setting_that_does_nothing_alone_is_pointed_out(environ: dict[str, str], needs: dict[str, str]) -> None:
    """With the setting that it needs; with that one there is nothing to say."""
    (warning,) = without_effect(load_settings(environ))
    assert warning.startswith(f"{next(iter(environ))} has no effect: it needs {next(iter(needs))}")
    assert without_effect(load_settings({**environ, **needs})) == without_effect(Settings()) == []


def test_unknown_variables_are_pointed_out_with_the_nearest_name() -> None:
    """A misspelt variable is never silently ignored; what a cluster puts there is."""
    assert unknown_variables({"RERANKER_PROT": "1", "PROT": "1"}) == [
        "RERANKER_PROT is no setting and is ignored; did you mean RERANKER_PORT?"
    ]
    assert unknown_variables({}, {"RERANKER_COLOUR": "1"}) == ["RERANKER_COLOUR is no setting and is ignored"]
    links = {"RERANKER_SERVICE_HOST": "10.0.0.1", "RERANKER_PORT_8000_TCP_ADDR": "10.0.0.1", "RERANKER_PORT": "tcp://10.0.0.1:8000"}
    assert unknown_variables(links) == []
    assert load_settings(links).port == Settings().port


def test_dotenv_is_read_without_interpolation(tmp_path: Path) -> None:
    """A `.env` file gives its pairs as they stand; a missing one gives none."""
    (tmp_path / ".env").write_text("RERANKER_PORT=81\nRERANKER_API_KEY='a$b'\n")
    assert read_dotenv(tmp_path / ".env") == {"RERANKER_PORT": "81", "RERANKER_API_KEY": "a$b"}
    assert read_dotenv(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"RERANKER_PORT=81\n\n# more\n\nRERANKER HOST 0.0.0.0\n", ", line 5: it takes NAME=value"),
        (b"RERANKER_API_KEY='a\nRERANKER_PORT=81\n", ", line 1: it takes NAME=value"),
        (b"RERANKER_API_KEY=\xff\n", " cannot be read: not UTF-8 text"),
    ],
)
def test_a_dotenv_that_can_not_be_read_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    """Going on without a line of it would serve with a default: the file is named, with the line, whose text may be a key."""
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SettingError, match=f"^{tmp_path}/.env{words}"):
        read_dotenv(tmp_path / ".env")


def test_a_dotenv_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there and may not be read is not passed over."""

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / ".env").touch()
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingError, match=r"\.env cannot be read: Permission denied"):
        read_dotenv(tmp_path / ".env")


def test_fp16_is_for_gpus_and_weaker_than_dtype() -> None:
    """USE_FP16 asks for float16 on a GPU only, and a set DTYPE wins."""
    assert load_settings({"USE_FP16": "1"}).scoring_dtype("cuda:0") == "float16"
    assert load_settings({"USE_FP16": "1"}).scoring_dtype("cpu") == "auto"
    assert load_settings({"USE_FP16": "1", "RERANKER_DTYPE": "bfloat16"}).scoring_dtype("cuda:0") == "bfloat16"


def test_the_table_names_every_setting() -> None:
    """The README's table has one row per setting."""
    rows = markdown().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [setting.variable for setting in declared().values()]
