"""How an answer ends: an end token, a stop string that may span tokens, or its length."""

from typing import Any

from acecoder_jax.tokenizer import END_OF_TEXT, TURN_END


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer: the tokenizer's own, end of turn (base models name another), end of text."""
    ends = {tokenizer.eos_token_id, *(tokenizer.convert_tokens_to_ids(token) for token in (TURN_END, END_OF_TEXT))}
    return tuple(sorted(token for token in ends if token is not None))


def cut(
    tokenizer: Any, tokens: list[int], stops: tuple[str, ...], ends: tuple[int, ...], active: bool
) -> tuple[int, str, str] | None:
    """How many of `tokens` belong to the answer, its text, and why it ended; None while it goes on.

    active: the slot has neither written an end token nor reached its length. The text ends before a stop string, the
    tokens with the one that completes it.
    """
    if active and not stops:
        return None
    ended = tokens[-1] in ends
    text = tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=False)
    if _first(text, stops) is not None:
        count = _tokens_until(tokenizer, tokens, stops)
        # looked for again: a string that begins earlier but was complete later has not ended the answer
        text = tokenizer.decode(tokens[:count], skip_special_tokens=False)
        return count, text[: _first(text, stops)], "stop"
    return None if active else (len(tokens), text, "stop" if ended else "length")


def _first(text: str, stops: tuple[str, ...]) -> int | None:
    """Where the earliest stop string begins; None without one."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found) if found else None


def _tokens_until(tokenizer: Any, tokens: list[int], stops: tuple[str, ...]) -> int:
    """The smallest number of tokens whose text holds a stop string."""
    low, high = 1, len(tokens)
    while low < high:
        middle = (low + high) // 2
        text = tokenizer.decode(tokens[:middle], skip_special_tokens=False)
        low, high = (low, middle) if _first(text, stops) is not None else (middle + 1, high)
    return low
