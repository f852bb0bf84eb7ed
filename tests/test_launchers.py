"""The launchers say what they would run, and what is missing."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SLICE = ["--dry-run", "--name=rl", "--zone=z1"]
MAIN = ["--config=configs/rl_rule.py:7b", "--workdir=/mnt/runs/rl", "--config.heldout_args={'split': 'test'}"]


def launch(script, *args, **env):
    done = subprocess.run(
        ["bash", f"launch/{script}.sh", *args],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | env,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_tpu_pod():
    code, out, lines = launch(
        "tpu_pod", *SLICE, "--type=v5p-32", "--version=v2", "--nfs=10.0.0.2:/s", "--project=p", "--", *MAIN
    )
    assert code == 0 and out == ""
    commands = [line for line in lines if line.startswith("+ ")]
    assert (
        commands[0]
        == "+ gcloud compute tpus tpu-vm create rl --zone=z1 --project=p --accelerator-type=v5p-32 --version=v2"
    )
    assert commands[1].startswith("+ git archive ") and commands[2].startswith("+ gcloud compute tpus tpu-vm scp ")
    assert all("--zone=z1 --project=p --worker=all" in command for command in commands[2:])
    assert "acecoder_jax[tpu]" in commands[4] and "10.0.0.2:/s /mnt/runs" in commands[5]
    # what the workers' shell is given is what was asked for, quotes and all
    inner = subprocess.run(
        ["bash", "-c", f'set -- {commands[-1].removeprefix("+ ")}; printf %s "${{@: -1}}"'],
        capture_output=True,
        text=True,
    ).stdout
    (_, words) = inner.removeprefix("--command=").split("acecoder_jax.main ")
    said = subprocess.run(["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True).stdout
    assert said.splitlines() == MAIN
    assert not any(" create " in line for line in launch("tpu_pod", *SLICE, "--", *MAIN)[2])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--zone=z", "--", *MAIN], "error: --name is missing"),
        ([*SLICE], "error: after -- there is nothing"),
        ([*SLICE, "--", "--config=c"], "error: name --workdir=/A/FOLDER"),
        ([*SLICE, "--", "--config=c", "--workdir=gs://b/x"], "error: gs://b/x is no folder"),
        ([*SLICE, "--typ=v4-8", "--", *MAIN], "error: unknown argument --typ=v4-8"),
    ],
)
def test_tpu_pod_says_what_is_wrong(args, message):
    code, _, lines = launch("tpu_pod", *args)
    assert code == 2 and lines[0].startswith(message) and not any(line.startswith("+") for line in lines)


def test_slurm_gpu():
    code, out, (line,) = launch("slurm_gpu", "--dry-run", *MAIN, VENV="/shared/venv")
    assert code == 0 and out == ""
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {line.removeprefix('+ ')}"], capture_output=True, text=True
    ).stdout.splitlines()
    assert words[:2] == ["srun", "--ntasks-per-node=1"] and f"--chdir={ROOT}" in words
    assert words[words.index("/shared/venv/bin/python") + 1 :] == ["-m", "acecoder_jax.main", *MAIN]


@pytest.mark.parametrize(
    ("args", "env", "message"),
    [
        ([], {}, "error: name the arguments of acecoder_jax.main"),
        (["--config=c"], {}, "error: name --workdir=FOLDER"),
        (MAIN, {"SLURM_SUBMIT_DIR": "/"}, "error: submit this from the folder of the repository, not from /"),
        (MAIN, {}, "error: this is no SLURM job"),
        (MAIN, {"SLURM_JOB_ID": "1", "VENV": "/none"}, "error: no /none/bin/python"),
    ],
)
def test_slurm_gpu_says_what_is_wrong(args, env, message):
    code, _, lines = launch("slurm_gpu", *args, **env)
    assert code == 2 and lines[-1].startswith(message)


def test_llama_server_wants_a_file():
    code, _, lines = launch("llama_server", "no.gguf")
    assert code == 2 and lines == ["usage: bash launch/llama_server.sh MODEL.gguf [ARGUMENT ...]; no file no.gguf"]


def test_llama_server_starts_on_loopback(tmp_path):
    """With the program that is there."""
    program, model = tmp_path / "llama-server", tmp_path / "m.gguf"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    model.touch()
    code, out, _ = launch("llama_server", str(model), "--port", "8001", LLAMA_DIR=str(tmp_path), HOME="/")
    assert code == 0 and out.startswith(f"--model {model} --alias local --host 127.0.0.1 --port 8000 --parallel 8")
    assert out.endswith("--port 8001\n")


def test_llama_server_tells_why_it_cannot_be_made(tmp_path):
    model = tmp_path / "m.gguf"
    model.touch()
    code, _, lines = launch("llama_server", str(model), LLAMA_DIR=str(tmp_path), PYTHON="/bin/false", HOME="/")
    assert code == 1 and lines[-1] == (f"error: llama.cpp could not be compiled; {tmp_path}/build.log has all of it")


RAY = ["--address=http://h:8265", "--dry-run"]


def test_ray_job():
    code, out, (line,) = launch("ray/submit", *RAY, "--id=one", "--", *MAIN)
    assert code == 0 and out == ""
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {line.removeprefix('+ ')}"], capture_output=True, text=True
    ).stdout.splitlines()
    assert words[:5] == ["ray", "job", "submit", "--address=http://h:8265", "--submission-id=one"]
    assert words[words.index("--") + 1 :] == ["python", "-m", "acecoder_jax.main", *MAIN, "--config.cluster=ray"]
    (environment,) = [word.partition("=")[2] for word in words if word.startswith("--runtime-env-json=")]
    assert "requirements.txt" in json.loads(environment)["pip"][0]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--dry-run", "--", *MAIN], "error: --address is missing"),
        ([*RAY], "error: after -- there is nothing"),
        ([*RAY, "--", "--config=c"], "error: name --workdir=/A/FOLDER"),
        ([*RAY, "--", *MAIN, "--config.cluster=local"], "error: --config.cluster=local: the job runs with"),
        ([*RAY, "--adress=x", "--", *MAIN], "error: unknown argument --adress=x"),
    ],
)
def test_ray_job_says_what_is_wrong(args, message):
    code, _, lines = launch("ray/submit", *args)
    assert code == 2 and lines[0].startswith(message) and not any(line.startswith("+") for line in lines)


def test_cluster_files():
    """KubeRay's and Ray's own, with what their readers look for."""
    cluster, claim = yaml.safe_load_all((ROOT / "launch/ray/gke.yaml").read_text())
    assert cluster["kind"] == "RayCluster" and claim["metadata"]["name"] == "acecoder-runs"
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    for group in (cluster["spec"]["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "acecoder-runs"
        assert cluster["spec"]["rayVersion"] in pod["containers"][0]["image"]
    machines = yaml.safe_load((ROOT / "launch/ray/machines.yaml").read_text())
    assert (
        machines["provider"]["type"] == "local" and len(machines["provider"]["worker_ips"]) == machines["max_workers"]
    )
