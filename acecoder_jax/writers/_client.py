"""The `openai` client, and the key that it is given: from the environment, told to nobody."""

import os
import urllib.parse

import openai

from acecoder_jax.writers import WriterError, _faults

CONNECT_S = 10.0
NO_KEY = "none"  # sent to an endpoint that asks for none: the client wants something


class Access:
    """Where an endpoint is and how it is entered.

    key_env: the environment variable with the key; "" for an endpoint that asks for none.
    Raises ValueError where the variable is empty or the address is none.
    """

    def __init__(self, base_url: str, model: str, key_env: str):
        url = urllib.parse.urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url must be an address such as https://api.openai.com/v1, got {base_url!r}")
        if url.password or url.username:
            raise ValueError("base_url holds a name or a password, and it is printed and saved: use key_env")
        if not model:
            raise ValueError("model is empty: name the model that the endpoint shall use")
        self.base_url, self.model, self.key_env = base_url, model, key_env
        self._key = os.environ.get(key_env, "").strip() if key_env else NO_KEY
        if not self._key:
            raise ValueError(
                f"the environment variable {key_env} (key_env) is empty: it holds the endpoint's key; "
                "key_env='' is for an endpoint that asks for none"
            )

    def asynchronous(self, read_s: float) -> openai.AsyncOpenAI:
        """A client for coroutines that tries once. read_s: of silence, after which a request has timed out."""
        return openai.AsyncOpenAI(
            api_key=self._key, base_url=self.base_url, max_retries=0, timeout=openai.Timeout(read_s, connect=CONNECT_S)
        )

    def plain(self, read_s: float) -> openai.OpenAI:
        """A client for the calling thread that tries once."""
        return openai.OpenAI(
            api_key=self._key, base_url=self.base_url, max_retries=0, timeout=openai.Timeout(read_s, connect=CONNECT_S)
        )

    def tell(self, text: str) -> str:
        """A text of the endpoint without the key, which some repeat in their errors."""
        return text if self._key == NO_KEY else text.replace(self._key, "***")

    def stop(self, fault: _faults.Fault) -> WriterError:
        """Why the run cannot go on after this fault."""
        detail = self.tell(fault.detail)
        if fault.wait_s is not None:
            return WriterError(
                f"the endpoint {self.base_url} asks to wait {fault.wait_s:,.0f} s, longer than patience_s: {detail}. "
                "Start the same command again then"
            )
        key = f"from the environment variable {self.key_env}" if self.key_env else "none was sent; see key_env"
        if fault.reason == "unreachable":
            return WriterError(
                f"the endpoint {self.base_url} cannot be reached: {detail}. Nothing is lost: the same "
                "command goes on once it is up"
            )
        template = _faults.STOPS.get(fault.status, "the account at {url} has no credit left: {detail}")
        return WriterError(template.format(url=self.base_url, key=key, model=self.model, detail=detail))

    def __repr__(self) -> str:
        return f"Access({self.base_url!r}, {self.model!r}, key_env={self.key_env!r})"

    def __getstate__(self) -> object:
        raise TypeError("an endpoint's key is not to be pickled: make the writer where it is used")
