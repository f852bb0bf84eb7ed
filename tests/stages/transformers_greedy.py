"""Greedy continuations by `transformers`, for tests marked `real`. Needs torch, and is run by a Python with it.

    python transformers_greedy.py ASKED.json WRITTEN.json

ASKED.json: {"model": DIR, "dtype": "float32", "prompts": [[token, ...], ...], "max_new_tokens": 256, "batch": 20}.
WRITTEN.json: the new tokens of each prompt, the end token included. Prompts go in batches sorted by length, padded on
the left.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def main(asked_path: str, written_path: str) -> None:
    asked = json.loads(Path(asked_path).read_text())
    model = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=getattr(torch, asked["dtype"]))
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    prompts = asked["prompts"]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    written: list[list[int]] = [[] for _ in prompts]
    for first in range(0, len(order), asked["batch"]):
        places = order[first : first + asked["batch"]]
        width = max(len(prompts[place]) for place in places)
        pads = [width - len(prompts[place]) for place in places]
        tokens = torch.tensor([[ends[0]] * pad + prompts[place] for pad, place in zip(pads, places, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
        with torch.inference_mode():
            out = model.generate(
                input_ids=tokens, attention_mask=mask, max_new_tokens=asked["max_new_tokens"], do_sample=False,
                repetition_penalty=1.0, temperature=None, top_p=None, top_k=None, pad_token_id=ends[0],
            )  # fmt: skip
        for place, row in zip(places, out[:, width:].tolist(), strict=True):
            end = next((at for at, token in enumerate(row) if token in ends), len(row) - 1)
            written[place] = row[: end + 1]
        print(f"{min(first + asked['batch'], len(order))} of {len(order)} prompts", flush=True)
    Path(written_path).write_text(json.dumps(written))


if __name__ == "__main__":
    main(*sys.argv[1:])
