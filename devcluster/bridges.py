"""The kernel's module ``br_netfilter``: without it iptables does not see what a bridge carries.

It is the whole machine's: while it is loaded, the machine's own bridges are filtered, too. So the last cluster that
goes takes it away again, if the first one has loaded it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devcluster.console import Refused
from devcluster.packages import Tools

MODULE = "br_netfilter"

GET = (
    "Services need it. Install kmod and the modules of this kernel, or start the machine anew after an update of its"
    f" kernel; in a container, load it on the host: modprobe {MODULE}"
)
"""What to do where the kernel cannot."""


@dataclass(frozen=True, slots=True)
class BridgeFilter:
    """The module, on this machine or on one below another folder."""

    root: Path = Path("/")

    def loaded(self) -> bool:
        """Whether iptables sees bridges."""
        return (self.root / "proc/sys/net/bridge").exists()

    @property
    def mark(self) -> Path:
        """There while the module is loaded by us, for this boot as the module is; it names the bridges of then."""
        return self.root / f"run/dask-k8s-{MODULE}"

    @property
    def bridges(self) -> set[str]:
        """The machine's own ones; those of Pods are in the network of their node."""
        return {path.parent.name for path in (self.root / "sys/class/net").glob("*/bridge")}

    def can_load(self) -> bool:
        """Whether it is loaded or would be; needs no root."""
        if self.loaded():
            return True
        modprobe = shutil.which("modprobe", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        trial = [modprobe, "--dry-run", "--quiet", MODULE] if modprobe else ["false"]
        return subprocess.run(trial, check=False).returncode == 0

    def load(self, tools: Tools) -> None:
        """Load it where it is missing."""
        if self.loaded():
            return
        self.mark.write_text(json.dumps(sorted(self.bridges)))
        tools.run("modprobe", MODULE, check=False)
        if not self.loaded():
            self.mark.unlink()
            raise Refused(f"The kernel {os.uname().release} has no module {MODULE}. {GET}")

    def unload(self, tools: Tools, needed: Callable[[], bool]) -> None:
        """Take it away if it is ours, no cluster needs it, and no bridge has come that may count on it by now."""
        if not self.mark.exists() or needed():
            return
        before = set(json.loads(self.mark.read_text()))
        self.mark.unlink()
        if self.bridges <= before:
            tools.run("rmmod", MODULE, check=False)
        if needed():  # one that came meanwhile has found it loaded
            self.load(tools)
