"""What the engine is asked for: one sample by its name, the engine's own numbers, and whether the two fit."""

import dataclasses

from acecoder_jax.sampling.draw import SamplingParams

Tokens = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Request:
    """One sample to draw. Its name (problem, sample, rollout, turn) decides its noise."""

    problem_id: str
    prompt_tokens: Tokens
    sampling: SamplingParams = dataclasses.field(default_factory=SamplingParams)
    sample: int = 0
    rollout: int = 0
    turn: int = 0

    def __str__(self) -> str:
        return f"request {self.problem_id!r} sample {self.sample}"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The engine's numbers: see Engine. shards: the parts of the slots, rows and pages that this process schedules."""

    seed: int
    slots: int
    max_prompt_tokens: int
    max_new_tokens: int
    chunk: int
    prefill_rows: int
    prefill_width: int
    prefill_calls: int
    page: int
    shard_pages: int
    shards: int

    @property
    def row_pages(self) -> int:
        """The pages of the longest prompt with the longest answer."""
        return self.pages_of(self.max_prompt_tokens - 1 + self.max_new_tokens)

    def pages_of(self, tokens: int) -> int:
        """The pages that so many tokens fill, the last one perhaps in part."""
        return -(-tokens // self.page)


def check(request: Request, layout: Layout, vocab_size: int) -> None:
    """Raises ValueError for a request that the engine cannot meet."""
    n = len(request.prompt_tokens)
    numbers = (request.sample, request.rollout, request.turn, *request.prompt_tokens)
    if not isinstance(request.prompt_tokens, tuple) or not all(type(number) is int for number in numbers):
        raise ValueError(f"{request}: prompt_tokens must be a tuple of int, and sample, rollout and turn must be int")
    if not isinstance(request.problem_id, str):
        raise ValueError(f"{request}: problem_id must be a string")
    if n == 0:
        raise ValueError(f"{request}: the prompt is empty")
    if n > layout.max_prompt_tokens:
        raise ValueError(
            f"{request}: the prompt has {n} tokens, the limit max_prompt_tokens is {layout.max_prompt_tokens}"
        )
    if request.sampling.max_new_tokens > layout.max_new_tokens:
        raise ValueError(
            f"{request}: asks for {request.sampling.max_new_tokens} new tokens, the engine was made for at most "
            f"{layout.max_new_tokens}"
        )
    if not 0 <= min(request.prompt_tokens) <= max(request.prompt_tokens) < vocab_size:
        raise ValueError(f"{request}: the prompt has token ids outside the vocabulary of {vocab_size}")
