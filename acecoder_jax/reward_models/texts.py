"""What a reward model reads: [user: question, assistant: program] through the chat template; where its score is.

AceCodeRM's model card reads the template's last token, the newline after the end-of-turn token; the RL fork read the
end-of-turn token itself. Training and scoring must read the same one.
"""

import dataclasses
from collections.abc import MutableMapping
from typing import Any

import numpy as np

from acecoder_jax import prompts

READS = ("last", "end_of_turn")
OVERS = ("truncate", "drop")


@dataclasses.dataclass(frozen=True)
class Encoded:
    """tokens: [n] of int32, whose last one the score is read at. prompt: how many of them come before the program, with
    which the texts of one question begin alike. truncated: the question lost its beginning.
    """

    tokens: np.ndarray
    prompt: int
    truncated: bool


def check(read: str, over: str) -> None:
    """ValueError for a name that is none of READS or OVERS."""
    for name, value, known in (("read", read, READS), ("over", over, OVERS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}: it is one of {', '.join(known)}")


def encode(
    words: Any, question: str, program: str, *, read: str = "last", max_tokens: int = 2048, over: str = "truncate",
    prompts_of: MutableMapping[str, list[int]] | None = None,
) -> Encoded | None:  # fmt: skip
    """The tokens of a question with a program, at most max_tokens of them. words: the reward model's tokenizer.

    program: the assistant's whole turn, taken as it is (AceCoder's pairs have it in a ```python block).
    over: what becomes of a longer text: "truncate" cuts the beginning of the question, never the program; "drop" leaves
    the text out, as happens in any case where the program alone does not fit. None: left out.
    prompts_of: tokens of questions, which this adds to, so that one dict for several programs renders a question once.
    ValueError for an empty question or program, and what `check` raises.
    """
    check(read, over)
    for name, text in (("question", question), ("program", program)):
        if not text.strip():
            raise ValueError(f"the {name} is empty: there is nothing to score")
    known = {} if prompts_of is None else prompts_of
    whole = _render(words, question, program, read, known)
    if len(whole.tokens) <= max_tokens:
        return whole
    if over == "drop":
        return None
    asked = words.encode(question, add_special_tokens=False)
    keep = len(asked) - (len(whole.tokens) - max_tokens)
    while keep > 0:
        cut = _render(words, words.decode(asked[-keep:]), program, read, known)
        if len(cut.tokens) <= max_tokens:
            return dataclasses.replace(cut, truncated=True)
        keep -= len(cut.tokens) - max_tokens  # a cut text may be split into more tokens than it had
    return None


def _render(words: Any, question: str, program: str, read: str, known: MutableMapping[str, list[int]]) -> Encoded:
    turns = prompts.chat(prompts.encodable(question))
    if question not in known:
        known[question] = prompts.render_chat(words, turns, add_generation_prompt=True)
    prompt = known[question]
    turns.append({"role": "assistant", "content": prompts.encodable(program)})
    tokens = prompts.render_chat(words, turns, add_generation_prompt=False)
    alike = len(prompt) if tokens[: len(prompt)] == prompt else 1  # a template may put a whole chat otherwise
    if read == "end_of_turn":
        if words.eos_token_id not in tokens:
            raise ValueError("read is 'end_of_turn', but the chat template ends no turn with the tokenizer's EOS token")
        tokens = tokens[: len(tokens) - tokens[::-1].index(words.eos_token_id)]
    return Encoded(np.array(tokens, np.int32), alike, False)
