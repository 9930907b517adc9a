"""The manifests, rendered by kubectl where there is one, against Kubernetes' schemas and against what the service does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.prometheus.rule_resource import FILE, text
from service import routes_health
from service.settings_load import load_settings, unknown_variables
from tests.ops.tools import OPS

KUBERNETES = OPS / "kubernetes"
OVERLAYS = ["cpu", "gpu"]
KINDS = {
    "Namespace",
    "ConfigMap",
    "Service",
    "Deployment",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ServiceMonitor",
    "PrometheusRule",
    "ScaledObject",
}
LABEL = {"app.kubernetes.io/name": "rerankd"}


def rendered(overlay: str) -> dict[str, dict[str, Any]]:
    """An overlay's resources by kind."""
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(KUBERNETES / "overlays" / overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {resource["kind"]: resource for resource in yaml.safe_load_all(done.stdout)}


def base(name: str) -> dict[str, Any]:
    """A resource of the base, as it is written."""
    resource: dict[str, Any] = yaml.safe_load((KUBERNETES / "base" / f"{name}.yaml").read_text())
    return resource


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_render_to_valid_resources(overlay: str) -> None:
    """Strictly: an unknown key is an error."""
    resources = rendered(overlay)
    assert set(resources) == KINDS
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    checked = 0
    for resource in resources.values():
        try:
            validate.validate(resource, validate.latest_version(), strict=True)
        except validate.SchemaNotFoundError:  # ServiceMonitor, PrometheusRule and ScaledObject are not Kubernetes' own
            continue
        checked += 1
    assert checked == len(KINDS) - 3


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_select_the_pods_and_only_these(overlay: str) -> None:
    """Service, budget, spread and policy mean the Deployment's pods; callers of the policy need not be them."""
    resources = rendered(overlay)
    pod = resources["Deployment"]["spec"]["template"]
    policy = resources["NetworkPolicy"]["spec"]
    assert pod["metadata"]["labels"] == LABEL
    assert resources["Service"]["spec"]["selector"] == LABEL
    assert resources["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABEL
    assert policy["podSelector"]["matchLabels"] == LABEL
    assert policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"] == {"rerankd-client": "true"}
    assert {spread["labelSelector"]["matchLabels"] == LABEL for spread in pod["spec"]["topologySpreadConstraints"]} == {True}
    assert resources["ServiceMonitor"]["spec"]["selector"]["matchLabels"] == LABEL


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_fresh_cluster_gets_the_namespace(overlay: str) -> None:
    """Everything lies in a namespace that comes with it, and the runbook's commands name it."""
    resources = rendered(overlay)
    name = resources.pop("Namespace")["metadata"]["name"]
    assert {resource["metadata"]["namespace"] for resource in resources.values()} == {name}
    commands = re.findall(r"`kubectl ([^`]*)`", (OPS / "RUNBOOK.md").read_text())
    assert commands
    assert all(command.startswith(f"-n {name} ") for command in commands)


@pytest.mark.parametrize(("component", "group"), [("monitoring", "monitoring.coreos.com"), ("autoscaling", "keda.sh")])
def test_a_component_comes_out_alone(component: str, group: str) -> None:
    """What an operator has to be in the cluster for lies in one component each, so that a cluster without it takes that one out."""
    for file in sorted(KUBERNETES.rglob("*.yaml")):
        if file.name != "kustomization.yaml":
            inside = file.parent.name == component
            assert (yaml.safe_load(file.read_text())["apiVersion"].partition("/")[0] == group) == inside, file


def test_the_gpu_overlay_asks_for_a_gpu() -> None:
    """And the CPU overlay does not; neither fixes a number of pods, which is the scaler's."""
    for overlay, gpus in (("cpu", None), ("gpu", "1")):
        deployment = rendered(overlay)["Deployment"]["spec"]
        assert deployment["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") == gpus
        assert "replicas" not in deployment


def test_probes_ask_what_the_service_answers() -> None:
    """Every probe's path is a route of the health checks, and readiness is asked where it turns false on drain."""
    container = base("deployment")["spec"]["template"]["spec"]["containers"][0]
    paths = {path for handler in routes_health.HANDLERS for path in handler.paths}
    asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert set(asked.values()) <= paths
    assert (asked["readiness"], asked["liveness"]) == ("/health/ready", "/health/live")


def test_a_pod_gets_the_time_to_drain() -> None:
    """preStop, drain and the workers' end fit into the grace period."""
    pod = base("deployment")["spec"]["template"]["spec"]
    values = dict(line.split("=", 1) for line in (KUBERNETES / "base" / "settings.env").read_text().split())
    assert unknown_variables(values) == []
    settings = load_settings(values)
    assert pod["terminationGracePeriodSeconds"] >= 10 + settings.drain_grace + settings.drain_timeout + 20


def test_pods_are_as_tight_as_the_image() -> None:
    """Non-root, read-only, no capabilities; what has to be written is a volume."""
    pod = base("deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/dev/shm", "/models", "/tmp"}
    assert not pod["enableServiceLinks"]


def test_the_rules_are_those_of_prometheus() -> None:
    """python -m ops.prometheus.rule_resource writes the file."""
    assert FILE.read_text() == text()


@pytest.mark.parametrize("file", sorted(KUBERNETES.rglob("*.yaml")), ids=lambda file: str(file.relative_to(KUBERNETES)))
def test_files_are_used(file: Path) -> None:
    """Every manifest is named by the kustomization beside it."""
    if file.name != "kustomization.yaml":
        assert file.name in yaml.safe_load((file.parent / "kustomization.yaml").read_text())["resources"]
