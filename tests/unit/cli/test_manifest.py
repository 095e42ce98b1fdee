"""What an installation consists of, and that the shipped files say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_k8s import names
from dask_k8s.cli import manifest
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import resources
from dask_k8s.operator.rights import BUDGETS, DEPLOYED, EMBEDDED, FORWARDING, OPTIONAL, RIGHTS, Right

DEPLOY = Path(__file__).parents[3] / "deploy"

Granted = set[tuple[str, str, str]]


def of_kind(kind: str, manifests: list[Manifest]) -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def container() -> Any:
    deployment = of_kind("Deployment", manifest.operator("registry.example/op:1", "ops"))
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


def granted(role: Manifest) -> Granted:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def asked(*rights: Right) -> Granted:
    return {(right.group, right.resource, verb) for right in rights for verb in right.verbs}


@pytest.mark.parametrize("name", sorted(manifest.files()))
def test_the_shipped_file_is_what_the_code_writes(name: str) -> None:
    """Else: ``python -m dask_k8s.cli.manifest deploy``."""
    assert (DEPLOY / name).read_text() == manifest.files()[name]


def test_the_shipped_file_reads_as_what_is_installed() -> None:
    """YAML keeps every object as it is, in its order."""
    assert list(yaml.safe_load_all(manifest.files()["operator.yaml"])) == manifest.operator()


def test_the_operator_may_what_it_does_and_no_more() -> None:
    """Its ClusterRole is the list of the verbs that the code uses."""
    assert granted(of_kind("ClusterRole", manifest.operator())) == asked(*RIGHTS, *DEPLOYED, *OPTIONAL)


def test_who_embeds_an_operator_may_what_it_does() -> None:
    """The second role for people holds the first, the operator's verbs, and the way into the cluster network."""
    with_deployed, with_embedded = map(granted, manifest.roles())
    assert with_deployed == asked(*manifest.USER_RIGHTS)
    assert with_embedded == with_deployed | asked(*RIGHTS, *EMBEDDED, FORWARDING, BUDGETS)


def test_people_make_no_pods_themselves() -> None:
    """With a deployed operator, people write Dask's kinds alone, and port-forwards."""
    written = {(group, resource) for group, resource, verb in granted(manifest.roles()[0]) if verb == "create"}
    kinds = ("daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers")
    assert written == {*((names.GROUP, kind) for kind in kinds), ("", "pods/portforward")}


def test_each_resource_is_in_a_role_once() -> None:
    """Verbs of one resource from two lists become one rule, in the order in which they were first named."""
    read = Right(group="", resource="pods", verbs=("get", "list"))
    write = Right(group="", resource="pods", verbs=("list", "create"))
    assert manifest.merged([read, FORWARDING, write]) == (
        Right(group="", resource="pods", verbs=("get", "list", "create")),
        FORWARDING,
    )


def test_whoever_is_logged_in_sees_the_lease_and_nothing_else_by_it() -> None:
    """KubeCluster has to find out whether an operator is there."""
    installed = manifest.operator(namespace="ops")
    (rule,) = of_kind("Role", installed)["rules"]
    assert (rule["resources"], rule["resourceNames"], rule["verbs"]) == (["leases"], [names.OPERATOR], ["get"])
    (subject,) = of_kind("RoleBinding", installed)["subjects"]
    assert (subject["kind"], subject["name"]) == ("Group", "system:authenticated")


def test_image_and_namespace_go_where_they_belong() -> None:
    """Every namespaced object is in the namespace, and the account that gets the rights is the one that is used."""
    installed = manifest.operator("registry.example/op:1", "ops")
    places = {each["metadata"].get("namespace") for each in installed if resources.of(each).namespaced}
    assert places == {"ops"}
    assert of_kind("Namespace", installed)["metadata"]["name"] == "ops"
    (subject,) = of_kind("ClusterRoleBinding", installed)["subjects"]
    account = of_kind("ServiceAccount", installed)["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    pod = of_kind("Deployment", installed)["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["name"]
    assert container()["image"] == "registry.example/op:1"


def test_the_pod_meets_the_restricted_standard() -> None:
    """Pod Security Standard ``restricted``, and a root file system that cannot be written."""
    pod = of_kind("Deployment", manifest.operator())["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_the_operator_is_never_throttled() -> None:
    """A limit on CPU would make its renewals late."""
    assert container()["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}}


def test_the_probes_ask_the_port_that_the_operator_answers_on() -> None:
    """Name and number of the port, and the argument, belong together."""
    (port,) = container()["ports"]
    assert f"--probes-port={port['containerPort']}" in container()["args"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container()[probe]["httpGet"]["port"] == port["name"]


def test_prometheus_is_told_where_to_look() -> None:
    """By the annotations that many configurations go by, on the port that the operator answers on."""
    (port,) = container()["ports"]
    template = of_kind("Deployment", manifest.operator())["spec"]["template"]
    told = {key.removeprefix("prometheus.io/"): text for key, text in template["metadata"]["annotations"].items()}
    assert told == {"scrape": "true", "port": str(port["containerPort"]), "path": "/metrics"}


def test_the_selector_finds_the_pods() -> None:
    """A Deployment whose selector misses its own Pods is refused."""
    spec = of_kind("Deployment", manifest.operator())["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_everything_is_marked_as_ours() -> None:
    """By that label an installation is known again, and taken away."""
    for each in (*manifest.operator(), *manifest.roles()):
        assert each["metadata"]["labels"][manifest.PART_OF] == manifest.PACKAGE
