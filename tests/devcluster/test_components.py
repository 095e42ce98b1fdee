"""What runs for each kind of cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from devcluster.components import Component, Site, components
from devcluster.instances import Kind

SITE = Site(
    folder=Path("/cluster"),
    bin=Path("/go"),
    tools=Path("/debian"),
    host="198.18.7.1",
    api_port=6443,
    etcd_ports=(2379, 2380),
)
SCALE_ONLY = {"kwok"}


def by_name(kind: Kind) -> dict[str, Component]:
    return {component.name: replace(component, files=()) for component in components(SITE, kind)}


def test_an_api_server_alone_needs_its_store_and_nothing_else() -> None:
    """``SIZE=api`` runs two processes, which need no right that a user has not."""
    assert list(by_name("api")) == ["etcd", "kube-apiserver"]


def test_scale_adds_what_plays_nodes() -> None:
    """A node at scale runs what a node runs, and KWOK."""
    assert set(by_name("scale")) == set(by_name("node")) | SCALE_ONLY


def test_two_nodes_share_everything_but_what_runs_their_pods() -> None:
    """Two kubelets at one containerd, or under one folder, port or name, would delete each other's Pods."""
    assert set(by_name("nodes")) == set(by_name("node")) | {"containerd-2", "kubelet-2"}
    one, two = by_name("nodes")["kubelet"], by_name("nodes")["kubelet-2"]
    assert set(one.command) & set(two.command) == {"/go/kubelet", "--node-ip=198.18.7.1"}
    assert one.ready != two.ready
    assert by_name("nodes")["containerd"].ready != by_name("nodes")["containerd-2"].ready


def test_only_scale_lifts_the_control_planes_own_limits() -> None:
    """Figures measured on a node are those of a control plane as it is shipped."""
    node, scale = by_name("node"), by_name("scale")
    differing = {name for name in node if node[name].digest != scale[name].digest}
    assert differing == {"kube-controller-manager", "kube-scheduler"}
    assert not any("kube-api-qps" in word for component in node.values() for word in component.command)


@pytest.mark.parametrize("kind", ["api", "node"])
def test_an_api_server_is_asked_for_pods_under_the_rules_of_its_kind(kind: Kind) -> None:
    """Without a controller manager nobody makes the ServiceAccount that every Pod would be refused without."""
    command = by_name(kind)["kube-apiserver"].command
    assert ("--disable-admission-plugins=ServiceAccount" in command) == (kind == "api")


def test_a_component_is_another_when_its_configuration_is(tmp_path: Path) -> None:
    """So that it is started again after a change of either, and left alone otherwise."""
    configuration = tmp_path / "file"
    configuration.write_text("one")
    component = Component(name="x", command=("x",), files=(configuration,))
    before = component.digest
    assert component.digest == before
    assert replace(component, command=("x", "--more")).digest != before
    configuration.write_text("two")
    assert component.digest != before
