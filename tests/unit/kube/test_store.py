"""Whatever is told in whatever order: the store ends in the true state, and the changes that it tells add up to it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.store import Change, Key, Store, key_of


def manifest(name: str, uid: str, version: str, owner: str = "", namespace: str = "ns") -> Manifest:
    metadata = {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": version}
    return {"metadata": metadata, "owner": owner}


def owners(manifest: Manifest) -> Iterable[Hashable]:
    return [manifest["owner"]] if manifest["owner"] else []


def letters(manifest: Manifest) -> Iterable[Hashable]:
    """An index that names the same value twice: an object is under it once."""
    return [*manifest["owner"], *manifest["owner"], "any"]


def added_up(told: Iterable[Change]) -> dict[Key, Manifest]:
    """What somebody believes who only ever heard of the changes, checked for continuity on the way."""
    believed: dict[Key, Manifest] = {}
    for change in told:
        subject = change.new if change.old is None else change.old
        assert subject is not None
        key = key_of(subject)
        assert believed.get(key) == change.old
        if change.new is None:
            del believed[key]
        else:
            assert key_of(change.new) == key
            assert change.old is None or change.old["metadata"]["uid"] == change.new["metadata"]["uid"]
            believed[key] = change.new
    return believed


class World:
    """The API server as a model: objects, each change with a new version, and the watch that tells them."""

    def __init__(self) -> None:
        self.objects: dict[Key, Manifest] = {}
        self.numbers = count(1)

    def put(self, name: str, owner: str) -> tuple[str, Manifest]:
        number = str(next(self.numbers))
        before = self.objects.get(("ns", name))
        uid = before["metadata"]["uid"] if before else f"uid-{number}"
        self.objects["ns", name] = manifest(name, uid, number, owner)
        return ("MODIFIED" if before else "ADDED"), self.objects["ns", name]

    def delete(self, name: str) -> tuple[str, Manifest] | None:
        before = self.objects.pop(("ns", name), None)
        if before is None:
            return None
        last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(next(self.numbers))}}
        return "DELETED", last


NAMES = st.sampled_from(["a", "b", "c", "d"])
OWNERS = st.sampled_from(["", "x", "y", "xy"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, OWNERS),
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("gap")),
        st.tuples(st.just("list")),
        st.tuples(st.just("again")),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(STEPS)
def test_any_history_ends_in_the_true_state(steps: list[tuple[str, ...]]) -> None:
    """Events, gaps in which they are lost until a list, and events told twice: in the end the store is the world."""
    world, store, told = World(), Store({"owner": owners, "letter": letters}), list[Change]()
    watching, last = False, None
    for step in [*steps, ("list",)]:
        event = None
        match step:
            case ("put", name, owner):
                event = world.put(name, owner)
            case ("delete", name):
                event = world.delete(name)
            case ("gap",):
                watching = False
            case ("list",):
                told += store.replace(list(world.objects.values()))
                watching, last = True, None
            case ("again",):
                event = last
        if watching and event is not None:
            kind, subject = event
            told += store.remove(subject) if kind == "DELETED" else store.put(subject)
            last = event

    assert {key_of(each): each for each in store.values()} == world.objects
    assert added_up(told) == world.objects
    for index, values_of in {"owner": owners, "letter": letters}.items():
        for sought in ("x", "y", "xy", "any", "nobody"):
            expected = [each for each in world.objects.values() if sought in list(values_of(each))]
            assert sorted(map(key_of, store.by(index, sought))) == sorted(map(key_of, expected))


def test_a_list_tells_what_went_without_a_word() -> None:
    """An object that is missing from a list is gone, though no event said so."""
    store = Store()
    kept, gone = manifest("kept", "1", "1"), manifest("gone", "2", "2")
    store.replace([kept, gone])
    assert store.replace([kept]) == (Change(old=gone, new=None),)
    assert store.get("ns", "gone") is None


def test_another_uid_is_another_object() -> None:
    """An object that was replaced in a gap is told as the end of one and the beginning of another."""
    store = Store()
    first, second = manifest("a", "1", "1"), manifest("a", "2", "9")
    store.put(first)
    assert store.replace([second]) == (Change(old=first, new=None), Change(old=None, new=second))


def test_the_same_version_changes_nothing() -> None:
    """A list after a gap in which nothing happened wakes nobody."""
    store = Store()
    store.put(manifest("a", "1", "1"))
    assert store.put(manifest("a", "1", "1")) == ()
    assert store.replace([manifest("a", "1", "1")]) == ()


def test_the_end_of_an_earlier_object_does_not_end_the_present_one() -> None:
    """A late DELETED names a uid that is no longer there."""
    store = Store()
    present = manifest("a", "2", "5")
    store.put(present)
    assert store.remove(manifest("a", "1", "6")) == ()
    assert store.get("ns", "a") == present


def test_what_has_no_namespace_is_found_under_an_empty_one() -> None:
    """Nodes and namespaces have none."""
    store = Store()
    node: Manifest = {"metadata": {"name": "n", "uid": "1", "resourceVersion": "1"}}
    store.put(node)
    assert store.get("", "n") == node
    assert len(store) == 1
