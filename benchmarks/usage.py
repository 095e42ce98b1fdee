"""What a process uses, in the kernel's figures, and what an API server was asked, in its own."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
ESTABLISHED = "01"
COUNTED = ("daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs", "pods", "services", "events")
"""The objects that an operator works with; Leases, which every component has one of, are left out."""


def processor(pid: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> float:
    """MiB that a process holds."""
    return _memory(pid, "VmRSS")


def peak(pid: int) -> float:
    """MiB that it held at most."""
    return _memory(pid, "VmHWM")


def _memory(pid: int, figure: str) -> float:
    found = re.search(rf"{figure}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def connections(pid: int, port: int) -> int:
    """How many connections from a process's network to a port stand."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == ESTABLISHED for row in rows)


def requests(environment: Mapping[str, str]) -> Counter[str]:
    """How many requests an API server has answered, by their verb; a watch counts when it ends."""
    argv = ["kubectl", "get", "--raw", "/metrics"]
    told = subprocess.run(argv, env=dict(environment), capture_output=True, text=True, check=True).stdout
    found: Counter[str] = Counter()
    for labels, count in re.findall(r"^apiserver_request_total\{(.*)\} (\S+)$", told, re.MULTILINE):
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if named["resource"] in COUNTED:
            found[named["verb"]] += int(float(count))
    return found
