"""Errors of a start-up as a person wants to read them: the step, the cause in its own words, and the mend."""

from __future__ import annotations

from dask_k8s.errors import ApiError, Forbidden, Missing, StartError, StartTimeout, Unreachable


def of_api(error: ApiError | Unreachable, step: str, namespace: str) -> StartError:
    """What the API server said, or did not."""
    message = str(error)
    match error:
        case Missing() if "could not find the requested resource" in message or "page not found" in message:
            return StartError(
                step,
                f"Kubernetes does not know Dask's resources: {message}",
                "An administrator installs them with: dask k8s install --crds-only",
            )
        case Missing() if "namespaces" in message:
            return StartError(step, message, "Choose another namespace=, or make this one.")
        case Forbidden():
            return StartError(step, message, f"Ask an administrator for this right in the namespace {namespace}.")
        case Unreachable():
            return StartError(
                step, message, "Look at the kubeconfig's server, and whether it can be reached from here."
            )
    return StartError(step, message, "Correct what the message names.")


def of_scheduler(error: OSError) -> StartError:
    """The scheduler had answered, and did not when Dask itself connected to it; or the time was over."""
    kind = StartTimeout if isinstance(error, TimeoutError) else StartError
    cause = f"The scheduler answered, and then no more ({error or type(error).__name__})."
    return kind("Connecting to the scheduler", cause, "Try again; if it stays so, read the log of the scheduler's Pod.")


def of_login(seconds: float) -> StartError:
    """Nobody has logged in by the end of the time."""
    return StartTimeout(
        f"Logging in, after {seconds:g} s (resource_timeout=)",
        "The kubeconfig's log-in has not come to an end.",
        "Run kubectl get pods: it uses the same one, and shows what its plug-in waits for.",
    )
