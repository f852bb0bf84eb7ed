"""google-tunix's Sampler in bfloat16, as bench/decode.py asks for it. Needs google-tunix and transformers."""

import importlib.metadata
import sys

import jax
import jax.numpy as jnp
import transformers
from _serve import serve, until
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.qwen2 import model as qwen2
from tunix.models.qwen2 import params

config = qwen2.ModelConfig.qwen2p5_coder_0p5b()
config.dtype = config.param_dtype = jnp.bfloat16
mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
with jax.set_mesh(mesh):
    model = params.create_model_from_safe_tensors(sys.argv[1], config, mesh, dtype=jnp.bfloat16)
words = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
ENDS = (words.eos_token_id, words.pad_token_id)
PROMPT_TOKENS = int(sys.argv[2])
NEVER = [151935]  # a padding row of the vocabulary: no token of the tokenizer


def generate(prompts: list[list[int]], max_new_tokens: int, end: bool, rows: int) -> list[list[int]]:
    """Batches of `rows` prompts; `end`: stop at the end token, else all write max_new_tokens."""
    cache = CacheConfig(PROMPT_TOKENS + max_new_tokens, config.num_layers, config.num_kv_heads, config.head_dim)
    sampler = samplers.setdefault(max_new_tokens, Sampler(model, words, cache))
    out = []
    for at in range(0, len(prompts), rows):
        texts = [words.decode(prompt) for prompt in prompts[at : at + rows]]
        texts += texts[:1] * (rows - len(texts))  # one shape, one compilation
        with jax.set_mesh(mesh):
            result = sampler(
                texts, max_new_tokens, PROMPT_TOKENS, temperature=1.0, top_p=1.0, seed=at,
                eos_tokens=list(ENDS) if end else NEVER,
            )  # fmt: skip
        written = [jax.device_get(row).tolist() for row in result.tokens][: len(prompts) - at]
        out += [until(row, ENDS) if end else row for row in written]
    return out


samplers: dict[int, Sampler] = {}
serve(generate, {"tunix": importlib.metadata.version("google-tunix"), "jax": jax.__version__})
