"""What a reward model reads: [user: question, assistant: program] through the chat template; where its score is.

AceCodeRM's model card reads the template's last token, the newline after the end-of-turn token; the RL fork read the
end-of-turn token itself. Training and scoring must read the same one.
"""

import dataclasses
from typing import Any

import numpy as np

from acecoder_jax import prompts

READS = ("last", "end_of_turn")
OVERS = ("truncate", "drop")


@dataclasses.dataclass(frozen=True)
class Encoded:
    """tokens: [n] of int32, whose last one the score is read at. truncated: the question lost its beginning."""

    tokens: np.ndarray
    truncated: bool


def check(read: str, over: str) -> None:
    """ValueError for a name that is none of READS or OVERS."""
    for name, value, known in (("read", read, READS), ("over", over, OVERS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}: it is one of {', '.join(known)}")


def encode(
    words: Any, question: str, program: str, *, read: str = "last", max_tokens: int = 2048, over: str = "truncate"
) -> Encoded | None:
    """The tokens of a question with a program, at most max_tokens of them. words: the reward model's tokenizer.

    program: the assistant's whole turn, taken as it is (AceCoder's pairs have it in a ```python block).
    over: what becomes of a longer text: "truncate" cuts the beginning of the question, never the program; "drop" leaves
    the text out, as happens in any case where the program alone does not fit. None: left out.
    ValueError for an empty question or program, and what `check` raises.
    """
    check(read, over)
    for name, text in (("question", question), ("program", program)):
        if not text.strip():
            raise ValueError(f"the {name} is empty: there is nothing to score")
    tokens = _render(words, question, program, read)
    if len(tokens) <= max_tokens:
        return Encoded(np.array(tokens, np.int32), False)
    if over == "drop":
        return None
    asked = words.encode(question, add_special_tokens=False)
    keep = len(asked) - (len(tokens) - max_tokens)
    while keep > 0:
        tokens = _render(words, words.decode(asked[-keep:]), program, read)
        if len(tokens) <= max_tokens:
            return Encoded(np.array(tokens, np.int32), True)
        keep -= len(tokens) - max_tokens  # a cut text may be split into more tokens than it had
    return None


def _render(words: Any, question: str, program: str, read: str) -> list[int]:
    turns = prompts.chat(prompts.encodable(question))
    turns.append({"role": "assistant", "content": prompts.encodable(program)})
    tokens = prompts.render_chat(words, turns, add_generation_prompt=False)
    if read == "last":
        return tokens
    if words.eos_token_id not in tokens:
        raise ValueError("read is 'end_of_turn', but the chat template ends no turn with the tokenizer's EOS token")
    return tokens[: len(tokens) - tokens[::-1].index(words.eos_token_id)]
