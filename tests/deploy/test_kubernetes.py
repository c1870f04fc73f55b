"""The Kubernetes manifests, by Kubernetes' own schemas, and what they promise of each pod."""

import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.proxies import required
from tests.deploy.test_compose import SECRETS, SERVICES
from tests.deploy.test_prometheus import exposed

FOLDER = ROOT / "deploy" / "kubernetes"
OBJECTS: list[dict[str, Any]] = [
    thing for path in sorted(FOLDER.glob("*.yaml")) for thing in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
PODS: dict[str, dict[str, Any]] = {
    thing["metadata"]["name"]: thing["spec"]["template"]["spec"]
    for thing in OBJECTS
    if thing["kind"] in {"Deployment", "StatefulSet"}
}


@pytest.mark.parametrize("version", ["1.28", "1.34", "1.37"])
def test_they_follow_kubernetes_schemas(version: str) -> None:
    """Strictly: nothing that the schema of a version does not know."""
    checked = [thing for thing in OBJECTS if thing["kind"] != "Kustomization"]
    assert len(checked) > 10
    for thing in checked:
        kubernetes_validate.validate(thing, version, strict=True)


def test_all_of_them_are_applied() -> None:
    """kustomization.yaml names every file."""
    [kustomization] = [thing for thing in OBJECTS if thing["kind"] == "Kustomization"]
    assert {*kustomization["resources"], "kustomization.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("image", ["registry.example.com/glartek-webhook-kit:1", "valkey/valkey:9"])
def test_kubectl_makes_one_whole_of_them(image: str) -> None:
    """`kubectl kustomize`: every object in the namespace, images replaced, and nothing that the schemas do not know."""
    required("kubectl")
    command = ["kubectl", "kustomize", str(FOLDER)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    made = list(yaml.safe_load_all(answer.stdout))
    assert len(made) == len(OBJECTS) - 1
    assert {thing["metadata"].get("namespace") for thing in made if thing["kind"] != "Namespace"} == {"glartek"}
    assert f"image: {image}\n" in answer.stdout
    for thing in made:
        kubernetes_validate.validate(thing, "1.34", strict=True)


# ── the network ─────────────────────────────────────────────────────────────────────────────────────────────────

POLICIES = [thing["spec"] for thing in OBJECTS if thing["kind"] == "NetworkPolicy"]
SOLVER = {"acme.cert-manager.io/http01-solver": "true"}
NEEDED = [  # from, to, port; a pod by its `app`, a namespace by @name, and the world outside by *
    ("@ingress-nginx", "receiver", 8000),
    ("@ingress-nginx", SOLVER, 8089),
    ("@monitoring", "console", 8001),
    *((name, "valkey", 6379) for name in ("receiver", "worker", "console")),
    *((name, "*", 53) for name in ("receiver", "worker", "console", "valkey")),
    *((name, "*", 443) for name in ("receiver", "worker")),  # Teams: either may have to alert
    ("worker", "*", 5432),
]
REFUSED = [
    ("@ingress-nginx", "console", 8001),
    ("@ingress-nginx", "valkey", 6379),
    ("@monitoring", "valkey", 6379),
    ("@elsewhere", "receiver", 8000),
    ("receiver", "console", 8001),
    ("receiver", "*", 5432),
    ("console", "*", 443),
    ("valkey", "*", 443),
    (SOLVER, "valkey", 6379),
]
Side = str | dict[str, str]


@pytest.mark.parametrize(("source", "target", "port"), NEEDED)
def test_the_network_lets_through_what_is_needed(source: Side, target: Side, port: int) -> None:
    """By the policies of either side."""
    assert passes(source, target, port)


@pytest.mark.parametrize(("source", "target", "port"), REFUSED)
def test_the_network_lets_nothing_else_through(source: Side, target: Side, port: int) -> None:
    """What nobody needs is refused by one side."""
    assert not passes(source, target, port)


def passes(source: Side, target: Side, port: int) -> bool:
    """Whether a connection is allowed on both sides: by one of the policies that select the pod."""
    out = "@" in source or any(opens(rule, "to", target, port) for rule in rules(source, "egress"))
    return out and (target == "*" or any(opens(rule, "from", source, port) for rule in rules(target, "ingress")))


def rules(pod: Side, direction: str) -> list[dict[str, Any]]:
    chosen = [policy for policy in POLICIES if selects(policy["podSelector"], pod)]
    assert any(direction.capitalize() in policy["policyTypes"] for policy in chosen)
    return [rule for policy in chosen for rule in policy.get(direction, [])]


def opens(rule: dict[str, Any], side: str, peer: Side, port: int) -> bool:
    named = {"http": {8000, 8001}, "redis": {6379}}
    ports = set().union(*(named.get(one["port"], {one["port"]}) for one in rule["ports"]))
    return port in ports and (side not in rule or any(is_peer(one, peer) for one in rule[side]))


def is_peer(one: dict[str, Any], peer: Side) -> bool:
    if isinstance(peer, str) and peer.startswith("@"):
        labels: dict[str, str] = one.get("namespaceSelector", {}).get("matchLabels", {})
        return labels == {"kubernetes.io/metadata.name": peer.removeprefix("@")}
    return "namespaceSelector" not in one and peer != "*" and selects(one["podSelector"], peer)


def selects(selector: dict[str, Any], pod: Side) -> bool:
    labels = {"app": pod} if isinstance(pod, str) else pod
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", [])
    )


@pytest.mark.parametrize("name", PODS)
def test_each_pod_is_restricted(name: str) -> None:
    """Not root, its system read-only, no capabilities and no way to gain any, no token, a bound for memory."""
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] >= 999
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container.get("livenessProbe") or container.get("readinessProbe")


@pytest.mark.parametrize("name", SECRETS)
def test_each_process_is_given_its_own_secrets_as_files(name: str) -> None:
    """Those that Compose gives it, from a Secret that holds no other, by the commands in kustomization.yaml."""
    [container] = PODS[name]["containers"]
    files = {one["name"]: Path(one["value"]) for one in container["env"] if one["name"].endswith("_FILE")}
    assert set(files) == {f"{variable}_FILE" for variable in SECRETS[name]}
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(path.parent) for path in files.values()} == {mounted["secrets"]}
    text = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8").replace("\\\n#", "")
    [made] = re.findall(rf"generic {name} (.*)", text)
    assert set(re.findall(r"--from-file=(\w+)", made)) == {path.name for path in files.values()}


@pytest.mark.parametrize("name", ["receiver", "worker", "console", "valkey"])
def test_they_are_set_as_with_compose(name: str) -> None:
    """Memory, the worker's time to end, and the health check do not differ by accident."""
    pod, service = PODS[name], SERVICES[name]
    [container] = pod["containers"]
    assert container["resources"]["limits"]["memory"] == service["mem_limit"].replace("m", "Mi")
    if name == "worker":
        assert f"{pod['terminationGracePeriodSeconds']}s" == service["stop_grace_period"]
        assert container["livenessProbe"]["exec"]["command"] == service["healthcheck"]["test"][1:]
    if name == "valkey":
        assert container["startupProbe"]["exec"]["command"][-1] == service["healthcheck"]["test"][1]


# ── scaling ─────────────────────────────────────────────────────────────────────────────────────────────────────

HPA, KEDA = (
    yaml.safe_load((FOLDER / "scaling" / name).read_text(encoding="utf-8")) for name in ("hpa.yaml", "keda.yaml")
)
COUNT = {"type": "integer", "minimum": 1}
NUMBER = {"type": "string", "pattern": r"^\d+$"}
TRIGGER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "metadata"],
    "properties": {
        "type": {"const": "prometheus"},
        "metricType": {"const": "AverageValue"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "required": ["serverAddress", "query", "threshold"],
            "properties": {"serverAddress": {"type": "string"}, "query": {"type": "string"}, "threshold": NUMBER},
        },
    },
}
SCALED_OBJECT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["scaleTargetRef", "triggers"],
    "properties": {
        "scaleTargetRef": {"type": "object", "additionalProperties": False, "properties": {"name": {"type": "string"}}},
        **dict.fromkeys(("minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod"), COUNT),
        "fallback": {
            "type": "object",
            "additionalProperties": False,
            "required": ["failureThreshold", "replicas"],
            "properties": dict.fromkeys(("failureThreshold", "replicas"), COUNT),
        },
        "triggers": {"type": "array", "minItems": 1, "items": TRIGGER},
    },
}
"""The part of KEDA's ScaledObject (keda.sh/v1alpha1) that is used, from its documentation: no package has its schema.
Every trigger is AverageValue, because `fallback` is for these only."""


def test_the_scaling_examples_follow_their_schemas() -> None:
    """Kubernetes' own for the HPA, and what KEDA documents for the ScaledObject."""
    for version in ("1.28", "1.37"):
        kubernetes_validate.validate(HPA, version, strict=True)
    assert (KEDA["apiVersion"], KEDA["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    jsonschema.validate(KEDA["spec"], SCALED_OBJECT)


def test_workers_are_scaled_by_what_is_ready_and_how_old_it_is() -> None:
    """Never by all that is queued: retries that wait would keep workers running for nothing. Both say the same."""
    keda = {trigger["metadata"]["query"]: trigger["metadata"]["threshold"] for trigger in KEDA["spec"]["triggers"]}
    assert set(keda) == {"max(glartek_jobs_ready)", "max(glartek_jobs_oldest_ready_seconds)"}
    assert all(name.removeprefix("max(").removesuffix(")") in exposed() for name in keda)
    targets = {one["external"]["metric"]["name"]: one["external"]["target"] for one in HPA["spec"]["metrics"]}
    hpa = {f"max({name})": target["averageValue"] for name, target in targets.items()}
    assert hpa == keda
    [worker] = [thing for thing in OBJECTS if thing["kind"] == "Deployment" and thing["metadata"]["name"] == "worker"]
    for one in (HPA, KEDA):
        assert one["spec"]["scaleTargetRef"]["name"] == "worker"
        assert one["metadata"]["namespace"] == "glartek"
    assert HPA["spec"]["minReplicas"] == KEDA["spec"]["minReplicaCount"] == worker["spec"]["replicas"]
