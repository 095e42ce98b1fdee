"""Reference pages that are made from their source at each build, so that they cannot differ from it.

Directives, each of which becomes Markdown and is parsed like the rest of the page:

``{crd} daskclusters``
    The fields, columns and rules of a CRD, from ``crds/``.
``{settings}``
    The keys of dask.config, from ``settings.DEFAULTS`` and the docstrings.
``{rights} operator``, ``forwarding`` or ``user``
    The verbs that somebody needs.
``{command} dask k8s install``
    A command's own help.
``{metrics}``
    What the operator counts, from ``operator/metrics.py``.
``{leavers}``
    The decision table of scale-down, from its unit tests.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from dask_k8s import KubeCluster, settings
from dask_k8s.cli.manifest import USER_RIGHTS
from dask_k8s.operator.metrics import METRICS, PREFIX, Duration, Number
from dask_k8s.operator.observed import ObservedGroup
from dask_k8s.operator.rights import DEPLOYED, EMBEDDED, FORWARDING, OPTIONAL, RIGHTS, Right
from tests.unit.operator.plan import test_leavers, words

CRDS = Path(__file__).parents[2] / "crds"

RIGHTS_OF: Mapping[str, tuple[Right, ...]] = {
    "operator": RIGHTS,
    "deployed": DEPLOYED,
    "embedded": EMBEDDED,
    "optional": OPTIONAL,
    "forwarding": (FORWARDING,),
    "user": USER_RIGHTS,
}

COMMANDS = {
    "dask k8s install": ("dask_k8s.cli", "install"),
    "dask k8s uninstall": ("dask_k8s.cli", "uninstall"),
    "python -m dask_k8s.operator": ("dask_k8s.operator.__main__", "main"),
}

FIELDS_OF_SETTINGS = {"count.start": "n_workers"}
"""Keys whose field in ``Settings`` has another name."""

PARAMETER = re.compile(r"^(?P<names>\w+(?:, \w+)*)\n(?P<text>(?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)", re.MULTILINE)


class Generated(SphinxDirective):
    """A directive that becomes Markdown."""

    has_content = False
    required_arguments = 0
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The nodes that the text means on this page."""
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)

    def lines(self) -> Iterator[str]:
        """The Markdown."""
        raise NotImplementedError


class Crd(Generated):
    """Everything that a CRD says about its kind."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        path = CRDS / f"{self.arguments[0]}.yaml"
        self.env.note_dependency(str(path))
        crd = yaml.safe_load(path.read_text())
        version = crd["spec"]["versions"][0]
        schema = version["schema"]["openAPIV3Schema"]
        yield from (schema["description"], "")
        fields = list(walk(schema["properties"], schema.get("required", ())))
        for part in ("spec", "status"):
            described = (field for field in fields if field.path == part or field.path.startswith(f"{part}."))
            yield from (f"**`{part}`**", "")
            yield from table(("Field", "Type", "Default", "Meaning"), (field.row() for field in described))
        yield from ("**Columns of `kubectl get`**", "")
        yield from table(("Column", "From", "Meaning"), map(column_row, version["additionalPrinterColumns"]))
        yield from ("**What the API server refuses**", "")
        yield from (f"- {sentence}" for sentence in rules(schema))


class Field:
    """One field of a schema, as a row."""

    def __init__(self, path: str, schema: Mapping[str, Any], *, required: bool) -> None:
        self.path = path
        self._schema = schema
        self._required = required

    def row(self) -> tuple[str, ...]:
        """Path, type, default and meaning."""
        default = self._schema.get("default")
        return (
            f"`{self.path}`",
            self._type(),
            "required" if self._required else f"`{default}`" if default is not None else "",
            self._meaning(),
        )

    def _type(self) -> str:
        kind = self._schema["type"]
        if "additionalProperties" in self._schema:
            return "map of strings"
        return f"list of {self._schema['items']['type']}s" if kind == "array" else str(kind)

    def _meaning(self) -> str:
        schema = self._schema
        allowed = f"One of {', '.join(f'`{each}`' for each in schema['enum'])}." if "enum" in schema else ""
        limits = [
            f"{words} {schema[key]}."
            for key, words in (("minimum", "At least"), ("maxLength", "Length at most"))
            if key in schema
        ]
        kept = "Fields that are not listed are kept." if schema.get("x-kubernetes-preserve-unknown-fields") else ""
        return " ".join(filter(None, [schema.get("description", ""), allowed, *limits, kept]))


def walk(properties: Mapping[str, Any], required: Iterable[str], before: str = "") -> Iterator[Field]:
    """Every field below, depth first; items of lists are written ``[]``."""
    for name, schema in properties.items():
        path = f"{before}{name}"
        yield Field(path, schema, required=name in required)
        inner, suffix = (schema["items"], "[].") if schema.get("type") == "array" else (schema, ".")
        yield from walk(inner.get("properties", {}), inner.get("required", ()), f"{path}{suffix}")


def column_row(column: Mapping[str, str]) -> tuple[str, ...]:
    """One printer column."""
    return (column["name"], f"`{column['jsonPath']}`", column.get("description", ""))


def rules(schema: Mapping[str, Any]) -> Iterator[str]:
    """The sentences of the CEL rules, wherever in the schema they stand."""
    for rule in schema.get("x-kubernetes-validations", ()):
        yield rule["message"]
    for inner in (*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])):
        yield from rules(inner)


class SettingsTable(Generated):
    """The keys that dask.config knows under ``kubernetes``."""

    def lines(self) -> Iterator[str]:
        self.env.note_dependency(inspect.getfile(settings))
        told = {**parameters(KubeCluster), **parameters(settings.Settings), **parameters(settings.Timing)}
        yield from table(
            ("Key", "Environment variable", "Default", "Meaning"),
            (
                (f"`kubernetes.{key}`", f"`{variable(key)}`", f"`{default}`", told[field_of(key)])
                for key, default in flattened(settings.DEFAULTS)
            ),
        )


def parameters(documented: type) -> dict[str, str]:
    """What a numpy docstring says of each parameter."""
    _, _, section = (inspect.getdoc(documented) or "").partition("Parameters\n----------\n")
    found: dict[str, str] = {}
    for match in PARAMETER.finditer(section.partition("\nRaises\n")[0]):
        text = " ".join(match["text"].split()).replace("``", "`")
        text = re.sub(r":\w+:`(\w+)`", r"`\1`", text)
        found |= dict.fromkeys(match["names"].split(", "), text)
    return found


def flattened(defaults: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with dots, and their defaults."""
    for key, default in defaults.items():
        if isinstance(default, Mapping):
            yield from flattened(default, f"{before}{key}.")
        else:
            yield f"{before}{key}", default


def field_of(key: str) -> str:
    """The field of ``Settings``, or of its ``Timing``, that a key becomes."""
    return FIELDS_OF_SETTINGS.get(key, key.removeprefix("timing.").replace("-", "_"))


def variable(key: str) -> str:
    """The environment variable that sets a key."""
    return f"DASK_KUBERNETES__{key.replace('.', '__').replace('-', '_').upper()}"


class RightsTable(Generated):
    """Verbs on resources."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        yield from table(("API group", "Resource", "Verbs"), map(right_row, RIGHTS_OF[self.arguments[0]]))


def right_row(right: Right) -> tuple[str, ...]:
    """One right."""
    return (f"`{right.group}`" if right.group else "core", f"`{right.resource}`", ", ".join(right.verbs))


class MetricsTable(Generated):
    """What the operator counts."""

    def lines(self) -> Iterator[str]:
        yield from table(("Metric", "Type", "Labels", "Meaning"), map(metric_row, METRICS))


def metric_row(metric: Number | Duration) -> tuple[str, ...]:
    """One metric."""
    return (
        f"`{PREFIX}{metric.name}`",
        metric.type,
        ", ".join(f"`{each}`" for each in metric.labels),
        f"{metric.help}.",
    )


class LeaversTable(Generated):
    """Each row is a unit test: what is so, what there is, what is done."""

    def lines(self) -> Iterator[str]:
        self.env.note_dependency(test_leavers.__file__)
        yield from table(("", "Asked for", "There is", "What is done"), map(leavers_row, test_leavers.TABLE))


def leavers_row(row: tuple[str, int, ObservedGroup, list[str], bool]) -> tuple[str, ...]:
    """One row of the decision table."""
    fact, replicas, there, deeds, asks = row
    done = [*deeds, *(["ask the scheduler"] if asks else [])]
    return (f"{fact[0].upper()}{fact[1:]}.", str(replicas), words.told(there), "; ".join(done) or "nothing")


class Command(Generated):
    """What a command says of itself with ``--help``."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        module, name = COMMANDS[self.arguments[0]]
        command = getattr(import_module(module), name)
        context = click.Context(command, info_name=self.arguments[0], max_content_width=100, **command.context_settings)
        yield from ("```text", command.get_help(context), "```")


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table in Markdown."""
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"
    yield ""


def escaped(cell: str) -> str:
    """A cell that stays in its row, and whose placeholders are no HTML."""
    return cell.replace("|", r"\|").replace("<", "&lt;") if "`" not in cell else cell.replace("|", r"\|")


DIRECTIVES: Mapping[str, type[Generated]] = {
    "crd": Crd,
    "settings": SettingsTable,
    "rights": RightsTable,
    "command": Command,
    "leavers": LeaversTable,
    "metrics": MetricsTable,
}


def setup(app: Sphinx) -> Mapping[str, bool]:
    for name, directive in DIRECTIVES.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
