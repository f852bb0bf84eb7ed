"""Pairs of question and program scored a second, beside transformers, in one run, on the same model and texts.

    python bench/score.py --model=Qwen2.5-Coder-0.5B-Instruct --data=HumanEval.jsonl.gz \\
        --transformers=$(bash bench/make_peer_env.sh transformers)

distinct  each of 128 questions of HumanEval with its program
best_of   8 questions with the same 16 programs each, as best-of-N and RL have them: here a question is read once
The reward model is the decoder of --model with a random head, written to a temporary directory (its size in bfloat16).
Each contestant is a process of its own that waits while the others run; rounds alternate after a warm-up, and medians
are taken. The peer is tried with batches of as many texts as --batches names, and its better one counts. Scores of both
are compared.
Roofline: 2 FLOPs for each parameter of the layers and token read, over the measured rate of a large product. The last
line is JSON.
"""

import argparse
import gzip
import json
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE / "score_peers"
sys.path.insert(0, str(HERE.parent))

import contest  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from acecoder_jax import prompts, tokenizer  # noqa: E402
from acecoder_jax.models import huggingface  # noqa: E402
from acecoder_jax.models.reward_head import RewardModel  # noqa: E402
from acecoder_jax.reward_models import checkpoint, texts  # noqa: E402

Pairs = list[tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a directory with the weights of a decoder")
    parser.add_argument("--data", required=True, help="HumanEval.jsonl.gz")
    parser.add_argument("--transformers", required=True, help="a Python that has torch and transformers")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default="8,32", help="texts of a batch of the peer")
    parser.add_argument("--knobs", default="{}", help="knobs of our RewardModel as JSON")
    options = parser.parse_args()
    asked = cases(options.data)
    with tempfile.TemporaryDirectory() as folder:
        words = make_model(options.model, folder)
        ours = contest.Contestant(sys.executable, PEERS / "ours.py", folder, options.dtype, options.knobs)
        peers = {
            f"transformers_{rows}": contest.Contestant(
                options.transformers, PEERS / "transformers_peer.py", folder, options.dtype, rows
            )
            for rows in options.batches.split(",")
        }
        row: dict = {"about": {"ours": ours.about, "dtype": options.dtype} | next(iter(peers.values())).about}
        for name, pairs in asked.items():
            row[name] = compete({"ours": ours} | peers, pairs, options.rounds)
            row[name] |= roofline(ours.about, row[name], words, pairs)
            print(name, json.dumps(row[name]))
        row["peak_gib"] = {name: round(one.peak_gib, 2) for name, one in ({"ours": ours} | peers).items()}
        for one in (ours, *peers.values()):
            one.close()
    print(json.dumps(row))


def cases(data: str) -> dict[str, Pairs]:
    """The pairs of each case."""
    with gzip.open(data, "rt") as file:
        tasks = [json.loads(line) for line in file]
    programs = [prompts.program_reply(task["prompt"] + task["canonical_solution"]) for task in tasks]
    questions = [prompts.program_request(task["prompt"], ()) for task in tasks]
    return {
        "distinct": list(zip(questions[:128], programs[:128], strict=True)),
        "best_of": [(question, program) for question in questions[:8] for program in programs[100:116]],
    }


def make_model(source: str, folder: str) -> object:
    """Writes a reward model, and gives its tokenizer."""
    config, params = huggingface.load_params(source, dtype=jnp.bfloat16)
    words = tokenizer.load(source)
    model = RewardModel.make(config)
    checkpoint.save(model.with_head(params, jax.random.key(0)), model.model.config, folder, tokenizer=words)
    return words


def compete(who: dict[str, contest.Contestant], pairs: Pairs, rounds: int) -> dict:
    """Medians of pairs a second over rounds in which the contestants take turns, and how far the scores are apart."""
    speeds: dict[str, list[float]] = {name: [] for name in who}
    scores: dict[str, np.ndarray] = {}
    for name, one in who.items():
        one.ask(pairs=pairs if name == "ours" else pairs[:4])  # everything is compiled; where nothing is, a few will do
    for _ in range(rounds):
        for name, one in who.items():
            answer = one.ask(pairs=pairs)
            speeds[name].append(len(pairs) / answer["seconds"])
            scores[name] = np.array(answer["scores"])
    found = {name: statistics.median(values) for name, values in speeds.items()}
    best = max((name for name in found if name != "ours"), key=lambda name: found[name])
    apart = scores["ours"] - scores[best]
    return {f"{name}_pairs_s": round(speed, 2) for name, speed in found.items()} | {
        "times": round(found["ours"] / found[best], 2),
        "score_std": round(float(np.std(scores[best])), 3),
        "largest_difference": round(float(np.abs(apart).max()), 4),
        "correlation": round(float(np.corrcoef(scores["ours"], scores[best])[0, 1]), 5),
    }


def roofline(about: dict, found: dict, words: object, pairs: Pairs) -> dict:
    """Pairs a second at the measured rate of a large product, each question read with each program."""
    tokens = [len(one.tokens) for pair in pairs if (one := texts.encode(words, *pair)) is not None]
    roof = about["flops"] / (2 * about["layer_params"] * statistics.mean(tokens))
    share = round(found["ours_pairs_s"] / roof, 3)
    return {"tokens_a_pair": round(statistics.mean(tokens)), "roofline_pairs_s": round(roof, 2), "of_roofline": share}


if __name__ == "__main__":
    main()
