"""Which log-in is found, what it says, and when it is renewed."""

from __future__ import annotations

import asyncio
import ssl
import stat
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_k8s.errors import NoCredentials
from dask_k8s.kube import credentials
from dask_k8s.kube.credentials import Answer, Login

PLUG_IN = """#!{python}
import json, pathlib
runs = pathlib.Path({runs!r})
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
status = {{"token": "token-%d" % len(runs.read_text()), "expirationTimestamp": {expires!r}}}
print(json.dumps({{"apiVersion": {version!r}, "kind": "ExecCredential", "status": status}}))
"""
EXEC_VERSION = "client.authentication.k8s.io/v1"
HOUR = timedelta(hours=1)


def kubeconfig(
    folder: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, name: str = "config"
) -> Path:
    """A file with the contexts one (current) and two."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "one", "cluster": {"server": "http://one:1/", **(cluster or {})}},
            {"name": "two", "cluster": {"server": "http://two:2"}},
        ],
        "users": [{"name": "me", "user": user or {"token": "secret"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "one", "user": "me", "namespace": "mine"}},
            {"name": "two", "context": {"cluster": "two", "user": "me"}},
        ],
        "current-context": "one",
    }
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


def plug_in(folder: Path, *, lasts: timedelta, version: str = EXEC_VERSION) -> tuple[dict[str, Any], Path]:
    """A user whose token comes from a program, and the file that counts its runs."""
    runs, program = folder / "runs", folder / "plug-in"
    expires = (datetime.now(UTC) + lasts).strftime("%Y-%m-%dT%H:%M:%SZ")
    program.write_text(PLUG_IN.format(python=sys.executable, runs=str(runs), expires=expires, version=version))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": EXEC_VERSION, "command": str(program), "interactiveMode": "Never"}}, runs


@pytest.fixture(autouse=True)
def nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No kubeconfig, service account or proxy but those of the test."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("KUBECONFIG", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT_FOLDER", tmp_path / "no-service-account")


async def test_a_context_says_where_who_and_in_which_namespace(tmp_path: Path) -> None:
    """The current one, or the one that is named."""
    path = kubeconfig(tmp_path)
    found = await credentials.load(kubeconfig=path)
    assert (found.server, found.namespace, found.tls(), found.in_cluster) == ("http://one:1", "mine", None, False)
    assert await found.headers() == {"Authorization": "Bearer secret"}

    other = await credentials.load(kubeconfig=path, context="two")
    assert (other.server, other.namespace) == ("http://two:2", None)


async def test_where_a_kubeconfig_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named, then KUBECONFIG, then the home folder's; of several files those that are there."""
    folder = tmp_path / "home" / ".kube"
    folder.mkdir(parents=True)
    kubeconfig(folder, cluster={"server": "http://home"})
    assert (await credentials.load()).server == "http://home"

    variable = kubeconfig(tmp_path, cluster={"server": "http://variable"}, name="variable")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{variable}")
    assert (await credentials.load()).server == "http://variable"

    named = kubeconfig(tmp_path, cluster={"server": "http://named"}, name="named")
    assert (await credentials.load(kubeconfig=named)).server == "http://named"


async def test_a_pod_has_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server from the environment, token, authority and namespace from its files; a new token is taken up."""
    account = service_account(tmp_path, monkeypatch)
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT_FOLDER", account)
    found = await credentials.from_service_account(account)
    assert (found.server, found.namespace, found.in_cluster) == ("https://10.96.0.1:443", "mine", True)
    tls = found.tls()
    assert tls is not None
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert await found.headers() == {"Authorization": "Bearer first"}

    assert (await credentials.load()).in_cluster


async def test_a_pods_token_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet writes a new one long before the old one ends; a refusal has it read at once."""
    account = service_account(tmp_path, monkeypatch)
    login = Login(credentials.ServiceAccount(account))
    await login.refresh()
    (account / "token").write_text("second")
    later(login)
    assert await login.headers() == {"Authorization": "Bearer first"}
    await login.refresh()
    assert await login.headers() == {"Authorization": "Bearer second"}


@pytest.mark.parametrize(
    ("host", "token", "said"),
    [
        ("fd00::1", "first", None),
        ("", "first", "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"),
        ("10.96.0.1", "", "token is empty"),
        ("10.96.0.1", None, "No such file"),
    ],
    ids=["IPv6", "no Pod", "no token yet", "no file"],
)
async def test_what_a_pod_may_lack_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, token: str | None, said: str | None
) -> None:
    """Or it is there in a form that has to be written differently."""
    account = service_account(tmp_path, monkeypatch)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    (account / "token").unlink() if token is None else (account / "token").write_text(token)
    if said is None:
        assert (await credentials.from_service_account(account)).server == "https://[fd00::1]:443"
        return
    with pytest.raises(NoCredentials, match=said):
        await credentials.from_service_account(account)


async def test_a_kubeconfig_comes_before_the_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who puts one into a Pod means it."""
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT_FOLDER", service_account(tmp_path, monkeypatch))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path)))
    assert (await credentials.load()).server == "http://one:1"


def service_account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    account = folder / "account"
    account.mkdir()
    (account / "token").write_text("first\n")
    (account / "namespace").write_text("mine\n")
    (account / "ca.crt").write_text(ssl.DER_cert_to_PEM_cert(ssl.create_default_context().get_ca_certs(True)[0]))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return account


async def test_nothing_found_is_told_in_a_sentence() -> None:
    """It says where was looked, and what to do."""
    with pytest.raises(NoCredentials, match=r"no kubeconfig at ~/\.kube/config, and this is no Pod.*Set KUBECONFIG"):
        await credentials.load()


@pytest.mark.parametrize(
    ("content", "context", "sentence"),
    [
        ("", None, "gives no log-in"),
        ("{", None, "gives no log-in"),
        ("kind: Config", None, "gives no log-in"),
        (None, "three", "context three, gives no log-in: .*three"),
    ],
)
async def test_a_bad_kubeconfig_is_told_with_its_path(
    tmp_path: Path, content: str | None, context: str | None, sentence: str
) -> None:
    """Whatever is wrong with it is one error, with the reader's words."""
    path = kubeconfig(tmp_path)
    if content is not None:
        path.write_text(content)
    with pytest.raises(NoCredentials, match=f"{path}.*{sentence}"):
        await credentials.load(kubeconfig=path, context=context)


async def test_a_kubeconfig_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    """No other is taken in its place."""
    with pytest.raises(NoCredentials, match=r"There is no kubeconfig at .*/none"):
        await credentials.load(kubeconfig=tmp_path / "none")


async def test_tls_and_proxy_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cluster's entry says about the way there; its proxy comes before the environment's."""
    way = {
        "server": "https://one",
        "insecure-skip-tls-verify": True,
        "tls-server-name": "other",
        "proxy-url": "http://p",
    }
    path = kubeconfig(tmp_path, cluster=way)
    monkeypatch.setenv("HTTPS_PROXY", "http://environment")
    found = await credentials.load(kubeconfig=path)
    tls = found.tls()
    assert tls is not None
    assert tls.verify_mode is ssl.CERT_NONE
    assert (found.server_hostname, found.proxy) == ("other", "http://p")


@pytest.mark.parametrize(
    ("excepted", "proxy"), [("", "http://environment"), ("one", None), ("two", "http://environment")]
)
async def test_the_environments_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excepted: str, proxy: str | None
) -> None:
    """As kubectl takes it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://environment")
    monkeypatch.setenv("NO_PROXY", excepted)
    found = await credentials.load(kubeconfig=kubeconfig(tmp_path, cluster={"server": "https://one"}))
    assert found.proxy == proxy


async def test_a_plug_in_runs_once_while_its_token_lasts(tmp_path: Path) -> None:
    """Its program may take a second, or open a browser."""
    user, runs = plug_in(tmp_path, lasts=HOUR)
    found = await credentials.load(kubeconfig=kubeconfig(tmp_path, user=user))
    for _ in range(3):
        assert await found.headers() == {"Authorization": "Bearer token-1"}
    assert runs.read_text() == "x"


async def test_a_plug_in_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    """Here it speaks another version than the kubeconfig says; a program that is not there is told likewise."""
    user, _ = plug_in(tmp_path, lasts=HOUR, version="v0")
    with pytest.raises(NoCredentials, match="plugin api version v0"):
        await credentials.load(kubeconfig=kubeconfig(tmp_path, user=user))
    user["exec"]["command"] = str(tmp_path / "no-program")
    with pytest.raises(NoCredentials, match="no-program"):
        await credentials.load(kubeconfig=kubeconfig(tmp_path, user=user))


class Source:
    """Log-ins whose tokens are numbered; they fail, or come to no end, while a test says so."""

    def __init__(self, lasts: timedelta | None) -> None:
        self.times = 0
        self.lasts = lasts
        self.fails = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    def __str__(self) -> str:
        return "The source"

    async def log_in(self) -> Answer:
        self.times += 1
        await asyncio.sleep(0)
        await self.goes_on.wait()
        if self.fails:
            raise OSError("broken")
        return Answer(
            server="http://server",
            authority=None,
            verify=True,
            certificate=None,
            authorization=f"Bearer {self.times}",
            expires=None if self.lasts is None else datetime.now(UTC) + self.lasts,
            namespace=None,
            proxy=None,
            server_hostname=None,
        )


def later(login: Login) -> None:
    """As if the latest log-in had been some seconds ago."""
    login._at -= 15


async def test_many_who_were_refused_log_in_once() -> None:
    """A token that ends under 64 requests costs one log-in."""
    source = Source(lasts=None)
    login = Login(source)
    await login.refresh()
    later(login)
    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(login.refresh())
    assert source.times == 2
    assert await login.headers() == {"Authorization": "Bearer 2"}


async def renewed(login: Login) -> Mapping[str, str]:
    """What requests carry after the log-in that one of them has begun."""
    await login.headers()
    while login._running is not None:
        await asyncio.sleep(0)
    return await login.headers()


async def test_a_token_is_renewed_before_it_ends() -> None:
    """One that has less than a minute left takes no request along; but no log-in each time, if all are so short."""
    login, source = await ending()
    login._at += 15
    assert await renewed(login) == {"Authorization": "Bearer 1"}
    later(login)
    assert await renewed(login) == {"Authorization": "Bearer 2"}
    assert await renewed(login) == {"Authorization": "Bearer 2"}
    assert source.times == 2


async def ending() -> tuple[Login, Source]:
    """A log-in whose token has less than a minute left, and is due to be renewed."""
    source = Source(lasts=timedelta(seconds=credentials.RENEW_AHEAD / 2))
    login = Login(source)
    await login.refresh()
    later(login)
    return login, source


async def test_a_token_that_cannot_be_renewed_yet_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """It still holds. The first failure of a row is told, and there is a pause after each."""
    login, source = await ending()
    source.fails = True
    for times in (2, 3):
        for _ in range(3):
            assert await renewed(login) == {"Authorization": "Bearer 1"}
        assert source.times == times
        later(login)
    told = "The log-in could not be renewed ahead of its end: The source gives no log-in: broken"
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [("WARNING", told)]
    source.fails = False
    assert await renewed(login) == {"Authorization": "Bearer 4"}


async def test_a_pods_token_that_cannot_be_read_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows how long it lasts; the server does, and its refusal is told with what is wrong."""
    account = service_account(tmp_path, monkeypatch)
    monkeypatch.setattr(credentials, "TOKEN_FILE_IS_READ_AGAIN", timedelta(0))
    login = Login(credentials.ServiceAccount(account))
    await login.refresh()
    (account / "token").unlink()
    later(login)
    assert await renewed(login) == {"Authorization": "Bearer first"}
    with pytest.raises(NoCredentials, match="No such file"):
        await login.refresh()


async def test_many_who_were_refused_fail_by_one_log_in() -> None:
    """A plug-in that fails may take seconds for it: it is not run once for each of 64 requests."""
    login, source = await ending()
    source.fails = True
    results = await asyncio.gather(*(login.refresh() for _ in range(64)), return_exceptions=True)
    assert {(type(each), str(each)) for each in results} == {(NoCredentials, "The source gives no log-in: broken")}
    assert source.times == 2


async def test_no_request_waits_for_a_renewal_ahead_of_time() -> None:
    """And there is one at a time."""
    login, source = await ending()
    source.goes_on.clear()
    for _ in range(3):
        async with asyncio.timeout(10):
            assert await login.headers() == {"Authorization": "Bearer 1"}
        await asyncio.sleep(0)
    assert source.times == 2
    source.goes_on.set()
    assert await renewed(login) == {"Authorization": "Bearer 2"}


async def test_a_log_in_goes_on_when_nobody_waits_for_it_any_more() -> None:
    """A plug-in that takes four seconds is done after four seconds, though a Lease waits three for each answer."""
    login, source = await ending()
    source.goes_on.clear()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await login.refresh()
    source.goes_on.set()
    await login.refresh()
    assert await login.headers() == {"Authorization": "Bearer 2"}
    assert source.times == 2


async def test_a_log_in_that_comes_to_no_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person may have gone from the browser that it opened; the next one may go better."""
    login, source = await ending()
    source.goes_on.clear()
    monkeypatch.setattr(credentials, "LOG_IN_LIMIT", 0.01)
    with pytest.raises(NoCredentials, match=r"The source gives no log-in: it had not come to its end after 0\.01 s"):
        await login.refresh()
    source.goes_on.set()
    later(login)
    await login.refresh()
    assert await login.headers() == {"Authorization": "Bearer 3"}


async def test_nobody_is_told_who_has_not_logged_in() -> None:
    """There is no header before the first log-in."""
    with pytest.raises(NoCredentials, match="Nobody has logged in"):
        await Login(Source(lasts=None)).headers()


async def test_a_certificate_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    """Its file may be there and hold none."""
    (tmp_path / "client.crt").write_text("none")
    user = {"client-certificate": str(tmp_path / "client.crt"), "client-key": str(tmp_path / "client.crt")}
    with pytest.raises(NoCredentials, match=r"gives no log-in: \[SSL"):
        await credentials.load(kubeconfig=kubeconfig(tmp_path, cluster={"server": "https://one"}, user=user))


def test_only_credentials_load_the_large_library() -> None:
    """The client, its caches and streams cost what aiohttp costs."""
    program = (
        "import sys, dask_k8s.kube.client, dask_k8s.kube.informer, dask_k8s.kube.portforward\n"
        "print(*({'kubernetes_asyncio', 'kubernetes', 'distributed', 'kopf'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
