"""Downloads, against a small hub on loopback: the right files, resumed, verified, and refused in one line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from service import manifest
from service.model_files import starter

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL = ("config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "vocab.txt",
         "special_tokens_map.json", "config_sentence_transformers.json")  # fmt: skip
WEIGHTS = "model.safetensors"


class Hub:
    """The starter model as `org/tiny`, its files served as a hub does, with faults on demand."""

    def __init__(self) -> None:
        self.files = {name: (starter() / name).read_bytes() for name in (*SMALL, WEIGHTS) if (starter() / name).exists()}
        self.files |= {
            "pytorch_model.bin": b"pickle",
            "onnx/model.onnx": b"x",
            "README.md": b"hello",
            "artifact.metadata": b"{}",
            "modeling_evil.py": b"raise SystemExit",
        }
        self.break_after: int | None = None
        self.dies = False
        """With `break_after`: nothing is to be had after that."""
        self.damage = False
        self.size_told = 0
        self.requests: list[tuple[str, str, str | None]] = []

    def status(self, name: str, begin: int) -> int:
        if self.dies and name == WEIGHTS and any(asked for _, path, asked in self.requests if path.endswith(WEIGHTS)):
            return 503
        return 206 if begin else 200

    def info(self) -> dict[str, Any]:
        return {"id": "org/tiny", "sha": COMMIT, "siblings": [self._sibling(name, data) for name, data in self.files.items()]}

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "rfilename": name,
            "size": self.size_told or len(data),
            "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
        }
        if name.endswith((".safetensors", ".bin")):
            entry["lfs"] = {"size": self.size_told or len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}
        return entry

    def tree(self) -> list[dict[str, Any]]:
        return [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in self.files.items()]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((self.command, path, self.headers.get("Range")))
            if path.startswith("/api/models/org/tiny"):
                self._send(json.dumps(hub.tree() if "/tree/" in path else hub.info()).encode(), {"Content-Type": "application/json"})
            elif path.startswith("/org/tiny/resolve/") and (name := path.split("/", 5)[5]) in hub.files:
                self._file(name, hub.files[name])
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _file(self, name: str, data: bytes) -> None:
            etag = hashlib.sha256(data).hexdigest()
            if hub.damage and name == WEIGHTS:
                data = data[:-4] + b"evil"
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            status = hub.status(name, begin)
            self._send(data[begin:] * (status != 503), headers, status=status, breaks=name == WEIGHTS)

        def _send(self, data: bytes, headers: dict[str, str], *, status: int = 200, breaks: bool = False) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if breaks and hub.break_after is not None:
                self.wfile.write(data[: hub.break_after])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            pass

    return Handler


@pytest.fixture
def hub() -> Iterator[tuple[Hub, str]]:
    found = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def _rerankd(url: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    command = [sys.executable, "-c", "from service.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_only_what_is_served_is_fetched_and_it_is_whole(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """Weights and tokenizer arrive byte for byte; code, pickles and other runtimes' files are never asked for."""
    found, url = hub
    done = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "tiny"))
    assert done.returncode == 0, done.stderr
    fetched = {
        str(path.relative_to(tmp_path / "tiny")) for path in (tmp_path / "tiny").rglob("*") if path.is_file() and path.name != manifest.FILE
    }
    assert fetched == {name for name in found.files if name.endswith((".json", ".txt", ".safetensors", ".metadata"))}
    assert (tmp_path / "tiny" / WEIGHTS).read_bytes() == found.files[WEIGHTS]
    asked = " ".join(path for _, path, _ in found.requests)
    assert not any(name in asked for name in ("pytorch_model.bin", "modeling_evil.py", "onnx/"))
    assert "rerankd serve --model org/tiny --model-path" in done.stdout


def test_a_broken_download_goes_on_where_it_stopped(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """A connection that breaks is taken up again by the same run; a run that was killed by the next one; no byte is fetched twice."""
    found, url = hub
    size = len(found.files[WEIGHTS])
    part = tmp_path / "tiny" / f"{WEIGHTS}.part"
    part.parent.mkdir()
    part.write_bytes(found.files[WEIGHTS][:70_000_001])
    found.break_after = 9_000_000
    done = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "tiny"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tiny" / WEIGHTS).read_bytes() == found.files[WEIGHTS]
    ranges = [asked for method, path, asked in found.requests if method == "GET" and path.endswith(WEIGHTS)]
    begins = [int((asked or "bytes=0-")[6:-1]) for asked in ranges]
    assert begins[0] == 70_000_001
    assert begins == sorted(set(begins))
    assert len(begins) >= (size - begins[0]) // 9_000_000
    found.requests.clear()
    assert _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "tiny")).returncode == 0
    assert not [path for method, path, _ in found.requests if method == "GET" and path.endswith(WEIGHTS)]


def test_a_download_is_complete_only_when_it_says_so(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """A model that came half is not served: config.json, by which it is recognised, comes last."""
    found, url = hub
    found.damage = True
    _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "tiny"))
    assert not (tmp_path / "tiny" / "config.json").exists()


def test_damaged_weights_are_refused_and_removed(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """A file that differs from the hub's hash never stays; the line says what to do."""
    found, url = hub
    found.damage = True
    done = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "tiny"))
    assert done.returncode == 1
    assert f"{WEIGHTS} came damaged" in done.stderr
    assert "run the same command again" in done.stderr
    assert not (tmp_path / "tiny" / WEIGHTS).exists()


def test_refusals_are_one_line(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """An unknown model, one without safetensors, and a hub that is not there: a line each, with a remedy."""
    found, url = hub
    unknown = _rerankd(url, tmp_path / "home", "download", "org/nobody", str(tmp_path / "x"))
    del found.files[WEIGHTS]
    pickled = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "x"))
    absent = _rerankd("http://127.0.0.1:9", tmp_path / "home", "download", "org/tiny", str(tmp_path / "x"))
    for done, words in ((unknown, "knows no model"), (pickled, "no safetensors"), (absent, "--model starter")):
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_model_is_found_in_the_hubs_cache_without_the_hub(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """What serve downloaded once is served offline."""
    _, url = hub
    fetch = (
        "from service import download; print(download.cached_or_fetched('org/tiny', {cache!r}, offline={offline}, tell=lambda *_: None))"
    )
    cache = str(tmp_path / "cache")
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    first, second = (
        subprocess.run([sys.executable, "-c", fetch.format(cache=cache, offline=offline)], capture_output=True, text=True, timeout=60, check=True,
                       env={**environment, "HF_ENDPOINT": where})
        for offline, where in ((False, url), (True, "http://127.0.0.1:9"))
    )  # fmt: skip
    assert first.stdout == second.stdout
    assert (Path(first.stdout.strip()) / WEIGHTS).exists()


def _pickled(found: Hub, *names: str) -> None:
    """Give the hub's model pickled weights instead of its own: real ones, divided among `names`."""
    tensors = load(found.files.pop(WEIGHTS))
    for place, name in enumerate(names):
        buffer = io.BytesIO()
        torch.save(dict(list(tensors.items())[place :: len(names)]), buffer)
        found.files[name] = buffer.getvalue()


@pytest.mark.parametrize(
    "names", [("pytorch_model.bin",), ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")], ids=len
)
def test_pickled_weights_are_converted_only_if_told(hub: tuple[Hub, str], tmp_path: Path, names: tuple[str, ...]) -> None:
    """Without --convert a line tells of it; with it every tensor arrives as it was, the pickle goes, and hashes hold what was made."""
    found, url = hub
    before = load(found.files[WEIGHTS])
    del found.files["pytorch_model.bin"]
    _pickled(found, *names)
    refused = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "tiny"))
    assert (refused.returncode, "rerankd download --convert org/tiny" in refused.stderr) == (1, True), refused.stderr
    done = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "tiny"), "--convert")
    assert done.returncode == 0, done.stderr
    made = [path for path in (tmp_path / "tiny").iterdir() if path.suffix in {".bin", ".safetensors", ".part"}]
    assert sorted(path.name for path in made) == sorted(
        name.replace("pytorch_model", "model").replace(".bin", ".safetensors") for name in names
    )
    after = {name: tensor for path in made for name, tensor in load(path.read_bytes()).items()}
    assert {name: tensor.dtype for name, tensor in before.items()} == {name: tensor.dtype for name, tensor in after.items()}
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert _rerankd(url, tmp_path / "home", "verify", str(tmp_path / "tiny")).returncode == 0
    made[0].write_bytes(made[0].read_bytes()[:-1] + b"x")
    assert _rerankd(url, tmp_path / "home", "verify", str(tmp_path / "tiny")).returncode == 1


class Evil:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("content", ["code", "garbage", "no tensors"])
def test_a_pickle_that_holds_more_than_tensors_is_refused(hub: tuple[Hub, str], tmp_path: Path, content: str) -> None:
    """Nothing in it runs, it is removed, and nothing is left that could be served."""
    found, url = hub
    del found.files[WEIGHTS]
    buffer = io.BytesIO()
    torch.save({"weight": Evil(tmp_path / "owned")} if content == "code" else {"weight": "text"}, buffer)
    found.files["pytorch_model.bin"] = b"\x80garbage" if content == "garbage" else buffer.getvalue()
    done = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "tiny"), "--convert")
    assert done.returncode == 1
    assert "pickled weights were not converted" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "tiny" / "pytorch_model.bin").exists()
    assert not (tmp_path / "tiny" / "config.json").exists()


def test_a_pinned_revision_is_kept_apart_and_found_offline(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """NAME@REVISION asks the hub for just that, lies in a directory of its own, and is found again without the hub."""
    found, url = hub
    home = tmp_path / "home"
    done = _rerankd(url, home, "download", "org/tiny@v1.0")
    assert done.returncode == 0, done.stderr
    assert "rerankd serve --model org/tiny@v1.0\n" in done.stdout
    assert (home / "rerankd" / "org" / "tiny@v1.0" / WEIGHTS).exists()
    assert any(path.startswith("/api/models/org/tiny/revision/v1.0") for _, path, _ in found.requests)
    assert {path.split("/")[4] for _, path, _ in found.requests if "/resolve/" in path} == {COMMIT}
    (line,) = _rerankd(url, home, "list", "--json").stdout.splitlines()
    assert (json.loads(line)["model"], json.loads(line)["revision"]) == ("org/tiny@v1.0", COMMIT)
    look = "from service import download; print(download.cached('org/tiny@v1.0', None), download.cached('org/tiny', None))"
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(home)}
    out = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True, env=environment).stdout
    assert out.split() == [str(home / "rerankd" / "org" / "tiny@v1.0"), "None"]


def test_a_full_disk_is_told_and_leaves_nothing_to_serve(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """Too large for the disk: refused before a byte comes. Full while it comes: a line, and no half model."""
    found, url = hub
    full = tmp_path / "full"
    full.mkdir()
    (full / f"{WEIGHTS}.part").symlink_to("/dev/full")
    done = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(full))
    assert (done.returncode, "No space left on device" in done.stderr, "run the same again" in done.stderr) == (1, True, True), done.stderr
    assert not (full / "config.json").exists()
    found.size_told = 10**16
    done = _rerankd(url, tmp_path / "home", "download", "org/tiny", str(tmp_path / "huge"))
    assert done.returncode == 1
    assert "GB more and has" in done.stderr
    assert "RERANKER_MODEL_CACHE_DIR" in done.stderr
    assert not (tmp_path / "huge").exists()


def test_a_download_that_was_cut_is_no_model_until_it_is_whole(hub: tuple[Hub, str], tmp_path: Path) -> None:
    """The hub goes away half way: a line, the half is kept and not served; the next run fetches the rest alone."""
    found, url = hub
    home, size = tmp_path / "home", len(found.files[WEIGHTS])
    found.break_after, found.dies = 9_000_000, True
    cut = _rerankd(url, home, "download", "org/tiny")
    assert (cut.returncode, "what was fetched is kept" in cut.stderr) == (1, True), cut.stderr
    assert "unfinished" in _rerankd(url, home, "list").stdout
    serve = _rerankd("http://127.0.0.1:9", home, "check", "--model", "org/tiny", "--use-offline-mode")
    assert (serve.returncode, "is not on this machine" in serve.stderr) == (1, True), serve.stderr
    found.break_after, found.dies = None, False
    found.requests.clear()
    assert _rerankd(url, home, "download", "org/tiny").returncode == 0
    (rest,) = [asked for _, path, asked in found.requests if path.endswith(WEIGHTS)]
    assert rest is not None
    assert 0 < int(rest.removeprefix("bytes=").rstrip("-")) < size
    assert _rerankd(url, home, "verify").returncode == 0
