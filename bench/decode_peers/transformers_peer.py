"""transformers.generate in bfloat16, as bench/decode.py asks for it. Needs torch and transformers."""

import sys
from typing import Any

import torch
import transformers
from _serve import serve, until

model: Any = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
words = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
ENDS = (words.eos_token_id, words.pad_token_id)


def generate(prompts: list[list[int]], max_new_tokens: int, end: bool, rows: int) -> list[list[int]]:
    """Batches of `rows` prompts, left-padded; `end`: stop at the end token, else all write max_new_tokens."""
    out = []
    for at in range(0, len(prompts), rows):
        batch = prompts[at : at + rows]
        width = max(map(len, batch))
        ids = torch.tensor([[words.pad_token_id] * (width - len(p)) + p for p in batch])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch])
        with torch.inference_mode():
            whole = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens,
                min_new_tokens=None if end else max_new_tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                repetition_penalty=1.0, pad_token_id=words.pad_token_id,
            )  # fmt: skip
        out += [until(row, ENDS) if end else row for row in whole[:, width:].tolist()]
    return out


serve(generate, {"torch": torch.__version__, "transformers": transformers.__version__})
