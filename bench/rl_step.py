"""A whole step of reinforcement learning beside trl's GRPOTrainer: sample, score, log-probs, update.

    python bench/rl_step.py --model=Qwen2.5-Coder-0.5B-Instruct --data=mbpp.jsonl.gz \\
        --trl=$(bash bench/make_peer_env.sh trl)

16 prompts of MBPP x 8 samples of at most 256 tokens, temperature 1, KL to the reference on, one optimiser step, the
same problems in the same order, reward 1 where all tests pass. Ours is `acecoder_jax.main` with the preset
rl_rule.py:0.5b in a workdir that is thrown away (float32 weights and moments, bfloat16 products); trl trains bfloat16
weights and moments with gradient checkpointing, 4 rows a micro-batch, and scores in plain subprocesses
(--trl_dtype=float32: its default, autocast to bfloat16). One after the other. The first step compiles and is left out;
medians of the rest. Samples differ, and so do their lengths: response tokens are printed too. The last line is JSON.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

import contest  # noqa: E402

from acecoder_jax import tokenizer  # noqa: E402
from acecoder_jax.sampling import rollout as rollouts  # noqa: E402
from acecoder_jax.stages._rl_parts import load_problems  # noqa: E402
from configs import rl_rule  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a directory with the weights")
    parser.add_argument("--data", required=True, help="mbpp.jsonl.gz")
    parser.add_argument("--trl", help="a Python that has torch, trl and datasets")
    parser.add_argument("--trl_dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of trl's weights")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after the first")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--new_tokens", type=int, default=256)
    parser.add_argument("--ours", default="", help="more overrides of the preset: trainer.rows=4,remat=full")
    options = parser.parse_args()
    if options.steps < 1:
        raise SystemExit("--steps has to be at least 1: the first step is not timed")
    preset = "0.5b," + ",".join(overrides(options) + ([options.ours] if options.ours else []))
    row: dict[str, Any] = {"ours": ours(preset, options.steps)}
    if options.trl:
        row["trl"] = theirs(options, rl_rule.get_config(preset))
        row["times_trl"] = round(row["trl"]["step_s"] / row["ours"]["step_s"], 2)
        row["times_trl_tok_s"] = round(row["ours"]["tok_s"] / row["trl"]["tok_s"], 2)
        row["memory_over_trl"] = round(row["ours"]["peak_gib"] / row["trl"]["peak_gib"], 2)
    for name in ("ours", "trl"):
        if name in row:
            print(name, json.dumps(row[name]))
    if options.trl:
        print(f"a step: {row['times_trl']} x trl (goal 2, better 3); a token: {row['times_trl_tok_s']} x")
    print(json.dumps(row))


def overrides(options: argparse.Namespace) -> list[str]:
    """The preset as this bench runs it: one update a rollout, a constant rate, no checkpoint in the way."""
    samples = rl_rule.get_config("0.5b").samples_per_prompt
    return [
        f"model={options.model}", f"data_path={options.data}", f"prompts_per_rollout={options.prompts}",
        f"minibatch={options.prompts * samples}", f"rollouts={options.steps + 1}",
        f"max_new_tokens={options.new_tokens}", "optimizer.warmup_ratio=0.0", "optimizer.final_ratio=1.0",
        "checkpoint.every=1000000",
    ]  # fmt: skip


def ours(preset: str, steps: int) -> dict[str, Any]:
    """A run of the stage, and what its metrics say of the steps after the first."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "acecoder_jax.main"]
        command += [f"--config={HERE.parent / 'configs' / 'rl_rule.py'}:{preset}", f"--workdir={folder}"]
        subprocess.run(command, cwd=HERE.parent, stdout=sys.stderr, check=True)
        rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    config = rl_rule.get_config(preset)
    samples = config.prompts_per_rollout * config.samples_per_prompt
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    tokens = [row["response_tokens_mean"] * samples for row in rows]
    found = summary([row["step_s"] for row in rows], tokens, [row["reward_mean"] for row in rows], peak)
    phases = [name for name in rows[0] if name.endswith("_s") and "_per_" not in name and name != "step_s"]
    found |= {name: round(statistics.median(row[name] for row in rows[1:]), 2) for name in phases}
    if len(rows) != steps + 1:
        raise SystemExit(f"the run wrote {len(rows)} steps, not {steps + 1}: see its output above")
    return found


def theirs(options: argparse.Namespace, config: Any) -> dict[str, Any]:
    """trl's trainer on the problems of our rollouts, in their order."""
    problems, _ = load_problems(config, tokenizer.load(config.model))
    chosen = [
        {"prompt": [{"role": "user", "content": one.question}], "tests": list(one.tests), "setup": one.setup}
        for rollout in range(options.steps + 1)
        for one in rollouts.problems_at(problems, options.prompts, config.seed, rollout)
    ]
    peer = contest.Contestant(options.trl, HERE / "rl_peers" / "trl_peer.py", options.model, options.trl_dtype)
    adam = config.optimizer.to_dict() | {"kl_coef": config.algorithm_args.kl_coef}
    got = peer.ask(
        problems=chosen, steps=options.steps + 1, prompts=options.prompts, samples=config.samples_per_prompt,
        new=options.new_tokens, adam=adam,
    )  # fmt: skip
    peer.close()
    found = summary(got["step_s"], got["tokens"], got["rewards"], peer.peak_gib)
    return found | {"scoring_s": round(statistics.median(got["scoring_s"][1:]), 2), "about": peer.about}


def summary(step_s: list[float], tokens: list[float], rewards: list[float], peak_gib: float) -> dict[str, Any]:
    """Medians over the steps after the first; rates of single steps, as each has its own lengths."""
    rates = [n / seconds for n, seconds in zip(tokens[1:], step_s[1:], strict=True)]
    return {
        "step_s": round(statistics.median(step_s[1:]), 2),
        "steps_s": [round(seconds, 2) for seconds in step_s],
        "response_tokens": [round(n) for n in tokens],
        "tok_s": round(statistics.median(rates), 1),
        "reward": [round(value, 3) for value in rewards],
        "peak_gib": round(peak_gib, 2),
    }


if __name__ == "__main__":
    main()
