"""transformers and torch as TRL's trainers use them, as bench/train.py asks for it.

float32 weights, autocast to bfloat16, gradient checkpointing, padded micro-batches; logits from the shortest prompt's
end on only (logits_to_keep). Needs torch and transformers.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contest
import torch
import transformers

adam = json.loads(sys.argv[2])
torch.set_num_threads(len(os.sched_getaffinity(0)))
model: Any = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
model.config.use_cache = False
model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
model.train()
optimizer = torch.optim.AdamW(
    model.parameters(), lr=adam["learning_rate"], betas=(adam["beta1"], adam["beta2"]), eps=1e-8,
    weight_decay=adam["weight_decay"], fused=True,
)  # fmt: skip
CLIP = 0.2


def step(batches: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """One optimiser step over micro-batches of sequences: tokens, prompt (its length), old_logp, advantage."""
    total = sum(len(one["old_logp"]) for batch in batches for one in batch)
    sums = torch.zeros(2)
    for batch in batches:
        loss, ratio = surrogate(batch)
        (loss / total).backward()
        sums += torch.stack([loss.detach(), ratio]) / total
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), adam["clip_norm"])
    optimizer.step()
    optimizer.zero_grad()
    computed = sum(len(batch) * max(len(one["tokens"]) for one in batch) for batch in batches)
    return {"loss": float(sums[0]), "ratio_mean": float(sums[1]), "grad_norm": float(norm), "computed": computed}


def surrogate(batch: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over response tokens: minus the clipped surrogate, and the ratio."""
    width, shortest = max(len(one["tokens"]) for one in batch), min(one["prompt"] for one in batch)
    shape = (len(batch), width)
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    old, advantage, weight = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
    for row, one in enumerate(batch):
        n, response = len(one["tokens"]), slice(one["prompt"], len(one["tokens"]))
        ids[row, :n], mask[row, :n] = torch.tensor(one["tokens"]), 1
        old[row, response], advantage[row, response] = torch.tensor(one["old_logp"]), one["advantage"]
        weight[row, response] = 1
    kept = slice(shortest, width)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(input_ids=ids, attention_mask=mask, logits_to_keep=width - shortest + 1)
    logits = out.logits[:, :-1].float()
    chosen = logits.gather(-1, ids[:, kept, None])[..., 0] - logits.logsumexp(-1)
    weight = weight[:, kept]
    ratio = torch.exp(torch.where(weight > 0, chosen - old[:, kept], 0.0))
    gain = torch.minimum(ratio * advantage[:, kept], ratio.clamp(1 - CLIP, 1 + CLIP) * advantage[:, kept])
    return -(weight * gain).sum(), (weight * ratio).sum().detach()


contest.serve(
    step, {"torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads()}
)
