"""A checkpoint, through the decoding engine of this process.

The engine takes requests while it decodes, so those of a long source need not be at hand at once. A text is a function
of the seed, the request's key and its seed, whatever else is under way. Replies cannot be held to a JSON schema; a
prefix is put before what the model writes. A request without messages is the tokens of its prefix alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp

from acecoder_jax import parallel, prompts, tokenizer
from acecoder_jax.models import huggingface, sharding
from acecoder_jax.models.decoder import Model
from acecoder_jax.sampling import engine as engines
from acecoder_jax.sampling.draw import SamplingParams
from acecoder_jax.sampling.scheduler import Decoding, failed
from acecoder_jax.types import Completion
from acecoder_jax.writers import Reply, Request

AHEAD = 2  # requests that the engine has at a time, for each of its slots: enough to read prompts while others decode


class Local:
    """A Writer. model: a Hugging Face directory or hub id.

    max_prompt_tokens, max_new_tokens: a request with a longer prompt, or that asks for more, is a bad_request.
    decode_mesh: axes of parallel.local_mesh; None is the first device. engine: the other arguments of Engine.
    """

    def __init__(
        self,
        *,
        model: str,
        max_prompt_tokens: int = 2048,
        max_new_tokens: int = 2048,
        seed: int = 0,
        dtype: str = "bfloat16",
        decode_mesh: Mapping[str, int] | None = None,
        engine: Mapping[str, Any] | None = None,
    ):
        if not model:
            raise ValueError("model is empty: name a Hugging Face directory or hub id")
        self.model = Path(model).name if Path(model).is_dir() else model  # rows tell nobody where a folder lies
        config, kind = huggingface.load_config(model), jnp.dtype(dtype)
        words = tokenizer.load(model)
        mesh = parallel.local_mesh(**decode_mesh) if decode_mesh else None
        self._engine = engines.Engine(
            config, words, seed=seed, dtype=kind, mesh=mesh, max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens, **({"slots": 32} | dict(engine or {})),
        )  # fmt: skip
        shardings = sharding.param_shardings(Model(config).abstract_params, self._engine.mesh)
        with jax.set_mesh(self._engine.mesh):
            self._engine.update(huggingface.load_params(model, shardings=shardings, dtype=kind)[1])

    def write(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """See Writer. Twice as many requests as the engine has slots are taken before the first reply."""
        source = iter(requests)
        under_way: dict[str, Request] = {}
        refused: list[Reply] = []
        with self._engine.start("write") as decoding:
            self._add(decoding, source, under_way, refused)
            for completion in decoding:
                yield from refused
                refused.clear()
                yield to_reply(under_way.pop(completion.problem_id), completion)
                self._add(decoding, source, under_way, refused)
        yield from refused

    def close(self) -> None:
        """Gives the weights and the cache back."""
        del self._engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _add(
        self, decoding: Decoding, source: Iterator[Request], under_way: dict[str, Request], refused: list[Reply]
    ) -> None:
        """Hands the engine as many requests as it should have; closes it after the last one."""
        while len(under_way) < AHEAD * self._engine.layout.slots:
            request = next(source, None)
            if request is None:
                decoding.close()
                return
            if request.key in under_way:
                raise ValueError(f"two requests under way have the key {request.key!r}")
            asked = to_engine(self._engine.tokenizer, request)
            try:
                decoding.add(asked)
                under_way[request.key] = request
            except ValueError as error:
                refused.append(to_reply(request, failed(asked, str(error))))


def to_engine(words: Any, request: Request) -> engines.Request:
    """A request as the engine takes it, in the tokens of `words`; its key is the problem, its seed the sample."""
    chat = [dict(message) for message in request.messages]
    prompt = prompts.render_chat(words, chat, add_generation_prompt=True) if chat else []
    # A bare text is read as the model's own pieces of text were: with a token before it where it had one.
    prompt += words.encode(request.prefix, add_special_tokens=not chat)
    sampling = SamplingParams(
        temperature=request.temperature, top_p=request.top_p, max_new_tokens=request.max_tokens, stop=request.stop
    )
    return engines.Request(request.key, tuple(prompt), sampling, sample=request.seed or 0)


def to_reply(request: Request, completion: Completion) -> Reply:
    """What the engine gave for a request."""
    prompt, written = len(completion.prompt_tokens), len(completion.tokens)
    if completion.error:
        return Reply(request.key, error="bad_request", detail=completion.error)
    return Reply(request.key, request.prefix + completion.text, completion.finish_reason, prompt, written)


make = Local
