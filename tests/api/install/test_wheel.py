"""The wheel, alone in a clean environment."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from sysconfig import get_path

import pytest

from dask_k8s.cli import packed
from tests.api.conftest import ApiServer
from tests.api.install.conftest import Said

pytestmark = pytest.mark.usefixtures("crds", "one_at_a_time")

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with this package's wheel and what it depends on, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    site_packages = Path(get_path("purelib", vars={"base": str(folder / "venv")}))
    zipfile.ZipFile(wheel).extractall(site_packages)
    # A plain path: the .pth files in it are not read, of which one leads to the checkout.
    site_packages.joinpath("dependencies.pth").write_text(get_path("purelib"))
    return folder / "venv" / "bin" / "python"


def test_the_wheel_alone_installs_the_kinds(apiserver: ApiServer, clean_python: Path, tmp_path: Path) -> None:
    """``dask k8s install`` in a clean environment, through Dask's own command line."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(clean_python), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    found = run("-c", "import dask_k8s; print(dask_k8s.__file__)").stdout
    assert clean_python.parents[1] in Path(found).parents

    context = [] if apiserver.context is None else ["--context", apiserver.context]
    command = ["k8s", "install", "--crds-only", "--kubeconfig", str(Path(apiserver.kubeconfig).expanduser()), *context]
    done = run("-m", "dask", *command)
    assert (done.returncode, done.stderr) == (0, "")
    said = Said(done.stdout.splitlines())
    assert said[0].startswith("Kubernetes v")
    assert len(said.about("CustomResourceDefinition")) == len(packed.crds())
    assert len(said) == 1 + len(packed.crds())
