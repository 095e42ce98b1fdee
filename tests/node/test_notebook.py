"""A real notebook: the cells of the first minutes, run by a real kernel."""

from __future__ import annotations

import re

import nbformat
from nbclient import NotebookClient

from tests.node.conftest import Kubectl

WIDGET = """
import time
scale_row, adapt_row = cluster._widget().children[1].children[1].children
def settles(word, there):
    found, end = None, time.monotonic() + 30
    while found != (there, there) and time.monotonic() < end:
        time.sleep(0.2)
        text = cluster._widget().children[1].children[0].value
        found = (word in repr(cluster), word in text)
    return found
"""
ADAPT = f"""{WIDGET}
minimum, maximum, button = adapt_row.children
minimum.value, maximum.value = 1, 3
button.click()
settles("adaptive, 1 to 3", True)
"""
SCALE = """
number, button = scale_row.children
number.value = 2
button.click()
settles("adaptive", False)
"""

CELLS = (
    "from dask_k8s import KubeCluster\ncluster = KubeCluster(n_workers=1, namespace={namespace!r})",
    "cluster",
    "client = cluster.get_client()\nclient.submit(sum, [1, 2]).result()",
    "cluster.scale(2)\nclient.wait_for_workers(2)\nlen(client.ncores())",
    ADAPT,
    SCALE,
    "client.close()\ncluster.close()\ncluster.status.name",
)


def test_the_first_minutes_in_a_notebook(kubectl: Kubectl, deployed: None) -> None:
    """Start with its panel, the widget, a result, scale, the widget's buttons, close."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text.format(namespace=kubectl.namespace)) for text in CELLS]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [[_data(output) for output in cell.outputs] for cell in notebook.cells]
    assert re.search(r"✓ +Connecting to the scheduler", _panel(notebook)), "the panel stands still before its end"
    shown = {mime: text for data in outputs[1] for mime, text in data.items()}
    assert "KubeCluster" in shown["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert [data.get("text/plain") for data in outputs[2]] == ["3"]
    assert outputs[3][-1]["text/plain"] == "2", "after the panel of what it waits for"
    assert [data.get("text/plain") for data in outputs[4]] == ["(True, True)"], "repr and widget"
    assert [data.get("text/plain") for data in outputs[5]] == ["(False, False)"]
    assert [data.get("text/plain") for data in outputs[6]] == ["'closed'"]


def _panel(notebook: nbformat.NotebookNode) -> str:
    """What the panel shows at the end; it lives in a widget of its own."""
    models = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    outputs = [output for model in models for output in model["state"].get("outputs", [])]
    text = "\n".join(_data(output).get("text/plain", "") for output in outputs)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _data(output: dict[str, dict[str, str]]) -> dict[str, str]:
    return output.get("data", {})
