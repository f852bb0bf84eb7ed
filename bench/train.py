"""The trainer's speed beside its peers', in one run, on the same sequences with the same optimiser.

    python bench/train.py --model=Qwen2.5-Coder-0.5B-Instruct \\
        --transformers=$(bash bench/make_peer_env.sh transformers) --tunix=$(bash bench/make_peer_env.sh google-tunix)

real   64 sequences of recorded lengths (bench/rollout_lengths.json), 8 samples of each of 8 prompts
dense  4 sequences of 512 tokens, nothing to pad and nothing to share
A step is a whole mini-batch: packing or padding, forward, backward, Adam. All have float32 weights and moments,
compute in bfloat16, and minimise the clipped surrogate of REINFORCE++ on the response tokens; ours also computes the
entropy, as it does in a run. Peers get the sequences sorted by length, 4 rows a micro-batch (Tunix 2: its memory)
padded to the longest of them. The tokens are random: no contestant's speed depends on them. Useful tokens are prompts
and responses, every sequence counted in full. Several states of 8 GB do not fit in memory together, so the contestants
of a case come one after the other. Each first makes an untimed step, then `--rounds` timed ones, of which the median
counts. Tunix takes an optimiser step for each micro-batch, as its accumulation does not fit in 24 GB; the time of all
but one of these steps, measured on a micro-batch of 64 tokens, is taken off again. The untimed step is on the four
longest sequences (for Tunix, on one micro-batch of each width, which it compiles for): it compiles everything, and its
numbers show whether all compute the same. Ours comes again at the end, unless `--once`: its two figures tell how steady
the machine was. Peak memory is VmHWM of each process.
Roofline: 8 x parameters x useful tokens FLOPs (forward, its recomputation, backward) at the measured rate of a large
product; 6 x where nothing is recomputed. The last line is JSON.
"""

import argparse
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = HERE / "train_peers"
sys.path[:0] = [str(HERE), str(HERE.parent)]

import contest  # noqa: E402

ADAM = {"learning_rate": 5e-7, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.0, "clip_norm": 1.0}
ROWS = 4  # of a peer's micro-batch
TUNIX_ROWS = 2
TUNIX_MULTIPLE = 64  # of tokens that its micro-batches are wide, or each would be compiled anew
AGREE = 0.02  # how far the first gradient's norm may be from ours
GOALS = {("real", "transformers"): 1.5, ("real", "tunix"): 2.0, ("dense", "transformers"): 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a directory with the weights")
    parser.add_argument("--transformers", help="a Python that has torch and transformers")
    parser.add_argument("--tunix", help="a Python that has google-tunix and transformers")
    parser.add_argument(
        "--tunix_every", type=int, default=1, help="it trains on every so-many-th sequence, by length: it is slow"
    )
    parser.add_argument("--cases", default="real,dense")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="ours runs first only, not again at the end")
    parser.add_argument("--ours", default="", help="overrides of the preset rl_rule.py:0.5b: trainer.rows=4,remat=full")
    options = parser.parse_args()
    row: dict[str, Any] = {}
    for case in options.cases.split(","):
        row[case] = compete(options, {"real": real, "dense": dense}[case]())
        report(case, row[case])
    print(json.dumps(row))


def real() -> dict[str, Any]:
    """Recorded lengths, random tokens, a prompt shared by its samples."""
    groups = json.loads((HERE / "rollout_lengths.json").read_text())["groups"]
    return sequences([(group["prompt"], group["responses"]) for group in groups])


def dense() -> dict[str, Any]:
    """Four prompts of 256 tokens with one response of 256 each."""
    return sequences([(256, [256])] * 4)


def sequences(groups: list[tuple[int, list[int]]]) -> dict[str, Any]:
    """prompts, responses and rewards of (prompt length, response lengths); the same at every call."""
    draw = random.Random(0)

    def tokens(n: int) -> list[int]:
        return [draw.randrange(1000) for _ in range(n)]

    found: dict[str, Any] = {"prompts": [], "responses": [], "rewards": []}
    for prompt_length, lengths in groups:
        prompt = tokens(prompt_length)
        for length in lengths:
            found["prompts"].append(prompt)
            found["responses"].append(tokens(length))
            found["rewards"].append(float(len(found["rewards"]) % 4 == 0))
    return found


def compete(options: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """All contestants on one case, one after the other."""
    pairs = list(zip(given["prompts"], given["responses"], strict=True))
    useful = sum(len(prompt) + len(response) for prompt, response in pairs)
    adam = json.dumps(ADAM)
    found: dict[str, Any] = {"useful_tokens": useful, "sequences": len(pairs)}

    longest = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))[-ROWS:]

    def ours() -> tuple[dict[str, Any], dict[str, Any]]:
        one = contest.Contestant(sys.executable, PEERS / "ours.py", options.model, adam, options.ours)
        prepared = one.ask(what="prepare", **given)
        return measure(one, options.rounds, useful, {"what": "step", "only": longest}, {"what": "step"}), prepared

    found["ours"], prepared = ours()
    if options.transformers:
        batches = micro_batches(pairs, prepared, ROWS)
        one = contest.Contestant(options.transformers, PEERS / "transformers_peer.py", options.model, adam)
        found["transformers"] = measure(one, options.rounds, useful, {"batches": batches[-1:]}, {"batches": batches})
    if options.tunix:
        batches = micro_batches(pairs, prepared, TUNIX_ROWS)[:: -options.tunix_every][::-1]  # the longest is among them
        found["tunix_sequences"] = sum(map(len, batches))
        theirs = sum(len(row["tokens"]) for batch in batches for row in batch)
        one = contest.Contestant(options.tunix, PEERS / "tunix_peer.py", options.model, adam)
        widths = {-(-max(len(row["tokens"]) for row in batch) // TUNIX_MULTIPLE): batch for batch in batches}
        first = {"batches": list(widths.values())}
        found["tunix"] = measure(one, options.rounds, theirs, first, {"batches": batches}, tiny(batches))
    if (options.transformers or options.tunix) and not options.once:
        found["ours_again"], _ = ours()
    return found


def micro_batches(
    pairs: list[tuple[list[int], list[int]]], prepared: dict[str, Any], rows_at_once: int
) -> list[list[dict[str, Any]]]:
    """What a peer gets: sorted by length, so many sequences at a time."""
    rows = [
        {"tokens": prompt + response, "prompt": len(prompt), "old_logp": old, "advantage": advantage}
        for (prompt, response), old, advantage in zip(pairs, prepared["old_logps"], prepared["advantages"], strict=True)
    ]
    rows.sort(key=lambda row: len(row["tokens"]))
    return [rows[at : at + rows_at_once] for at in range(0, len(rows), rows_at_once)]


def tiny(batches: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """A micro-batch as narrow as Tunix compiles one: its time is the optimiser's."""
    one = {"tokens": [0] * TUNIX_MULTIPLE, "prompt": TUNIX_MULTIPLE - 1, "old_logp": [0.0], "advantage": 0.0}
    return {"batches": [[one] * len(batches[0])]}


def measure(
    one: contest.Contestant, rounds: int, useful: int, first_request: dict[str, Any], request: dict[str, Any],
    once: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A first step, whose numbers are for trust, and the median of timed ones.

    once: what the request does for each batch and should do but once; its time is taken off for the others.
    """
    first = one.ask(**first_request)
    timed = [one.ask(**request) for _ in range(rounds)]
    raw = seconds = statistics.median(answer["seconds"] for answer in timed)
    if once is not None:
        one.ask(**once)  # compiles
        seconds -= (len(request["batches"]) - 1) * statistics.median(one.ask(**once)["seconds"] for _ in range(3))
    one.close()
    numbers = {name: first[name] for name in ("loss", "ratio_mean", "grad_norm", "entropy") if name in first}
    found = {
        "tok_s": round(useful / seconds, 1),
        "seconds": [round(answer["seconds"], 2) for answer in timed],
        "counted_share": round(seconds / raw, 3),
        "peak_gib": one.peak_gib,
        "computed_tokens": timed[0]["computed"],
        "first_step": numbers,
        "first_step_s": round(first["seconds"], 1),
        "about": one.about,
    }
    print(f"{one.script}: {json.dumps(found)}", flush=True)
    return found


def report(case: str, found: dict[str, Any]) -> None:
    """Adds ratios, trust and the roofline to what was found of a case, and prints it."""
    ours = found["ours"]
    about = ours["about"]
    factor = 6 if about["remat"] == "none" else 8
    roof = about["flops"] / (factor * about["params"])
    found["roofline"] = {"flops_a_parameter_and_token": factor, "tok_s": round(roof, 1)}
    found["roofline"]["share"] = round(ours["tok_s"] / roof, 3)
    for name in ("ours", "transformers", "tunix", "ours_again"):
        if name in found:
            side = found[name]
            print(f"{case} {name}: {side['tok_s']} useful tok/s, peak {side['peak_gib']} GiB, {side['seconds']} s")
            print(f"  computed {side['computed_tokens']} tokens; first step {side['first_step']}")
    for name in ("transformers", "tunix"):
        if name in found:
            compare(case, name, found)
    print(f"{case} roofline {found['roofline']}")


def compare(case: str, name: str, found: dict[str, Any]) -> None:
    """Our speed and memory over a peer's, and whether the first step was the same."""
    ours, peer = found["ours"], found[name]
    found[f"times_{name}"] = round(ours["tok_s"] / peer["tok_s"], 2)
    found[f"memory_over_{name}"] = round(ours["peak_gib"] / peer["peak_gib"], 2)
    # each name that both report: the gradient's norm (or the mean ratio to our log-probs) tells the same model and loss
    shared = [key for key in ("ratio_mean", "grad_norm") if key in peer["first_step"]]
    apart = {key: round(peer["first_step"][key] / ours["first_step"][key] - 1, 4) for key in shared}
    found[f"first_step_apart_{name}"] = apart
    goal = GOALS.get((case, name))
    print(
        f"{case}: {found[f'times_{name}']} x {name}" + (f" (goal {goal})" if goal else "")
        + f", memory {found[f'memory_over_{name}']} x (goal 1.0); first step apart {apart}: "
        + ("the same" if all(abs(value) <= AGREE for value in apart.values()) else "NOT the same")
    )  # fmt: skip


if __name__ == "__main__":
    main()
