"""A start that can't be: one line, an exit code, and nothing left behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

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


def test_no_room_for_the_arenas(short_path: Path) -> None:
    """The file system is full: the remedy is told in one line, and no directory of ours is left."""
    told = argument({"port": "0", "model_name": "starter", "runtime_dir": str(short_path)}, scorers())
    with Service(command=[sys.executable, "-c", FULL, told.replace("{", "{{").replace("}", "}}")], base=short_path, wait=False) as service:
        assert service.process.wait(20) == 1
        [line] = [line for line in service.log().splitlines() if line.startswith("rerankd: ")]
        assert "no room in" in line
        assert "RERANKER_RUNTIME_DIR" in line
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
