"""The supervised stage on its own."""

import signal
from pathlib import Path

import numpy as np
import pytest

from acecoder_jax import store, tokenizer
from acecoder_jax.models import huggingface
from acecoder_jax.stages import sft
from acecoder_jax.stages.sft import batch_at
from configs.sft import get_config
from tests.stages.runs import SFT, TINY_MODEL, checkpoints, kill_when, start, stop_when


def test_it_leaves_a_model_that_opens(small_policy: Path) -> None:
    config, params = huggingface.load_params(small_policy)
    words = tokenizer.load(small_policy)
    assert params["embed_vd"].shape == (len(words), 32) == (config.vocab_size, config.hidden_size)


def test_a_killed_run_goes_on(small_policy: Path, tmp_path: Path) -> None:
    args = [SFT, *TINY_MODEL, f"--workdir={tmp_path}"]
    metrics = tmp_path / "metrics.jsonl"
    code, out = stop_when(lambda: metrics.exists() and len(store.read_jsonl(metrics)) >= 49, signal.SIGTERM, args)
    (stopped,) = checkpoints(tmp_path)
    assert code == 143 and 49 <= float(stopped) < 90, out
    kill_when(lambda: metrics.exists() and len(metrics.read_bytes().splitlines()) >= 90, *args)
    assert not (tmp_path / "model").exists()
    start(*args)
    rows, whole = (store.read_jsonl(workdir / "metrics.jsonl") for workdir in (tmp_path, small_policy.parent))
    assert [(row["step"], row["loss"], row.get("heldback_pass")) for row in rows] == [
        (row["step"], row["loss"], row.get("heldback_pass")) for row in whole
    ]
    weights = "model.safetensors"
    assert (tmp_path / "model" / weights).read_bytes() == (small_policy / weights).read_bytes()


def test_batches_cover_each_epoch_once_in_a_new_order() -> None:
    steps = [batch_at(10, 4, seed=0, step=step) for step in range(5)]
    first, second = np.concatenate(steps)[:10], np.concatenate(steps)[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert list(batch_at(10, 4, seed=1, step=0)) != list(steps[0])
    assert list(batch_at(10, 4, seed=0, step=3)) == list(steps[3])


def test_a_resumed_run_may_save_more_often(tmp_path: Path) -> None:
    store.write_json(tmp_path / "config.json", get_config("tiny").to_dict())
    other = get_config("tiny,checkpoint.every=3,sandbox.workers=5").to_dict()
    assert store.save_config(tmp_path, other, sft.MAY_CHANGE).keys() == {"checkpoint.every", "sandbox.workers"}
    with pytest.raises(ValueError, match="steps"):
        store.save_config(tmp_path, get_config("tiny,steps=7").to_dict(), sft.MAY_CHANGE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps=1,model=/nowhere", "no tokenizer at /nowhere: there is no such directory"),
        ("steps=1,data=toi", "there is no data source 'toi'"),
        ("steps=1,remat=all", "unknown remat policy 'all'"),
        ("stepps=1", "did you mean 'steps'"),
    ],
)
def test_errors_speak_to_the_user(change: str, message: str, tmp_path: Path) -> None:
    done = start(f"--config=configs/sft.py:tiny,{change}", f"--workdir={tmp_path}", check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr and "Traceback" not in done.stderr
