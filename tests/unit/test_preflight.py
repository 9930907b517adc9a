"""What a start looks at before it starts anything: files that settings name, and memory for the model."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from batching import memory
from batching.errors import SettingError, StartError
from batching.families.card import ModelCard
from service import model_files, preflight
from service.settings import Settings
from service.settings_parse import hash_key


@pytest.fixture(scope="module")
def card() -> ModelCard:
    """The starter's."""
    return model_files.cards(Settings(model_name=("starter",)))[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A certificate, its key, and the key with a passphrase."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    where = tmp_path_factory.mktemp("tls")
    certificate, key, locked = (str(where / name) for name in ("cert.pem", "key.pem", "locked.pem"))
    new = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x", "-keyout", key, "-out", certificate]
    subprocess.run(new, check=True, capture_output=True)
    subprocess.run([openssl, "rsa", "-aes128", "-passout", "pass:abcd", "-in", key, "-out", locked], check=True, capture_output=True)
    return certificate, key, locked


def refusal(settings: Settings) -> str:
    with pytest.raises(SettingError) as raised:
        preflight.check(settings)
    return str(raised.value)


def test_a_good_pair_passes(pair: tuple[str, str, str]) -> None:
    """A certificate with its own key is no reason to refuse."""
    preflight.check(Settings(tls_cert=pair[0], tls_key=pair[1]))


def test_tls_files_are_read_before_anything_starts(pair: tuple[str, str, str], tmp_path: Path) -> None:
    """A missing file is named with its setting; a key that is no key, another's or locked is told, and nobody is asked for a passphrase."""
    certificate, key, locked = pair
    assert "RERANKER_TLS_CERT='/none'" in refusal(Settings(tls_cert="/none", tls_key=key))
    assert "RERANKER_TLS_KEY='/none'" in refusal(Settings(tls_cert=certificate, tls_key="/none"))
    junk = tmp_path / "junk"
    junk.write_text("no key")
    for wrong in (str(junk), certificate, locked):
        assert f"RERANKER_TLS_KEY={wrong!r}" in refusal(Settings(tls_cert=certificate, tls_key=wrong))


def test_the_key_file_is_read_before_anything_starts() -> None:
    """An HTTP process that can't read its keys would be started again and again."""
    assert "RERANKER_API_KEYS_FILE='/none'" in refusal(Settings(api_keys_file="/none"))


def test_a_key_file_without_keys_is_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Everybody would be refused; another key beside it lets somebody in."""
    (tmp_path / "keys").write_text("# none yet\n")
    preflight.check(Settings(api_keys_file=str(tmp_path / "keys"), api_key=(hash_key("one"),)))
    assert not caplog.messages
    preflight.check(Settings(api_keys_file=str(tmp_path / "keys")))
    assert caplog.messages == [f"RERANKER_API_KEYS_FILE={str(tmp_path / 'keys')!r} holds no key: every caller is refused (401)"]


def test_a_model_needs_what_it_is_computed_in(card: ModelCard) -> None:
    """float32 out of weights of two bytes takes twice the file; a file of float32 takes itself."""
    halves = ModelCard(**{**{name: getattr(card, name) for name in card.__struct_fields__}, "config": {"dtype": "bfloat16"}})
    assert preflight.needed_bytes(halves, "float32") - preflight.needed_bytes(halves, "bfloat16") == card.weights_bytes
    assert preflight.needed_bytes(card, "auto") == card.weights_bytes + preflight.WORKER_BYTES
    assert preflight.needed_bytes(card, "bfloat16") == card.weights_bytes // 2 + preflight.WORKER_BYTES


def test_too_little_memory_is_told_with_what_helps(card: ModelCard) -> None:
    """The model, what it needs, what there is, and a remedy; enough memory, or a GPU's model, is let through."""
    needed = preflight.needed_bytes(card, "auto")
    with pytest.raises(StartError, match=r"starter needs about 0\.34 GB .* 0\.30 GB of 2\.00 GB are free.*RERANKER_DTYPE"):
        preflight.check_memory(card, Settings(), "cpu", memory.Memory(300_000_000, 2_000_000_000))
    with pytest.raises(StartError, match=r"0\.10 GB of 2\.00 GB are free: free some"):
        preflight.check_memory(card, Settings(), "cpu", memory.Memory(100_000_000, 2_000_000_000))
    preflight.check_memory(card, Settings(), "cpu", memory.Memory(needed, needed))
    preflight.check_memory(card, Settings(), "cuda:0", memory.Memory(0, 1))
    preflight.check_memory(card, Settings(), "cpu")
