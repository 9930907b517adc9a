"""The Azure module, as far as that goes without its provider: syntax, declarations, and the cloud-init that it makes, rendered by terraform itself."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ops.tools import OPS, tool

MODULE = OPS / "terraform" / "azure"
FILES = sorted(MODULE.glob("*.tf"))
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}


def terraform(directory: Path, *arguments: str) -> str:
    done = subprocess.run([tool("terraform"), *arguments], cwd=directory, capture_output=True, text=True, check=False, env=ENVIRON)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def blocks() -> dict[str, list[dict[str, Any]]]:
    """All blocks of the module by kind."""
    hcl2 = pytest.importorskip("hcl2", reason="python-hcl2 is not installed")
    found: dict[str, list[dict[str, Any]]] = {}
    for file in FILES:
        for kind, members in hcl2.loads(file.read_text()).items():
            found.setdefault(kind, []).extend(members)
    return found


def test_files_are_formatted() -> None:
    """terraform fmt would change nothing."""
    terraform(MODULE, "fmt", "-check", "-recursive")


def test_what_is_named_is_declared() -> None:
    """Every variable is used and described, and every reference leads to a resource of the module."""
    found = blocks()
    text = "\n".join(file.read_text() for file in FILES)
    variables = {name.strip('"'): body for block in found["variable"] for name, body in block.items()}
    assert set(variables) == set(re.findall(r"\bvar\.(\w+)", text))
    assert all(body.get("description") for body in variables.values())
    resources = {f"{kind}.{name}".replace('"', "") for block in found["resource"] for kind, named in block.items() for name in named}
    assert set(re.findall(r"\b(azurerm_\w+\.\w+)\b", text)) <= resources
    assert all(body.get("description") for block in found["output"] for body in block.values())


def test_keys_are_sensitive_and_nothing_is_open_by_default() -> None:
    """Who may call or log in is said by whoever applies it."""
    variables = {name.strip('"'): body for block in blocks()["variable"] for name, body in block.items()}
    assert variables["api_keys"]["sensitive"] is True
    assert [variables[name]["default"] for name in ("callers", "administrators", "public", "api_keys")] == [[], [], False, []]


@pytest.fixture
def rendered(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The cloud-init of one machine, made by terraform from the module's own locals and template, which need no provider."""
    machine = (MODULE / "machine.tf").read_text()
    module = tmp_path / "ops" / "terraform" / "azure"
    module.mkdir(parents=True)
    (tmp_path / "ops" / "podman").symlink_to(OPS / "podman")
    (module / "variables.tf").write_text((MODULE / "variables.tf").read_text())
    (module / "cloud-init.yaml.tftpl").write_text((MODULE / "cloud-init.yaml.tftpl").read_text())
    template = re.search(r"templatefile\(.*?\n  }\)", machine, re.DOTALL)
    assert template
    output = f'output "it" {{\n  sensitive = true\n  value = {template[0]}\n}}\n'
    (module / "main.tf").write_text(machine.partition('resource "')[0] + output)
    values = {"location": "westeurope", "image": "registry.example/rerankd:1", "ssh_public_key": "ssh-ed25519 AAAA", **request.param}
    (module / "terraform.tfvars.json").write_text(json.dumps(values))
    terraform(module, "init", "-backend=false")
    terraform(module, "apply", "-auto-approve", "-input=false")
    text = json.loads(terraform(module, "output", "-json", "it"))
    assert text.startswith("#cloud-config\n")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def files(cloud: dict[str, Any]) -> dict[str, str]:
    """Written files by path."""
    return {
        file["path"]: base64.b64decode(file["content"]).decode() if file.get("encoding") == "b64" else file["content"]
        for file in cloud["write_files"]
    }


WHOLE = {"registry_id": "/registry", "api_keys": ["sha256:" + "0" * 64], "settings": {"MODEL_NAME": "org/model"}}


@pytest.mark.parametrize("rendered", [WHOLE], indirect=True)
def test_a_machine_with_gpus_runs_the_quadlet(rendered: dict[str, Any]) -> None:
    """With its image, its GPUs, its keys and the registry's login."""
    written = files(rendered)
    container = written["/etc/containers/systemd/rerankd.container"]
    lines = container.splitlines()
    assert "Image=registry.example/rerankd:1" in lines
    assert "AddDevice=nvidia.com/gpu=all" in lines
    assert "PublishPort=8000:8000" in lines
    assert "EnvironmentFile=/etc/rerankd/rerankd.env" in lines
    assert not [line for line in lines if line.startswith("Environment=")], "podman takes these before the file's"
    assert written["/etc/rerankd/rerankd.env"] == "RERANKER_API_KEYS_FILE=/run/keys\nRERANKER_MODEL_NAME=org/model\n"
    assert written["/etc/rerankd/keys"] == WHOLE["api_keys"][0] + "\n"  # type: ignore[index]
    login = written["/usr/local/sbin/rerankd-login"]
    assert subprocess.run(["sh", "-n"], input=login, text=True, check=False).returncode == 0
    compile(login.partition("registry.example\n")[2].partition("\nPY")[0], "login", "exec")
    assert any("nvidia-ctk" in command for command in rendered["runcmd"])


@pytest.mark.parametrize("rendered", [{"gpu": False}], indirect=True)
def test_a_machine_without_gpus_asks_for_none(rendered: dict[str, Any]) -> None:
    """And without a registry of its own there is no login."""
    written = files(rendered)
    assert "nvidia" not in written["/etc/containers/systemd/rerankd.container"]
    assert "/usr/local/sbin/rerankd-login" not in written
    assert "API_KEYS_FILE=" not in written["/etc/rerankd/rerankd.env"]
    assert not any("nvidia-ctk" in command for command in rendered["runcmd"])
