"""The command line: one line per error, the right exit code, and models found where they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batching.errors import SettingError, StartError
from ops.readme import README
from service import model_files, runtime_dir, store
from service.settings_load import load_settings
from service.settings_table import markdown


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RERANKER_")}
    command = [sys.executable, "-W", "error", "-c", "from service.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**clean, **environment}, cwd=README.parent)


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (["serve", "--port", "x"], {}, 2, "--port='x'"),
        (["serve"], {"RERANKER_DTYPE": "int3"}, 2, "RERANKER_DTYPE='int3'"),
        (["serve", "--model", "./no-such-directory"], {}, 2, "no such directory"),
        (["serve", "--model", "starter", "--model-path", "nope"], {}, 2, "RERANKER_MODEL_PATH=nope: there is no such directory"),
        (["serve", "--model", "LICENSE"], {}, 2, "RERANKER_MODEL_NAME=LICENSE: that is a file"),
        (["serve", "--model", "org/none", "--recipe", "bogus"], {}, 2, "RERANKER_RECIPE=bogus"),
        (["serve", "--model", "starter", "--device", "cpu", "--dtype", "float8"], {}, 2, "RERANKER_DTYPE=float8"),
        (["serve", "--model", "starter", "--port", "0", "--runtime-dir", "LICENSE"], {}, 2, "RERANKER_RUNTIME_DIR='LICENSE' is a file"),
        (["serve", "--model", "org/none", "--use-offline-mode"], {}, 1, "RERANKER_USE_OFFLINE_MODE"),
        (["check", "--model", "org/none"], {"HF_HUB_OFFLINE": "1"}, 1, "rerankd download org/none DIR"),
        (["serve", "--device", "cuda:99", "--model", "starter"], {}, 2, "RERANKER_DEVICE=cuda:99"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], environment: dict[str, str], code: int, words: str) -> None:
    """No traceback; the line names the setting or the remedy; 2 for a wrong setting, 1 for what failed."""
    done = _run(*arguments, **environment)
    assert done.returncode == code, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rerankd: ")]
    assert words in line
    assert "Traceback" not in done.stderr


def test_a_usage_error_names_the_option() -> None:
    """An unknown option is refused with a hint, exit code 2."""
    done = _run("serve", "--prot", "1")
    assert done.returncode == 2
    assert "--prot" in done.stderr


def test_a_misspelt_variable_is_pointed_out() -> None:
    """A variable that is no setting never passes in silence."""
    done = _run("settings", RERANKER_PROT="1")
    assert done.returncode == 0
    assert "did you mean RERANKER_PORT?" in done.stderr


def test_a_setting_without_effect_is_pointed_out() -> None:
    """Before anything is served, by every command that reads settings."""
    done = _run("settings", "--log-text")
    assert done.returncode == 0
    assert done.stderr == "rerankd: warning: RERANKER_LOG_TEXT has no effect: it needs RERANKER_LOG_LEVEL=debug\n"


def test_settings_shows_values_without_keys() -> None:
    """Every setting with its value; a key's text never."""
    done = _run("settings", RERANKER_API_KEY="opensesame", RERANKER_PORT="81")
    assert "opensesame" not in done.stdout
    assert "81" in done.stdout
    assert _run("settings", "--markdown").stdout == markdown()


def test_models_are_found_where_they_are(tmp_path: Path) -> None:
    """MODEL_PATH first, then starter, then a directory, then a plain copy in the cache directory."""
    kept = tmp_path / "cache" / "some-model"
    kept.mkdir(parents=True)
    (kept / "config.json").write_text("{}")
    settings = load_settings({"RERANKER_MODEL_CACHE_DIR": str(tmp_path / "cache"), "RERANKER_USE_OFFLINE_MODE": "1"})
    assert model_files.locate("starter", str(tmp_path), settings) == tmp_path
    assert (model_files.locate("starter", "", settings) / "model.safetensors").is_file()
    assert model_files.locate(str(kept), "", settings) == kept
    assert model_files.locate("org/some-model", "", settings) == kept
    with pytest.raises(SettingError, match="no such directory"):
        model_files.locate("x", str(tmp_path / "none"), settings)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A directory behind one that we may not look into, not even as root."""
    inside = tmp_path / "locked" / "inside"
    inside.mkdir(parents=True)
    inside.parent.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield inside
    if root:
        os.seteuid(0)
    inside.parent.chmod(0o700)


def test_a_place_that_we_may_not_look_into_is_told(locked: Path) -> None:
    """A service's own user often may not see what the operator sees: one line that names the setting and the reason."""
    settings = load_settings({"RERANKER_MODEL_CACHE_DIR": str(locked)})
    for name, path, told in (
        ("x", str(locked), "RERANKER_MODEL_PATH="),
        (str(locked), "", "RERANKER_MODEL_NAME="),
        ("org/x", "", "RERANKER_MODEL_CACHE_DIR"),
    ):
        with pytest.raises(SettingError, match=rf"(?s)(?=.*{told}).*{locked}.* can't be looked at \(Permission denied\)"):
            model_files.locate(name, path, settings)
    with pytest.raises(StartError, match=rf"^{locked} can't be looked at \(Permission denied\); set RERANKER_MODEL_CACHE_DIR"):
        store.kept(str(locked))
    with pytest.raises(SettingError, match=rf"^the runtime directory {locked} can't be made \(Permission denied\)"):
        runtime_dir.passing(runtime_dir.base({}, str(locked)))


def test_a_place_that_the_starter_can_not_be_copied_to_is_told(tmp_path: Path) -> None:
    """Below a file, and where a file of the model can't be: one line with the directory and the reason."""
    (tmp_path / "file").touch()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").symlink_to(tmp_path / "gone" / "config.json")
    for place, reason in ((tmp_path / "file" / "x", "Not a directory"), (tmp_path / "there", "No such file")):
        with pytest.raises(StartError, match=rf"^the starter model can't be copied to {place} \(.*{reason}.*\); give another directory$"):
            model_files.copy_starter(place)


def test_score_ranks_in_the_terminal(short_path: Path) -> None:
    """Real weights, real text, one worker process, no server; nothing is left behind."""
    documents = ["Tides follow the moon.", "Sea otters sleep wrapped in kelp.", "A keyboard has a hundred keys."]
    done = _run("score", "how do otters sleep", *documents, "--model", "starter", "--json", "--device", "cpu", "--token-budget", "1024",
                "--runtime-dir", str(short_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranked = [json.loads(line) for line in done.stdout.splitlines()]
    assert ranked[0]["document"] == documents[1]
    assert ranked[0]["score"] > ranked[1]["score"] + 0.2
    assert not list(short_path.iterdir())
