"""The engine's speed beside its peers', in one run, on the same prompts of HumanEval.

    python bench/decode.py --model=Qwen2.5-Coder-0.5B-Instruct --data=HumanEval.jsonl.gz \\
        --transformers=$(bash bench/make_peer_env.sh transformers) --tunix=$(bash bench/make_peer_env.sh google-tunix)

a  lock-step: 32 prompts, 128 new tokens each, temperature 1
b  one row, 128 new tokens
c  real lengths: 48 prompts x 4 samples, at most 256 tokens, stop at the end token, counted in useful tokens; peers in
   batches of 32 sorted by the prompt's length, Tunix on a quarter of it (48 rows: two batches of 24)
d  groups: seconds of reading 32 prompts for 8 samples each, beside reading each sample's prompt apart
Each contestant is a process of its own that waits while the others run; all are compiled and warm before rounds
alternate, of which medians are taken. Roofline: the prompts' FLOPs over the measured rate of a large product, and for
each step its bytes over the measured memory bandwidth or its FLOPs over that rate, whichever is longer. The last line
is JSON.
"""

import argparse
import functools
import gzip
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE / "decode_peers"
sys.path.insert(0, str(HERE.parent))

import contest  # noqa: E402

from acecoder_jax import prompts, tokenizer  # noqa: E402

LOCK_STEP, ONE, REAL = (32, 128), (1, 128), (32, 256)


class Writer(contest.Contestant):
    """A process that generates when it is asked to."""

    def speed(self, prompt_tokens: list[list[int]], shape: tuple[int, int], end: bool = False) -> float:
        """Useful tokens a second."""
        rows, new = shape
        answer = self.ask(prompts=prompt_tokens, max_new_tokens=new, end=end, rows=rows)
        return answer["tokens"] / answer["seconds"]

    def warm(self, prompt_tokens: list[list[int]], shape: tuple[int, int], end: bool = False) -> None:
        """Everything is compiled; where nothing is, a few tokens are enough."""
        if "torch" in self.about:
            prompt_tokens, shape = prompt_tokens[:1], (1, 8)
        self.speed(prompt_tokens, shape, end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a directory with the weights")
    parser.add_argument("--data", required=True, help="HumanEval.jsonl.gz")
    parser.add_argument("--transformers", help="a Python that has torch and transformers")
    parser.add_argument("--tunix", help="a Python that has google-tunix and transformers")
    parser.add_argument("--cases", default="abcd")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=int, default=1, help="case c: transformers, too, on every n-th sample only")
    parser.add_argument("--engine", default="{}", help="knobs of our engine as JSON")
    options = parser.parse_args()
    asked = questions(options.model, options.data)
    longest = max(map(len, asked))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as groups:
        json.dump(asked[:32], groups)
        groups.flush()
        more = {"GROUPS": groups.name} if "d" in options.cases else {}
        who = {"ours": Writer(sys.executable, PEERS / "ours.py", options.model, str(longest), options.engine, **more)}
    if options.transformers:
        who["transformers"] = Writer(options.transformers, PEERS / "transformers_peer.py", options.model)
    if options.tunix:
        who["tunix"] = Writer(options.tunix, PEERS / "tunix_peer.py", options.model, str(longest))
    row: dict = {"about": {name: one.about for name, one in who.items()}}
    cases: dict[str, Callable[..., dict]] = {
        "a": lock_step,
        "b": one_row,
        "c": functools.partial(real_lengths, share=options.share),
        "d": lambda *_: {},  # measured by our contestant when it started
    }
    for case in options.cases:
        row |= cases[case](who, asked, options.rounds)
    row["peak_gib"] = {name: one.peak_gib for name, one in who.items()}
    for one in who.values():
        one.close()
    report(row, asked, options.cases)


def questions(model: str, data: str) -> list[list[int]]:
    """The prompts of HumanEval as a chat."""
    words = tokenizer.load(model)
    with gzip.open(data, "rt") as file:
        tasks = [json.loads(line)["prompt"] for line in file]
    texts = [f"Complete this Python function.\n```python\n{task}```" for task in tasks]
    return [list(prompts.render_chat(words, prompts.chat(text), add_generation_prompt=True)) for text in texts]


def lock_step(who: dict[str, Writer], asked: list[list[int]], rounds: int) -> dict:
    """Case a."""
    return {"a": compete(who, asked[:32], LOCK_STEP, rounds)}


def one_row(who: dict[str, Writer], asked: list[list[int]], rounds: int) -> dict:
    """Case b."""
    return {"b": compete(who, asked[:1], ONE, max(3, rounds))}


def real_lengths(who: dict[str, Writer], asked: list[list[int]], rounds: int, share: int) -> dict:
    """Case c, once after a warm-up. Every n-th sample only: Tunix a quarter, transformers `share`."""
    samples = [prompt for prompt in sorted(asked[:48], key=len) for _ in range(4)]
    found = {}
    for name, one in who.items():
        every = {"tunix": 4, "transformers": share}.get(name, 1)
        mine, shape = samples[::every], REAL if every == 1 else (24, REAL[1])
        one.warm(mine[: shape[0]], shape, end=True)
        found[name] = statistics.median(one.speed(mine, shape, end=True) for _ in range(max(1, rounds // 3)))
    return {"c": found}


def compete(who: dict[str, Writer], asked: list[list[int]], shape: tuple[int, int], rounds: int) -> dict:
    """Medians over rounds in which the contestants take turns."""
    speeds: dict[str, list[float]] = {name: [] for name in who}
    for one in who.values():
        one.warm(asked, shape)
    for _ in range(rounds):
        for name, one in who.items():
            speeds[name].append(one.speed(asked, shape))
    return {name: statistics.median(values) for name, values in speeds.items()}


def report(row: dict, asked: list[list[int]], cases: str) -> None:
    """Prints what was found, with ratios and rooflines; the last line is JSON."""
    ours = row["about"]["ours"]
    for case in cases:
        if case == "d":
            groups = ours["groups"]
            row["d"] = {key: round(value, 2) for key, value in groups.items()}
            row["d"]["apart_over_shared"] = round(groups["apart_s"] / groups["shared_s"], 2)
        else:
            found = row[case]
            ratios = {f"times_{name}": round(found["ours"] / v, 2) for name, v in found.items() if name != "ours"}
            roof = roofline(ours, case, asked)
            row[case] = {f"{name}_tok_s": round(v, 1) for name, v in found.items()} | ratios
            row[case] |= {"roofline_tok_s": round(roof, 1), "share_of_roofline": round(found["ours"] / roof, 3)}
        print(case, json.dumps(row[case]))
    print(json.dumps(row))


def roofline(about: dict, case: str, asked: list[list[int]]) -> float:
    """New tokens a second that the machine's measured rates would allow, the prompts' reading included.

    Each prompt is read once, through the layers; every step reads all weights and the cache of its rows.
    """
    rows, new = {"a": LOCK_STEP, "b": ONE, "c": REAL}[case]
    prompts, samples = (asked[:48], 4) if case == "c" else (asked[:rows], 1)
    tokens = sum(map(len, prompts))
    reading = 2 * about["layer_params"] * tokens / about["flops"]
    kv_bytes = rows * (tokens / len(prompts) + new / 2) * about["kv_bytes_a_token"]
    step = max((2 * about["params"] + kv_bytes) / about["bandwidth"], 2 * about["params"] * rows / about["flops"])
    written = new * samples * len(prompts)
    return written / (reading + written / rows * step)


if __name__ == "__main__":
    main()
