"""trl's GRPOTrainer, as bench/rl_step.py asks for it. Needs torch, trl and datasets."""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contest
import datasets
import torch
import transformers
import trl

model_dir, dtype = sys.argv[1], sys.argv[2]
cores = len(os.sched_getaffinity(0))
torch.set_num_threads(cores)
LIMITED = "import resource as r; r.setrlimit(r.RLIMIT_CPU, (8, 8)); r.setrlimit(r.RLIMIT_AS, (1 << 30, 1 << 30))\n"


def passes(program: str) -> bool:
    """Whether a program with its tests ends well, in a process with limits: no jail, for a bench only."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-c", LIMITED + program]
        quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        try:
            return subprocess.run(command, cwd=folder, timeout=8, **quiet).returncode == 0
        except subprocess.TimeoutExpired:
            return False


def reward(completions: list[Any], tests: list[list[str]], setup: list[str], **others: Any) -> list[float]:
    """1 where all tests pass, as our binary reward."""
    start = time.perf_counter()
    programs = []
    for completion, asserts, before in zip(completions, tests, setup, strict=True):
        blocks = re.findall(r"```(?:python)?\n(.*?)```", completion[0]["content"], re.DOTALL)
        programs.append("\n".join([before, blocks[-1] if blocks else completion[0]["content"], *asserts]))
    with ThreadPoolExecutor(cores) as pool:
        found = [float(passed) for passed in pool.map(passes, programs)]
    scoring.append(time.perf_counter() - start)
    tokens.append(sum(map(len, others["completion_ids"])))
    means.append(sum(found) / len(found))
    return found


class Clock(transformers.TrainerCallback):
    """Notes when training begins and when each step ends."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first moment."""
        ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """One more; told at once, since it takes its time."""
        ends.append(time.perf_counter())
        print(f"trl: step {len(ends) - 1} took {ends[-1] - ends[-2]:.1f} s", flush=True)


def work(problems: list[dict[str, Any]], steps: int, prompts: int, samples: int, new: int, adam: dict) -> dict:
    """That many steps over the problems in their order, `prompts` a step."""
    batch = 4
    with tempfile.TemporaryDirectory() as folder:
        args = trl.GRPOConfig(
            output_dir=folder, use_cpu=True, bf16=True, model_init_kwargs={"dtype": dtype}, max_steps=steps,
            gradient_checkpointing=True, per_device_train_batch_size=batch, num_generations=samples,
            gradient_accumulation_steps=prompts * samples // batch, max_completion_length=new, temperature=1.0,
            beta=adam["kl_coef"], learning_rate=adam["learning_rate"], lr_scheduler_type="constant",
            adam_beta1=adam["beta1"], adam_beta2=adam["beta2"], weight_decay=adam["weight_decay"],
            max_grad_norm=adam["clip_norm"], shuffle_dataset=False, save_strategy="no", report_to="none",
            logging_steps=1, seed=0,
        )  # fmt: skip
        trainer = trl.GRPOTrainer(
            model=model_dir, reward_funcs=reward, args=args, train_dataset=datasets.Dataset.from_list(problems),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    times = [end - start for start, end in itertools.pairwise(ends)]
    return {"step_s": times, "scoring_s": scoring, "tokens": tokens, "rewards": means}


ends: list[float] = []
scoring: list[float] = []
tokens: list[int] = []
means: list[float] = []
contest.serve(
    work,
    {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__, "dtype": dtype},
)
