"""Two processes decode: each on its own devices, or in lock-step on a mesh that spans both."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from acecoder_jax.models.decoder import Model
from acecoder_jax.sampling import engine
from tests.sampling import two_hosts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def alone():
    """What one process with one device writes: completions by id."""
    params = Model(two_hosts.CONFIG).init(jax.random.key(0))
    made = two_hosts.engine(None, params)
    everything = [request for process in (0, 1) for request in two_hosts.requests(process)]
    return {completion.id: completion.to_json() for completion in made.generate(everything, "rollout")}


@pytest.mark.parametrize("mode", ["local", "mixed", "spanning"])
def test_every_prompt_is_answered_once(tmp_path, mode, alone):
    """One process has eleven times the other's requests. Tokens are those of one device; log-probs within 1e-4."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(ROOT)}
    files = [tmp_path / "0", tmp_path / "1"]
    script = [sys.executable, str(Path(two_hosts.__file__))]
    hosts = [
        subprocess.Popen([*script, file.name, port, file, mode], env=environment, stderr=subprocess.PIPE, text=True)
        for file in files
    ]
    try:
        for process, (host, file) in enumerate(zip(hosts, files, strict=True)):
            _, err = host.communicate(timeout=240)
            assert host.returncode == 0, err
            answers, again = json.loads(file.read_text())
            asked = [f"{request.problem_id}/{request.sample}" for request in two_hosts.requests(process)]
            by_id = {f"{one['problem_id']}/{one['sample']}": one for one in answers}
            assert sorted(by_id) == sorted(asked) and len(answers) == len(asked)
            assert {f"{one['problem_id']}/{one['sample']}": one for one in again} == by_id  # bit for bit
            for name, answer in by_id.items():
                assert answer["tokens"] == alone[name]["tokens"]
                np.testing.assert_allclose(answer["logps"], alone[name]["logps"], atol=1e-4)
    finally:
        for host in hosts:
            host.kill()


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 1, 4), "must lie within one process"), ((4, 1, 1), "the devices of one process or of")]
)
def test_a_mesh_that_cannot_decode_is_refused(shape, message):
    """Four devices, two of them another process's: a part of the mesh that spans both, and a mesh of some processes."""
    devices = [SimpleNamespace(process_index=process) for process in (0, 0, 1, 1)]
    mesh = SimpleNamespace(devices=np.array(devices).reshape(shape), shape={"tensor": shape[2]})
    with pytest.raises(ValueError, match=message):
        engine._parts(mesh)
