"""What an endpoint has said in answer to one attempt, gathered as it comes: a lost connection leaves what has come."""

import dataclasses
from typing import Any

from acecoder_jax.writers._faults import BadReply

ENDS = {"stop": "stop", "length": "length", "content_filter": "content_filter"}


@dataclasses.dataclass
class Heard:
    """text, finish ("" until the endpoint says one), and the tokens, where it tells them.

    begun: what the request has begun the reply with, for the model to go on from. ends: the strings that end the text.
    """

    text: str = ""
    finish: str = ""
    usage: tuple[int, int] | None = None
    begun: str = ""
    ends: tuple[str, ...] = ()

    def whole(self, completion: Any) -> None:
        """Takes in a reply that came in one piece. BadReply where it is no completion."""
        choice = _choice(completion)
        if isinstance(getattr(choice, "text", None), str):  # of the completions API
            self.text, self.finish = choice.text, _end(choice) or "stop"
            self._usage(completion)
            return
        message = getattr(choice, "message", None)
        content = getattr(message, "content", None)
        refused = content is None and bool(getattr(message, "refusal", None))
        if not isinstance(content, str) and not refused:
            raise BadReply(f"a reply without a text: {content!r:.200}")
        self.text = content or ""
        self.finish = "content_filter" if refused else _end(choice) or "stop"
        self._usage(completion)

    def piece(self, chunk: Any) -> None:
        """Takes in a piece of a stream."""
        if getattr(chunk, "choices", None):
            choice = _choice(chunk)
            content = getattr(getattr(choice, "delta", None), "content", None) or getattr(choice, "text", None)
            if isinstance(content, str):
                self.text += content
            self.finish = _end(choice) or self.finish
        elif getattr(chunk, "choices", None) is None:
            raise BadReply(f"a piece of a stream that is none: {chunk!r:.200}")
        self._usage(chunk)

    def check_end(self) -> None:
        """BadReply where a stream has ended without saying why."""
        if not self.finish:
            raise BadReply("the stream ended in the middle of the reply")

    def cut(self) -> bool:
        """Ends the text before the first of `ends`, where there is one: not every endpoint looks for all of them."""
        places = [place for stop in self.ends if (place := self.text.find(stop)) >= 0]
        if places:
            self.text, self.finish = self.text[: min(places)], "stop"
        return bool(places)

    def _usage(self, of: Any) -> None:
        usage = getattr(of, "usage", None)
        numbers = (getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None))
        if all(isinstance(number, int) and number >= 0 for number in numbers):
            self.usage = (int(numbers[0] or 0), int(numbers[1] or 0))


def _end(choice: Any) -> str:
    """Why the text ends; "" where the endpoint does not say."""
    told = getattr(choice, "finish_reason", None)
    return ENDS.get(str(told), "stop") if told else ""


def _choice(completion: Any) -> Any:
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise BadReply(f"no choices in the reply: {completion!r:.200}")
    return choices[0]
