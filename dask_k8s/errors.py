"""The only exception tree, sorted by what the caller can do.

::

    DaskK8sError
    ├── InvalidResource (ValueError)      mend the field that the message names, then ask again
    ├── ConflictingArguments (TypeError)  mend the call
    ├── StartError (RuntimeError)         a cluster that did not start: step, cause and mend
    │   └── StartTimeout (TimeoutError)   … within its time; asking again may help
    ├── WorkersMissing (TimeoutError)     fewer workers than were waited for: how many, why, and what to do
    ├── NotFound (LookupError)            no cluster, or no worker group, of that name
    ├── NoCredentials                     no way to log in to a cluster: name a kubeconfig, or mend it
    ├── ApiError                          the API server said no: its status, reason and message
    │   ├── Forbidden                     401, 403: get the right
    │   ├── Missing                       404: what was named is not there
    │   ├── AlreadyExists                 409: the name is taken
    │   ├── Conflict                      409: somebody wrote in between; read again
    │   ├── Gone                          410: the version is too old; list again
    │   ├── Invalid                       400, 422: mend the manifest
    │   └── Unavailable                   408, 429, 5xx: asking again helps
    ├── Unreachable (OSError)             no answer came; a write may have happened or not
    ├── LeadershipLost                    the right to write has run out
    └── SchedulerError                    a Dask scheduler
        ├── SchedulerSilent (OSError)     … did not answer; asking again helps
        └── SchedulerRefused              … answered beyond bounds, or with an error of its own
            └── AnswerTooLarge            … with more than is listened to: ask for less at a time
"""

from __future__ import annotations


class DaskK8sError(Exception):
    """Everything that this package raises on purpose."""


class InvalidResource(DaskK8sError, ValueError):
    """A manifest that cannot be read, with the path of the field that is wrong.

    Parameters
    ----------
    path
        Where the field stands, such as ``spec.worker.replicas``.
    problem
        What is wrong with it, and what would be right.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class ConflictingArguments(DaskK8sError, TypeError):
    """Arguments that contradict each other, or one that means nothing here."""


class StartError(DaskK8sError, RuntimeError):
    """A cluster that did not start.

    Parameters
    ----------
    step
        The step of the start-up that did not come to its end.
    cause
        What Kubernetes says about it, in its own words.
    mend
        What the reader can do.
    """

    def __init__(self, step: str, cause: str, mend: str) -> None:
        super().__init__(f"{step}: {cause}\n{mend}")
        self.step = step
        self.cause = cause
        self.mend = mend


class StartTimeout(StartError, TimeoutError):
    """A cluster that did not start within its time; asking again may help."""


class WorkersMissing(DaskK8sError, TimeoutError):
    """Fewer workers have joined than were waited for, at the end of the time or once that cannot mend itself.

    Parameters
    ----------
    joined
        How many have.
    wanted
        How many were waited for.
    why
        Sentences on what keeps the others, and on what the reader can do.
    """

    def __init__(self, joined: int, wanted: int, why: str) -> None:
        super().__init__(why)
        self.joined = joined
        self.wanted = wanted


class NotFound(DaskK8sError, LookupError):
    """There is no cluster, or no worker group, of that name."""


class NoCredentials(DaskK8sError):
    """No cluster to log in to was found, or the log-in itself failed."""


class ApiError(DaskK8sError):
    """What the API server said instead of doing what it was asked.

    Parameters
    ----------
    status
        The HTTP status.
    reason
        The machine-readable reason, such as ``AlreadyExists``; empty where none was given.
    message
        The API server's own sentence.
    retry_after
        Seconds that the server asked to wait, where it did.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message or reason or f"HTTP {status}")
        self.status = status
        self.reason = reason
        self.message = message or reason or f"HTTP {status}"
        self.retry_after = retry_after


class Forbidden(ApiError):
    """The credentials are not known, or do not allow this."""


class Missing(ApiError):
    """What was named is not there."""


class AlreadyExists(ApiError):
    """The name is taken."""


class Conflict(ApiError):
    """A precondition failed: somebody wrote in between."""


class Gone(ApiError):
    """The version that was asked for is no longer kept: list again."""


class Invalid(ApiError):
    """The manifest is not acceptable; the message names the field."""


class Unavailable(ApiError):
    """The server cannot do it now; asking again helps."""


class Unreachable(DaskK8sError, OSError):
    """No answer came from the API server. A write may have happened or not."""


class LeadershipLost(DaskK8sError):
    """The Lease can no longer be trusted, so nothing may be written."""


class SchedulerError(DaskK8sError):
    """A Dask scheduler did not do what it was asked."""


class SchedulerSilent(SchedulerError, OSError):
    """The scheduler did not answer in time, or the connection broke."""


class SchedulerRefused(SchedulerError):
    """The scheduler answered beyond the bounds that are kept, or with an error of its own."""


class AnswerTooLarge(SchedulerRefused):
    """The scheduler's answer has more bytes or values than are listened to."""
