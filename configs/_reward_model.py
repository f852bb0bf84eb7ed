"""How a reward model scores: what configs/best_of_n.py and configs/score.py:rm share."""

from typing import Any

# The arguments of acecoder_jax.RewardModel.load.
REWARD: dict[str, Any] = {
    "dtype": "bfloat16",
    "mesh": {"data": 1, "fsdp": -1, "context": 1, "tensor": 1},  # over the devices of the process
    "rows": 0,  # of a micro-batch, 0: one for each shard of the mesh; texts are packed into rows of up to row_tokens
    "row_tokens": 4096,
    "attention": "auto",  # or a name of acecoder_jax/models/attention
    # The score is read at the chat template's "last" token or at the "end_of_turn"; "auto": as the model was trained.
    "read": "auto",
    "max_tokens": 2048,  # of question and program together
    "over": "truncate",  # what is longer loses the beginning of its question; or "drop": it has no score
}
