"""Records scores of small random reward models by torch: `python tests/golden/make_reward.py`.

Needs torch (2.13.0) and transformers (5.23). The published model restated: the final hidden states of a Qwen2 decoder
(after its norm), dropout that is off, a linear layer of one output, read at the last token. Each
tests/golden/reward_<layout>.npz holds the config.json, the weights in the layout's names (as the upper 16 bits of
float32), texts of unequal lengths and their scores, from one right-padded batch.
"""

import json
import pathlib

import make_golden
import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2ForSequenceClassification

HERE = pathlib.Path(__file__).parent
LENGTHS = (23, 7, 1, 40, 12)


class ValueHead(torch.nn.Module):
    """What AceCodeRM has beside its decoder, by the names of its checkpoint."""

    def __init__(self, hidden: int):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.1)
        self.summary = torch.nn.Linear(hidden, 1)

    def forward(self, hidden_btd: torch.Tensor) -> torch.Tensor:
        return self.summary(self.dropout(hidden_btd))[..., 0]


class Published(Qwen2ForCausalLM):
    """AceCodeRM."""

    def __init__(self, config: Qwen2Config):
        super().__init__(config)
        self.v_head = ValueHead(config.hidden_size)

    def scores(self, tokens_bt: torch.Tensor, lengths_b: list[int]) -> np.ndarray:
        mask_bt = torch.arange(tokens_bt.shape[1])[None] < torch.tensor(lengths_b)[:, None]
        with torch.no_grad():
            hidden_btd = self.model(tokens_bt, attention_mask=mask_bt.long()).last_hidden_state
            score_bt = self.v_head(hidden_btd)
        return score_bt[torch.arange(len(lengths_b)), torch.tensor(lengths_b) - 1].numpy()


def random_model(case: dict, seed: int) -> Published:
    """Every parameter drawn at random, in bfloat16 steps; in float32."""
    base = make_golden.random_model(make_golden.COMMON | case, seed)
    model = Published(base.config)
    model.config._attn_implementation = "eager"
    model.load_state_dict(base.state_dict(), strict=False)
    with torch.no_grad():
        for parameter in model.v_head.parameters():
            parameter.copy_(torch.randn_like(parameter).bfloat16().float())
    return model.eval()


def texts(model: Published, rng: np.random.Generator) -> np.ndarray:
    """[texts, time] of tokens; what stands after a text's length is junk, as padding may be."""
    return rng.integers(0, model.config.vocab_size, (len(LENGTHS), max(LENGTHS)))


def record(layout: str, case: dict, seed: int) -> None:
    model = random_model(case, seed)
    if layout != "acecoderm":
        torch.nn.init.zeros_(model.v_head.summary.bias)
    tokens_bt = texts(model, np.random.default_rng(seed))
    score_b = model.scores(torch.tensor(tokens_bt), list(LENGTHS))
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    config = json.loads(model.config.to_json_string())
    if layout == "acecoderm":
        if not model.config.tie_word_embeddings:
            weights["lm_head.weight"] = model.lm_head.weight
        config["architectures"] = ["Qwen2ForCausalLM"]
    else:
        weight = weights.pop("v_head.summary.weight")
        del weights["v_head.summary.bias"]
        weights[layout] = weight
        config["architectures"] = ["RewardModel"]
    if layout == "score.weight":  # transformers' own class of one label gives the same
        config |= {"architectures": ["Qwen2ForSequenceClassification"], "num_labels": 1}
        other = Qwen2ForSequenceClassification(Qwen2Config(**(config | {"pad_token_id": 0}))).eval()
        other.load_state_dict(weights)
        for row, length, score in zip(tokens_bt, LENGTHS, score_b, strict=True):
            with torch.no_grad():
                np.testing.assert_allclose(other(torch.tensor(row[None, :length])).logits[0, 0], score, atol=1e-4)
    arrays = {f"weights/{name}": (tensor.detach().numpy().view(np.uint32) >> 16).astype(np.uint16)
              for name, tensor in weights.items()}  # fmt: skip
    arrays |= {"config": np.array(json.dumps(config)), "tokens_bt": tokens_bt.astype(np.int16)}
    arrays |= {"lengths_b": np.array(LENGTHS), "score_b": score_b}
    file = HERE / f"reward_{layout.split('.')[0]}.npz"
    np.savez_compressed(file, **arrays)
    print(layout, f"{file.stat().st_size:,} bytes, scores", score_b)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = make_golden.CASES
    record("acecoderm", cases["untied_gqa2"], 11)
    record("score.weight", cases["tied_gqa7"], 12)
    record("value_head.weight", cases["window_gqa4"], 13)
