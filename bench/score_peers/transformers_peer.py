"""The same scores by transformers, as bench/score.py asks for them. Needs torch, transformers and jinja2.

The decoder without an output head, on batches of texts sorted by length and padded on the right, in inference mode;
then the head, in float32, at each text's last token.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contest
import torch
import transformers
from safetensors.torch import load_file

folder, dtype, rows = sys.argv[1], getattr(torch, sys.argv[2]), int(sys.argv[3])
words: Any = transformers.AutoTokenizer.from_pretrained(folder)
decoder: Any = transformers.AutoModel.from_pretrained(folder, dtype=dtype).eval()
stored = load_file(str(Path(folder) / "model.safetensors"))
weight_d, bias = stored["v_head.summary.weight"][0].float(), stored["v_head.summary.bias"].float()
del stored


def tokens_of(question: str, program: str) -> list[int]:
    """The chat's tokens."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": program}]
    return words.apply_chat_template(turns, tokenize=True, return_dict=False)


def score(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The scores of (question, program) pairs."""
    texts = [tokens_of(*pair) for pair in pairs]
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    scores = [0.0] * len(texts)
    with torch.inference_mode():
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            lengths, width = [len(texts[i]) for i in batch], len(texts[batch[0]])
            ids = torch.tensor([texts[i] + [words.pad_token_id] * (width - len(texts[i])) for i in batch])
            mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
            hidden_btd = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            last_bd = hidden_btd[torch.arange(len(batch)), torch.tensor(lengths) - 1].float()
            for i, value in zip(batch, (last_bd @ weight_d + bias).tolist(), strict=True):
                scores[i] = value
    return {"scores": scores}


contest.serve(score, {"torch": torch.__version__, "transformers": transformers.__version__})
