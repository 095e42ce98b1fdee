"""What the operator must not load for the sake of a scheduler."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ["distributed", "dask", "kopf", "kubernetes_asyncio", "aiohttp", "tornado", "cloudpickle"]
PROGRAM = f"""
import sys, dask_k8s.scheduler.connection, dask_k8s.scheduler.drain, dask_k8s.scheduler.rpc
print([name for name in {FORBIDDEN} if name in sys.modules])
"""


def test_speaking_to_a_scheduler_loads_no_dask() -> None:
    """Neither distributed nor anything else that is heavy, in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
