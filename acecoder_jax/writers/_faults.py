"""What went wrong with a request to an OpenAI-compatible endpoint: its name, whether to try again, how long to wait."""

import dataclasses
import email.utils
import json
import random
import re
import time
from collections.abc import Mapping

import openai

STOPS = {  # status -> why no other request would fare better
    401: "the endpoint {url} refuses the key ({key}): {detail}. Put the right one there; the same command goes on",
    403: "the endpoint {url} forbids this with this key ({key}): {detail}",
    404: "the endpoint {url} has no such model or address (model {model!r}): {detail}",
}
OF_THE_REQUEST = (400, 422, 500)  # that a part of it is not known: llama-cpp-python says 500
_QUOTA = "insufficient_quota"  # a 429 that no waiting helps
_UNIT_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class BadReply(Exception):  # noqa: N818 - it reads as what came
    """The endpoint said 200, but what it sent is no chat completion."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """reason: of writers.FAILURES. "refused" ends the run, and so does "unreachable" after the last attempt.

    again: whether another attempt may help. wait_s: how long the endpoint asks to wait; None where it does not say.
    status: of HTTP, 0 where there was none.
    """

    reason: str
    detail: str
    again: bool
    wait_s: float | None = None
    status: int = 0


def of(error: Exception) -> Fault | None:
    """The fault that an exception tells of; None for one that is no fault of the endpoint but a bug."""
    detail = f"{type(error).__name__}: {error}"[:1000]
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, detail)
    if isinstance(error, openai.APIConnectionError):
        cause = type(error.__cause__).__name__
        detail = f"{detail} ({cause})"
        if cause in ("ConnectError", "ConnectTimeout"):
            return Fault("unreachable", detail, again=True)
        return Fault("timeout" if isinstance(error, openai.APITimeoutError) else "broken", detail, again=True)
    if isinstance(error, TimeoutError):
        return Fault("timeout", "no whole reply within timeout_s", again=True)
    if isinstance(error, openai.APIError):  # an error told in the middle of a stream, a body that is no completion
        return Fault("server_error", detail, again=True)
    if isinstance(error, BadReply | json.JSONDecodeError | UnicodeDecodeError):  # the body, or an event of a stream
        return Fault("bad_reply", detail, again=True)
    if isinstance(error, UnicodeEncodeError):
        return Fault("bad_request", f"the request cannot be sent: {detail}", again=False)
    return None


def _of_status(error: openai.APIStatusError, detail: str) -> Fault:
    status = error.status_code
    if status in STOPS or (status == 429 and error.code == _QUOTA):
        return Fault("refused", detail, again=False, status=status)
    if status == 429:
        return Fault("rate_limited", detail, again=True, wait_s=asked_to_wait(error.response.headers), status=status)
    if status >= 500 or status in (408, 409, 425):
        return Fault("server_error", detail, again=True, wait_s=asked_to_wait(error.response.headers), status=status)
    return Fault("bad_request", detail, again=False, status=status)


def backoff(attempt: int, base_s: float, cap_s: float) -> float:
    """Seconds before the attempt after this one (from 1): doubled each time, up to the cap; half of it is chance."""
    return min(cap_s, base_s * 2 ** min(attempt - 1, 60)) * random.uniform(0.5, 1.0)


def asked_to_wait(headers: Mapping[str, str], clock: float | None = None) -> float | None:
    """Seconds that a response asks to wait: retry-after-ms, Retry-After (seconds, a date), else what `used_up` has."""
    if (wait_s := _number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, wait_s / 1000)
    after = headers.get("retry-after")
    if (wait_s := _number(after)) is not None:
        return max(0.0, wait_s)
    if after:
        try:
            date = email.utils.parsedate_to_datetime(after)
        except ValueError:
            date = None
        if date is not None:
            return max(0.0, date.timestamp() - (time.time() if clock is None else clock))
    return used_up(headers)


def used_up(headers: Mapping[str, str]) -> float | None:
    """Seconds until a limit of which nothing remains is reset (x-ratelimit-remaining-*, -reset-*); None without one."""
    waits = [
        _duration(headers.get(f"x-ratelimit-reset-{kind}"))
        for kind in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{kind}")) == 0
    ]
    return max((wait_s for wait_s in waits if wait_s is not None), default=None)


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", text) else None


def _duration(text: str | None) -> float | None:
    """Seconds of "6m0s", "1.5s", "20ms", or of a bare number."""
    if (seconds := _number(text)) is not None:
        return seconds
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text or "")
    whole = "".join(number + unit for number, unit in parts)
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts) if parts and whole == text else None
