"""Which API server, and how to log in to it: from a kubeconfig, or from the service account that every Pod has.

``kubernetes_asyncio`` reads kubeconfigs and runs their plug-ins. It is imported here alone, inside a function: all its
models come with it, 66 MB and half a second of a processor. A Pod, whose log-in is three files, does without.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from dask_k8s.errors import NoCredentials
from dask_k8s.kinds.value import value

logger = logging.getLogger(__name__)

SERVICE_ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RENEW_AHEAD = 60.0
"""Seconds before its end that a token is renewed, so that no request takes one that ends on its way."""

TOKEN_FILE_IS_READ_AGAIN = timedelta(minutes=1)
"""As often as client-go does it: the kubelet writes a new token when four fifths of an hour are over."""

_NOT_AGAIN_WITHIN = 1.0
"""Seconds after a log-in in which its answer is everybody's, also where it failed: a plug-in may take long for that."""

_NOT_AHEAD_AGAIN_WITHIN = 10.0
"""Seconds between two log-ins that nobody was refused for: some plug-ins hand out a token to its very end."""

LOG_IN_LIMIT = 300.0
"""Seconds for one log-in: some plug-ins open a browser, and wait for a person."""


@value
class Credentials:
    """An API server and the right to speak to it.

    Parameters
    ----------
    server
        Its address, without a slash at the end.
    tls
        None for plain HTTP; asked for each request, since client certificates end. After a change it is another one, so
        that no connection is used again that was made with the old one: the server looks at its certificate each time.
    headers
        What each request has to carry now; asked for each request, since tokens end.
    refresh
        Logs in again; to be called after a 401.
    namespace
        The one that a kubeconfig's context or the service account names, or None.
    proxy
        The HTTP proxy on the way, or None.
    server_hostname
        The name that the server's certificate bears, where it is not the address's.
    in_cluster
        Whether these are a Pod's own, so that the cluster network is at hand.
    """

    server: str
    tls: Callable[[], ssl.SSLContext | None]
    headers: Callable[[], Awaitable[Mapping[str, str]]]
    refresh: Callable[[], Awaitable[None]]
    namespace: str | None
    proxy: str | None
    server_hostname: str | None
    in_cluster: bool


async def load(*, kubeconfig: str | Path | None = None, context: str | None = None) -> Credentials:
    """The credentials that a person or a Pod would expect here.

    A kubeconfig or context that is named comes first; else what ``KUBECONFIG`` or ``~/.kube/config`` says, where
    such a file is there; else the service account of the Pod that this runs in.

    Raises
    ------
    NoCredentials
        When none of them is there, or the one that is cannot be used.
    """
    named = kubeconfig is not None or context is not None
    paths = str(kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config")
    if named or _any_there(paths):
        return await from_kubeconfig(paths, context)
    if SERVICE_ACCOUNT_FOLDER.joinpath("token").exists():
        return await from_service_account(SERVICE_ACCOUNT_FOLDER)
    raise NoCredentials(
        f"There is no kubeconfig at {paths}, and this is no Pod with a service account. "
        "Set KUBECONFIG, or name a kubeconfig."
    )


def _any_there(paths: str) -> bool:
    return any(path and Path(path).expanduser().exists() for path in paths.split(os.pathsep))


async def from_kubeconfig(paths: str | Path, context: str | None = None) -> Credentials:
    """The credentials of a context, by default the current one.

    Parameters
    ----------
    paths
        One file, or several as in ``KUBECONFIG``.

    Raises
    ------
    NoCredentials
        When they cannot be read, or an exec plug-in fails.
    """
    if not _any_there(str(paths)):
        raise NoCredentials(f"There is no kubeconfig at {paths}.")
    login = Login(Kubeconfig(str(paths), context))
    await login.refresh()
    return login.credentials(in_cluster=False)


async def from_service_account(folder: Path = SERVICE_ACCOUNT_FOLDER) -> Credentials:
    """The credentials of the Pod that this runs in.

    Raises
    ------
    NoCredentials
        When this is none, or it has no service account.
    """
    login = Login(ServiceAccount(folder))
    await login.refresh()
    return login.credentials(in_cluster=True)


@value
class Answer:
    """What one log-in gave.

    Parameters
    ----------
    certificate
        The files of a client certificate and of its key.
    expires
        When the token ends, by the wall clock, where that is known.
    """

    server: str
    authority: str | None
    verify: bool
    certificate: tuple[str, str | None] | None
    authorization: str | None
    expires: datetime | None
    namespace: str | None
    proxy: str | None
    server_hostname: str | None


class Source(Protocol):
    """Where a log-in comes from."""

    async def log_in(self) -> Answer:
        """Reads it anew."""
        ...


class Login:
    """Keeps the answer of the latest log-in, and logs in again when it ends or was refused.

    One log-in at a time, and it goes on when nobody waits for it any more: a plug-in may take longer than a request
    may, and would never come to its end if it went with the one that began it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._answer: Answer | None = None
        self._tls: ssl.SSLContext | None = None
        self._files: tuple[bytes, ...] | None = None
        self._running: asyncio.Task[None] | None = None
        self._at = -_NOT_AGAIN_WITHIN
        self._failure = ""

    def credentials(self, *, in_cluster: bool) -> Credentials:
        """What a client works with, after the first log-in."""
        answer = self._latest()
        return Credentials(
            server=answer.server,
            tls=self.tls,
            headers=self.headers,
            refresh=self.refresh,
            namespace=answer.namespace,
            proxy=answer.proxy or _proxy_of_environment(answer.server),
            server_hostname=answer.server_hostname,
            in_cluster=in_cluster,
        )

    def tls(self) -> ssl.SSLContext | None:
        """The context with the latest certificate, the same one until that changes."""
        return self._tls

    async def headers(self) -> Mapping[str, str]:
        """The header that says who asks; empty where a certificate does."""
        answer = self._latest()
        if self._running is None and self._ends_soon(answer.expires):
            self._renew_ahead()
        return {"Authorization": answer.authorization} if answer.authorization else {}

    async def refresh(self) -> None:
        """Logs in again. Many callers at once, as when a token ends under 64 requests, make one log-in."""
        if self._running is None and time.monotonic() - self._at < _NOT_AGAIN_WITHIN:
            if self._failure:
                raise NoCredentials(self._failure)
            return
        task = self._running or self._begin()
        await asyncio.wait([task])
        task.result()

    def _renew_ahead(self) -> None:
        """No request waits for it. What is there is kept while nothing newer comes: the server says when it is over."""
        level = logging.DEBUG if self._failure else logging.WARNING
        self._begin().add_done_callback(lambda _: self._tell_failure(level))

    def _tell_failure(self, level: int) -> None:
        if self._failure:
            logger.log(level, "The log-in could not be renewed ahead of its end: %s", self._failure)

    def _begin(self) -> asyncio.Task[None]:
        self._running = asyncio.create_task(self._log_in())
        self._running.add_done_callback(self._ended)
        return self._running

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()  # it is told to those who wait; where nobody does, it is no surprise

    async def _log_in(self) -> None:
        limit = asyncio.timeout(LOG_IN_LIMIT)
        try:
            async with limit:
                answer = await self._source.log_in()
            self._renew_tls(answer)
        except Exception as problem:
            # A kubeconfig is a user's file and its plug-ins are programs. Whatever they do wrong, asserts and
            # missing keys inside the library included, means that there is no log-in, and is told as it came.
            late = f"it had not come to its end after {LOG_IN_LIMIT:g} s" if limit.expired() else ""
            what = late or str(problem) or type(problem).__name__
            self._at, self._failure = time.monotonic(), f"{self._source} gives no log-in: {what}"
            raise NoCredentials(self._failure) from problem
        self._at, self._failure, self._answer = time.monotonic(), "", answer

    def _ends_soon(self, expires: datetime | None) -> bool:
        if expires is None or time.monotonic() - self._at < _NOT_AHEAD_AGAIN_WITHIN:
            return False
        return (expires - datetime.now(UTC)).total_seconds() < RENEW_AHEAD

    def _latest(self) -> Answer:
        if self._answer is None:
            raise NoCredentials("Nobody has logged in yet.")
        return self._answer

    def _renew_tls(self, answer: Answer) -> None:
        """Only where a file has changed, since with another context each connection is made anew."""
        if not answer.server.startswith("https"):
            return
        files = _contents(answer)
        if files != self._files:
            self._tls, self._files = _context(answer), files


def _contents(answer: Answer) -> tuple[bytes, ...]:
    """What the files of a log-in hold: a certificate is often replaced under its own name."""
    paths = (answer.authority, *(answer.certificate or ()))
    return tuple(Path(path).read_bytes() if path else b"" for path in paths)


def _context(answer: Answer) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=answer.authority)
    # Authorities made by hand or by old tools lack extensions that Python 3.13 asks for and kubectl does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not answer.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if answer.certificate is not None:
        context.load_cert_chain(*answer.certificate)
    return context


class Kubeconfig:
    """The log-in that a kubeconfig describes: its files are read, and its exec plug-in runs, each time anew."""

    def __init__(self, paths: str, context: str | None) -> None:
        self._paths = paths
        self._context = context

    def __str__(self) -> str:
        context = f", context {self._context}," if self._context else ""
        return f"The kubeconfig {self._paths}{context}"

    async def log_in(self) -> Answer:
        """Reads the files again, and runs the plug-in."""
        from kubernetes_asyncio import client, config

        # A configuration of our own: the library's default is global, and its user's.
        configuration = client.Configuration()
        loader = await config.load_kube_config(
            config_file=self._paths, context=self._context, client_configuration=configuration
        )
        context = (loader.current_context or {}).get("context") or {}
        return _answer(configuration, context.get("namespace"), getattr(loader, "exec_plugin_expiry", None))


class ServiceAccount:
    """The log-in of a Pod: its token changes every hour or so, and the file is read again after a minute."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return f"The service account in {self._folder}"

    async def log_in(self) -> Answer:
        """Reads the files again."""
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
        if not host or not port:
            raise NoCredentials("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no Pod.")
        token = self._folder.joinpath("token").read_text().strip()
        if not token:
            raise NoCredentials(f"{self._folder / 'token'} is empty.")
        namespace = self._folder / "namespace"
        return Answer(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            authority=str(self._folder / "ca.crt"),
            verify=True,
            certificate=None,
            authorization=f"Bearer {token}",
            expires=datetime.now(UTC) + TOKEN_FILE_IS_READ_AGAIN + timedelta(seconds=RENEW_AHEAD),
            namespace=namespace.read_text().strip() or None if namespace.exists() else None,
            proxy=None,
            server_hostname=None,
        )


def _answer(configuration: Any, namespace: str | None, expires: datetime | None) -> Answer:
    certificate = (configuration.cert_file, configuration.key_file) if configuration.cert_file else None
    return Answer(
        server=configuration.host.rstrip("/"),
        authority=configuration.ssl_ca_cert,
        verify=configuration.verify_ssl,
        certificate=certificate,
        authorization=configuration.api_key.get("BearerToken", "").strip() or None,
        expires=expires,
        namespace=namespace or None,
        proxy=configuration.proxy,
        server_hostname=configuration.tls_server_name,
    )


def _proxy_of_environment(server: str) -> str | None:
    """The proxy that ``HTTPS_PROXY`` and its kin name, as kubectl takes it, unless ``NO_PROXY`` excepts this server."""
    parts = urlsplit(server)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
