"""Image, quadlets and compose file, as far as that goes without building: `just test-image` builds and runs the image for real."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from batching.queue_files import queue_shape
from service.settings import Settings
from tests.ops.tools import OPS, ROOT

PODMAN = OPS / "podman"
QUADLET = shutil.which("quadlet", path="/usr/libexec/podman:/usr/lib/podman:/usr/local/libexec/podman")
KNOWN = {
    "Container": "Image ContainerName AutoUpdate Network PublishPort Volume Environment EnvironmentFile Secret PodmanArgs ReadOnly NoNewPrivileges "
    "DropCapability Ulimit Notify HealthCmd HealthInterval HealthTimeout HealthRetries HealthStartPeriod "
    "HealthOnFailure AddDevice SecurityLabelDisable",
    "Volume": "VolumeName",
    "Network": "NetworkName",
    "Unit": "Description After Wants",
    "Service": "ExecReload Restart RestartSec TimeoutStartSec TimeoutStopSec",
    "Install": "WantedBy",
}
"""Keys of podman-systemd.unit(5), Podman 4.7, that are used here: a misspelt one would make the generator refuse the unit."""


def lines(path: Path) -> list[tuple[str, str, str]]:
    """(section, key, value) of a unit file."""
    section, found = "", []
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append((section, key, value))
    return found


@pytest.mark.parametrize("name", ["rerankd.container", "rerankd.container.d/gpu.conf", "rerankd-models.volume", "rerankd.network"])
def test_quadlets_say_what_podman_knows(name: str) -> None:
    """Every key is one of its section's, and has a value."""
    found = lines(PODMAN / name)
    assert [line for line in found if line[1] not in KNOWN[line[0]].split() or not line[2]] == []


def test_the_podman_that_is_asked_for_knows_all_keys() -> None:
    """Ulimit, VolumeName and NetworkName came with 4.7: an older one refuses the unit."""
    for path in (PODMAN / "rerankd.container", OPS / "terraform" / "azure" / "variables.tf"):
        assert re.findall(r"Podman (\d\.\d) or newer", path.read_text()) == ["4.7"]


def test_quadlets_refer_to_what_there_is() -> None:
    """Networks and volumes of the container are units beside it; an optional environment file would be taken for a relative path."""
    values = [(key, value.partition(":")[0]) for _, key, value in lines(PODMAN / "rerankd.container")]
    units = [value for key, value in values if key in {"Network", "Volume"}]
    assert all((PODMAN / unit).exists() for unit in units)
    assert not [value for key, value in values if key == "EnvironmentFile" and value.startswith("-")]


@pytest.mark.skipif(QUADLET is None, reason="quadlet is not installed (podman 4.4 or newer)")
def test_podman_makes_units_of_them() -> None:
    """The generator itself has no complaint."""
    assert QUADLET
    done = subprocess.run(
        [QUADLET, "-dryrun", "-no-kmsg-log"], env={"QUADLET_UNIT_DIRS": str(PODMAN)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "---rerankd.service---" in done.stdout


def test_the_stop_times_fit_together() -> None:
    """systemd waits longer than podman, which waits longer than the service drains."""
    found = lines(PODMAN / "rerankd.container")
    unit = next(int(value.removesuffix("s")) for _, key, value in found if key == "TimeoutStopSec")
    podman = next(int(value.removeprefix("--stop-timeout=")) for _, _, value in found if value.startswith("--stop-timeout="))
    assert Settings().drain_timeout + 20 < podman < unit


def test_compose_mounts_what_there_is_and_names_no_registry() -> None:
    """Host paths exist, volumes are declared, and whose image is run is the user's choice."""
    compose = yaml.safe_load((PODMAN / "compose.yml").read_text())
    for service in compose["services"].values():
        assert re.match(r"\$\{\w+(:\?|:-localhost/)", service["image"])
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert (PODMAN / source).exists() if source.startswith(".") else source in compose["volumes"]
    assert compose["services"]["rerankd"]["read_only"] is True
    gpu = yaml.safe_load((PODMAN / "compose.gpu.yml").read_text())
    assert set(gpu["services"]) <= set(compose["services"])


@pytest.mark.parametrize(
    "name", ["podman/rerankd.container", "podman/compose.yml", "kubernetes/base/settings.env", "terraform/azure/variables.tf"]
)
def test_a_model_inside_the_image_keeps_its_name(name: str) -> None:
    """What an image is run with by default names no model: the image's own ENV would lose, and its files be served under another's name."""
    assert re.findall(r"^[^#\n]*MODEL_(?:NAME|PATH)", (OPS / name).read_text(), re.MULTILINE) == []


def test_shared_memory_holds_the_default_model() -> None:
    """The queues of two HTTP processes, and the packed float32 weights of bge-reranker-v2-m3's layers: 24 of width 1024."""
    settings = Settings()
    shape = queue_shape(workers=1, owners=2, limit_tokens=settings.queue_tokens, max_request_scores=settings.max_documents)
    needed = 2 * shape.arena.heap_bytes + 24 * 12 * 1024 * 1024 * 4
    for path in (PODMAN / "rerankd.container", PODMAN / "compose.yml", OPS / "kubernetes" / "base" / "deployment.yaml", ROOT / "README.md"):
        found = re.findall(r"(?:--shm-size=|shm_size: |medium: Memory, sizeLimit: )(\d+)[Gg]", path.read_text())
        assert len(found) == 1, path
        assert int(found[0]) << 30 > 1.2 * needed, path


def instructions() -> list[str]:
    """The Containerfile's instructions, one line each."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_the_image_is_what_is_promised() -> None:
    """Non-root, a health check on readiness, no build tools and no index in the last stage, and everything else by argument."""
    found = instructions()
    last = found[max(place for place, line in enumerate(found) if line.startswith("FROM")) :]
    assert last[0] == "FROM python"
    assert any(line.startswith("USER 10001") for line in last)
    assert any(line.startswith("HEALTHCHECK") and "service.probe" in line for line in last)
    assert not [line for line in last if re.search(r"apt-get|pip |g\+\+|venv", line)]
    assert {line.split()[1].partition("=")[0] for line in found if line.startswith("ARG")} >= {
        "BASE",
        "VARIANT",
        "PIP_ARGS",
        "MODEL",
        "FLASH",
    }
    assert sum("org.opencontainers.image" in line for line in last) == 1


def test_the_build_sees_what_it_copies() -> None:
    """What the Containerfile copies from the context is let through by .containerignore, and exists."""
    allowed = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in instructions() if line.startswith("COPY") and "--from" not in line for source in line.split()[1:-1]}
    assert copied <= allowed
    assert all((ROOT / source).exists() for source in copied)


def test_the_health_check_needs_the_standard_library_only() -> None:
    """It runs every ten seconds, so it must start in no time."""
    tree = ast.parse((ROOT / "service" / "probe.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in names} & {"service", "batching", "httpx", "msgspec"}
