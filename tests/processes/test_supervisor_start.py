"""A start that can't be: one line, an exit code, and nothing left behind."""

from __future__ import annotations

import resource
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from service.model_files import starter
from tests.live import free_port
from tests.processes.driver import argument
from tests.processes.service import Service, scorers

FULL = """
import errno, os, sys
from tests.processes import driver
def full(*_):
    raise OSError(errno.ENOSPC, "no space left")
os.posix_fallocate = full
sys.exit(driver.main(sys.argv[1]))
"""

FEW = """
import resource, sys
from tests.processes import driver
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
sys.exit(driver.main(sys.argv[1]))
"""
MANY = """
import os, resource, sys
from tests.processes import driver
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
taken = [os.dup(0) for _ in range(1100)]
resource.setrlimit(resource.RLIMIT_NOFILE, (1250, hard))
sys.exit(driver.main(sys.argv[1]))
"""


def test_no_room_for_the_arenas(short_path: Path) -> None:
    """The file system is full: the remedy is told in one line, and no directory of ours is left."""
    told = argument({"port": "0", "model_name": "starter", "runtime_dir": str(short_path)}, scorers())
    with Service(command=[sys.executable, "-c", FULL, told.replace("{", "{{").replace("}", "}}")], base=short_path, wait=False) as service:
        assert service.process.wait(20) == 1
        [line] = [line for line in service.log().splitlines() if line.startswith("rerankd: ")]
        assert "no room in" in line
        assert "RERANKER_RUNTIME_DIR" in line
        assert not service.left_behind()


@pytest.mark.parametrize("limit", [60, 90, 180])
def test_no_descriptors_for_so_many_processes(short_path: Path, limit: int) -> None:
    """Wherever the start runs out of them, one line says what needs them, how many there are and what to do."""
    told = argument(
        {"port": "0", "model_name": "starter", "runtime_dir": str(short_path), "workers": "64", "queue_tokens": "1024"}, scorers()
    )
    command = [sys.executable, "-c", FEW, told.replace("{", "{{").replace("}", "}}"), str(limit)]
    with Service(command=command, base=short_path, wait=False) as service:
        assert service.process.wait(20) == 1
        [line] = [line for line in service.log().splitlines() if line.startswith("rerankd: ")]
        assert "RERANKER_WORKERS=64" in line
        assert f"{limit} open files" in line
        assert not service.left_behind()


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1300, reason="needs 1,300 open files")
def test_descriptors_beyond_what_select_knows(short_path: Path) -> None:
    """The soft limit is raised as far as it goes, and processes whose sockets and pipes are numbered above are started, watched and stopped."""
    told = argument({"port": "0", "model_name": "starter", "runtime_dir": "{base}", "workers": "2"}, scorers())
    command = [sys.executable, "-c", MANY, told.replace("{", "{{").replace("}", "}}").replace("{{base}}", "{base}")]
    with Service(command=command, base=short_path) as service:
        assert len(set(service.parent.rlimit(psutil.RLIMIT_NOFILE))) == 1
        victim = service.http_processes()[0]
        victim.kill()
        service.until(lambda: victim.pid not in {one.pid for one in service.http_processes()} and len(service.http_processes()) == 2)
        assert service.stop() == 0
        assert "Traceback" not in service.log()
        assert not service.left_behind()


def test_a_model_without_its_tokenizer(tmp_path: Path) -> None:
    """What the HTTP processes can't open fails the start as well: in time, with one line that names the file."""
    model = tmp_path / "model"
    shutil.copytree(starter(), model, ignore=shutil.ignore_patterns("tokenizer*", "vocab*"))
    port = free_port()
    told = argument({"port": str(port), "model_name": str(model), "runtime_dir": "{base}"}, scorers())
    command = [sys.executable, "-m", "tests.processes.driver", told.replace("{", "{{").replace("}", "}}").replace("{{base}}", "{base}")]
    with Service(command=command, port=port, wait=False) as service:
        service.until(lambda: service.process.poll() is not None, 10.0)
        assert service.process.returncode == 1
        [line] = [line for line in service.log().splitlines() if line.startswith("rerankd: ")]
        assert "tokenizer.json" in line
        assert "in a row" not in service.log()
