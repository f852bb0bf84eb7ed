"""google-tunix's PeftTrainer over its Qwen2, all parameters trained, as bench/train.py asks for it.

float32 weights, bfloat16 computation, each decoder layer rematerialised, padded micro-batches, each of them a step of
the optimiser: its gradient accumulation (optax.MultiSteps) wants more than 24 GB. Widths go up to a multiple of 64, or
every micro-batch would be compiled anew.
Needs google-tunix and transformers.
"""

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contest
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tunix.models.qwen2 import model as qwen2
from tunix.models.qwen2 import params
from tunix.rl.common import selective_log_softmax
from tunix.sft import utils
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

MULTIPLE, CLIP = 64, 0.2
adam = json.loads(sys.argv[2])
told = json.loads((Path(sys.argv[1]) / "config.json").read_text())
config = qwen2.ModelConfig(
    num_layers=told["num_hidden_layers"], vocab_size=told["vocab_size"], embed_dim=told["hidden_size"],
    hidden_dim=told["intermediate_size"], num_heads=told["num_attention_heads"],
    head_dim=told["hidden_size"] // told["num_attention_heads"], num_kv_heads=told["num_key_value_heads"],
    rope_theta=int(told.get("rope_theta") or told["rope_parameters"]["rope_theta"]), norm_eps=told["rms_norm_eps"],
    use_tied_embedding=told["tie_word_embeddings"], remat_config=qwen2.RematConfig.DECODER, dtype=jnp.bfloat16,
    param_dtype=jnp.float32,
)  # fmt: skip
mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)


def surrogate(model: Any, ids: Any, mask: Any, old: Any, advantage: Any, weight: Any) -> tuple[Any, Any]:
    """The clipped surrogate of a micro-batch's response tokens, and the ratio. The weights carry the mean."""
    positions, attend = utils.build_positions_from_mask(mask), utils.make_causal_attn_mask(mask)
    logits, _ = model(ids, positions, None, attend)
    chosen = selective_log_softmax(logits[:, :-1], ids[:, 1:])
    advantage, weight = advantage[:, 1:], weight[:, 1:]
    ratio = jnp.exp(jnp.where(weight > 0, chosen - old[:, 1:], 0.0))
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
    return -jnp.sum(weight * gain), jnp.sum(weight * ratio)


class Trainer(PeftTrainer):
    """PeftTrainer that keeps what the loss says beside its value."""

    def _post_process_train_step(self, aux: Any) -> None:
        ratios.append(aux)


def padded(batch: list[dict[str, Any]], scale: float) -> dict[str, np.ndarray]:
    """A micro-batch, right-padded; weights of response tokens are `scale`."""
    width = -(-max(len(one["tokens"]) for one in batch) // MULTIPLE) * MULTIPLE
    shape = (len(batch), width)
    ids, mask = np.zeros(shape, np.int32), np.zeros(shape, bool)
    old, advantage, weight = (np.zeros(shape, np.float32) for _ in range(3))
    for row, one in enumerate(batch):
        n, response = len(one["tokens"]), slice(one["prompt"], len(one["tokens"]))
        ids[row, :n], mask[row, :n] = one["tokens"], True
        old[row, response], advantage[row, response], weight[row, response] = one["old_logp"], one["advantage"], scale
    return {"ids": ids, "mask": mask, "old": old, "advantage": advantage, "weight": weight}


def step(batches: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """An optimiser step for each micro-batch, on the mean over its response tokens."""
    ratios.clear()
    examples = [padded(batch, 1 / sum(len(one["old_logp"]) for one in batch)) for batch in batches]
    with mesh:
        trainer.train(examples)
    jax.block_until_ready(trainer.optimizer.opt_state)
    computed = sum(one["ids"].size for one in examples)
    return {"ratio_mean": float(np.mean(jax.device_get(ratios))), "computed": computed}


ratios: list[Any] = []
with jax.set_mesh(mesh):
    model = params.create_model_from_safe_tensors(sys.argv[1], config, mesh, dtype=jnp.float32)
optimizer = optax.chain(
    optax.clip_by_global_norm(adam["clip_norm"]),
    optax.adamw(adam["learning_rate"], b1=adam["beta1"], b2=adam["beta2"], weight_decay=adam["weight_decay"]),
)
settings = TrainingConfig(eval_every_n_steps=1 << 30)
with mesh:
    trainer = Trainer(model, optimizer, settings).with_loss_fn(surrogate, has_aux=True)
trainer.is_managed_externally = True  # its train() is called again, once a step
contest.serve(step, {"tunix": importlib.metadata.version("google-tunix"), "jax": jax.__version__})
