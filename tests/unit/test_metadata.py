"""Who passes labels and annotations on to whom: the seed's order, and what is never passed on."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s import metadata, names
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests.scheduler import scheduler_pod
from dask_k8s.manifests.service import scheduler_service
from dask_k8s.manifests.worker import worker_pod
from dask_k8s.manifests.worker_group import default_group
from dask_k8s.metadata import Metadata, merge
from tests.unit import given as g

RESERVED = ("dask.org/cluster-name", "dask.org/workergroup-name", "dask.org/component")
FOREIGN_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kopf.zalando.org/last-handled-configuration",
    "meta.helm.sh/release-name",
    "argocd.argoproj.io/tracking-id",
    "sub.argocd.argoproj.io/anything",
)
OUR_ANNOTATIONS = ("dask.org/template-hash", "dask.org/retiring-since", "dask.org/replicas-from-cluster")
OTHERS = ("foo", "hello", "team.example/owner", "app.kubernetes.io/name", "notmeta.helm.sh/x", "kubernetes.io/x")

keys = st.sampled_from([*RESERVED, *FOREIGN_ANNOTATIONS, *OUR_ANNOTATIONS, *OTHERS, "app.kubernetes.io/managed-by"])
maps = st.dictionaries(keys, st.text("abc", max_size=3))
anything = st.builds(Metadata, labels=maps, annotations=maps)
bases = st.builds(
    Metadata,
    labels=st.dictionaries(st.sampled_from(RESERVED), st.text("xyz", min_size=1)),
    annotations=st.dictionaries(st.sampled_from(OUR_ANNOTATIONS), st.text("xyz", min_size=1)),
)


@given(anything, anything, bases)
def test_base_wins_over_sub_and_sub_over_top(top: Metadata, sub: Metadata, base: Metadata) -> None:
    """Each key of the result has the value of the last of top, sub and base that has the key."""
    merged = merge(top, sub, base)
    for result, layers in (
        (merged.labels, (top.labels, sub.labels, base.labels)),
        (merged.annotations, (top.annotations, sub.annotations, base.annotations)),
    ):
        for key, text in result.items():
            assert text == [layer[key] for layer in layers if key in layer][-1]


@given(anything, anything, bases)
def test_nothing_of_a_users_own_is_lost(top: Metadata, sub: Metadata, base: Metadata) -> None:
    """A key that no tool has reserved arrives."""
    merged = merge(top, sub, base)
    for key in OTHERS:
        assert (key in merged.labels) == (key in top.labels or key in sub.labels)
        assert (key in merged.annotations) == (key in top.annotations or key in sub.annotations)


@given(anything, anything, bases)
def test_reserved_labels_are_those_of_the_base(top: Metadata, sub: Metadata, base: Metadata) -> None:
    """A user's reserved label neither replaces one of ours nor appears where we set none."""
    merged = merge(top, sub, base)
    assert {key: text for key, text in merged.labels.items() if key in RESERVED} == base.labels


@given(anything, anything)
def test_foreign_tools_and_our_own_marks_stay_where_they_are(top: Metadata, sub: Metadata) -> None:
    """What another tool, or we, wrote about one object says nothing about an object that is made from it."""
    merged = merge(top, sub, metadata.NOTHING)
    assert not {*FOREIGN_ANNOTATIONS, *OUR_ANNOTATIONS} & merged.annotations.keys()
    assert "app.kubernetes.io/managed-by" not in merged.labels


@given(anything, anything, bases)
def test_merging_the_result_again_changes_nothing(top: Metadata, sub: Metadata, base: Metadata) -> None:
    """A merge is idempotent: what was merged once is a fixed point, on whichever side it comes in again."""
    once = merge(top, sub, base)
    assert merge(once, sub, base) == once
    assert merge(once, metadata.NOTHING, base) == once
    assert merge(top, once, base) == once


@given(anything, anything, bases)
def test_inputs_are_untouched(top: Metadata, sub: Metadata, base: Metadata) -> None:
    """The maps that come in are neither written into nor handed out."""
    before = deepcopy((top, sub, base))
    merged = merge(top, sub, base)
    for given_map in (top.labels, sub.labels, base.labels):
        assert merged.labels is not given_map
    assert (top, sub, base) == before


def _example(**worker: Manifest) -> Cluster:
    """The seed's example of propagation, its workers' metadata replaced where a test says so."""
    return g.cluster(
        metadata={"annotations": {"hello": "world"}, "labels": {"foo": "bar"}},
        worker={**g.cluster_manifest()["spec"]["worker"], "metadata": {"annotations": {"foo": "bar"}, **worker}},
        scheduler={**g.cluster_manifest()["spec"]["scheduler"], "metadata": {"annotations": {"fizz": "buzz"}}},
    )


def _worker_pod_of(cluster: Cluster) -> Manifest:
    """A worker's Pod as it comes out at the end: through the default group, as the API server gives it back."""
    return worker_pod(WorkerGroup.from_manifest(g.read_back(default_group(cluster), uid="uid-2")), "simple-worker-1")


def _users_annotations(manifest: Manifest) -> Manifest:
    ours = (*metadata.MAY_GO, *metadata.MUST_STAY)
    given = manifest["metadata"]["annotations"]
    return {key: text for key, text in given.items() if not key.startswith("dask.org/") and key not in ours}


def test_an_autoscaler_may_take_a_workers_node_and_not_a_schedulers() -> None:
    """Unless the user says otherwise."""
    key = metadata.SAFE_TO_EVICT
    assert scheduler_pod(_example())["metadata"]["annotations"][key] == "false"
    assert _worker_pod_of(_example())["metadata"]["annotations"][key] == "true"
    theirs = _example(annotations={"foo": "bar", key: "false"})
    assert _worker_pod_of(theirs)["metadata"]["annotations"][key] == "false"


def test_the_seeds_example() -> None:
    """The seed's own listing: the scheduler's Pod has ``fizz: buzz`` and ``hello: world``."""
    assert _users_annotations(scheduler_pod(_example())) == {"fizz": "buzz", "hello": "world"}
    assert _users_annotations(scheduler_service(_example())) == {"fizz": "buzz", "hello": "world"}
    assert _users_annotations(default_group(_example())) == {"foo": "bar", "hello": "world"}
    assert _users_annotations(_worker_pod_of(_example())) == {"foo": "bar", "hello": "world"}


def test_a_subresources_label_wins_down_to_the_worker_pod() -> None:
    """The seed: ``foo=bar`` on the DaskCluster and ``foo=baz`` in ``spec.worker.metadata`` make ``foo=baz``."""
    cluster = _example(labels={"foo": "baz"})
    assert default_group(cluster)["metadata"]["labels"]["foo"] == "baz"
    assert _worker_pod_of(cluster)["metadata"]["labels"]["foo"] == "baz"
    assert scheduler_pod(cluster)["metadata"]["labels"]["foo"] == "bar"


@pytest.mark.parametrize("where", ["metadata", "worker"])
def test_a_component_of_the_users_own_has_no_effect(where: str) -> None:
    """The seed: ``dask.org/component=superworker`` leaves ``worker`` on the worker's Pod, wherever it is set."""
    super_worker = {"labels": {"dask.org/component": "superworker"}}
    worker = {**g.cluster_manifest()["spec"]["worker"], **({"metadata": super_worker} if where == "worker" else {})}
    cluster = g.cluster(metadata=super_worker if where == "metadata" else {}, worker=worker)
    assert _worker_pod_of(cluster)["metadata"]["labels"]["dask.org/component"] == "worker"
    assert default_group(cluster)["metadata"]["labels"]["dask.org/component"] == "workergroup"


def _matches(selector: str, labels: Manifest) -> bool:
    return all(labels.get(key) == text for key, _, text in (part.partition("=") for part in selector.split(",")))


def test_selectors_find_what_labels_mark_and_nothing_else() -> None:
    """Each kind of object is found by its own selector alone."""
    cluster = g.cluster()
    found = {
        metadata.selector(metadata.scheduler_labels("simple")): {"scheduler", "service"},
        metadata.selector(metadata.worker_group_labels("simple")): {"group"},
        metadata.selector(metadata.worker_labels("simple", "simple-default")): {"worker"},
        metadata.selector(metadata.scheduler_labels("other")): set(),
        metadata.selector(metadata.worker_labels("simple", "other")): set(),
    }
    objects = {
        "scheduler": scheduler_pod(cluster),
        "service": scheduler_service(cluster),
        "group": default_group(cluster),
        "worker": _worker_pod_of(cluster),
    }
    for selector, expected in found.items():
        assert {name for name, each in objects.items() if _matches(selector, each["metadata"]["labels"])} == expected


def test_the_controller_is_the_owner_that_controls() -> None:
    """Owners that do not control an object do not make it theirs; without one that does it is an orphan."""
    owner = metadata.owner_reference(Ref(kind="DaskCluster", namespace="n", name="simple", uid="u"), names.API_VERSION)
    bystander = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "v"}
    assert metadata.controller_uid({"metadata": {"ownerReferences": [bystander, owner]}}) == "u"
    assert metadata.controller_uid({"metadata": {"ownerReferences": [bystander]}}) is None
    assert metadata.controller_uid({"metadata": {}}) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
specs = st.dictionaries(st.text(), json_values, max_size=3)


def _reversed(content: object) -> object:
    if isinstance(content, dict):
        return {key: _reversed(content[key]) for key in reversed(content)}
    return [_reversed(each) for each in content] if isinstance(content, list) else content


@given(specs)
def test_the_hash_ignores_the_order_of_keys(spec: dict[str, object]) -> None:
    """The API server may give an object back with its keys in another order: nobody's workers are replaced for it."""
    backwards = _reversed(spec)
    assert isinstance(backwards, dict)
    assert metadata.template_hash(backwards) == metadata.template_hash(spec)


@given(specs, specs)
def test_the_hash_tells_different_specs_apart(one: dict[str, object], other: dict[str, object]) -> None:
    """Any change of the user's input is another version."""
    same = metadata.template_hash(one) == metadata.template_hash(other)
    assert same == (repr(_sorted(one)) == repr(_sorted(other)))


def _sorted(content: object) -> object:
    if isinstance(content, dict):
        return [(key, _sorted(content[key])) for key in sorted(content)]
    return (list, [_sorted(each) for each in content]) if isinstance(content, list) else content


def test_the_hash_on_a_pod_is_of_the_users_input_alone() -> None:
    """Neither our defaults nor labels are in it: a release of ours, or a label, replaces nobody's workers."""
    plain = g.group()
    labelled = g.group(metadata={"labels": {"a": "b"}}, replicas=7, drainTimeout=1)
    expected = metadata.template_hash(plain.worker.template.spec)
    for group in (plain, labelled):
        pod = worker_pod(group, "any")
        assert pod["metadata"]["annotations"]["dask.org/template-hash"] == expected
        assert metadata.template_hash(pod["spec"]) != expected


def test_the_hashs_rule_is_the_one_that_pods_bear_already() -> None:
    """A frozen value: another rule needs another prefix, or every running worker would look outdated."""
    assert (
        metadata.template_hash({"containers": [{"name": "worker", "args": ["dask", "wörker"]}]})
        == "v1-2882200104410b85"
    )
