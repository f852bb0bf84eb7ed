import json
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from acecoder_jax import parallel


def sizes(**kw):
    return dict(parallel.make_mesh(**kw).shape)


def test_the_free_axis_takes_what_the_others_leave():
    assert jax.device_count() == 8
    assert sizes() == {"data": 1, "fsdp": 8, "context": 1, "tensor": 1}
    assert sizes(tensor=2) == {"data": 1, "fsdp": 4, "context": 1, "tensor": 2}
    assert sizes(data=-1, fsdp=2, tensor=2) == {"data": 2, "fsdp": 2, "context": 1, "tensor": 2}
    assert sizes(data=2, fsdp=2, context=2) == {"data": 2, "fsdp": 2, "context": 2, "tensor": 1}


def test_axes_are_auto_and_every_device_is_used_once():
    mesh = parallel.make_mesh(tensor=2)
    assert mesh.axis_names == ("data", "fsdp", "context", "tensor")
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert {device.id for device in mesh.devices.flat} == set(range(8))


def test_a_mesh_over_some_devices():
    mesh = parallel.make_mesh(devices=jax.devices()[:2])
    assert dict(mesh.shape) == {"data": 1, "fsdp": 2, "context": 1, "tensor": 1}


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"tensor": 3}, "data=1, fsdp=-1, context=1, tensor=3: 3 does not divide the 8 devices"),
        ({"fsdp": 4}, "data=1, fsdp=4, context=1, tensor=1: takes 4 devices, but there are 8"),
        ({"fsdp": 16}, "takes 16 devices, but there are 8"),
        ({"data": -1}, "one at most may be -1"),
        ({"tensor": 0}, "sizes are 1 or more"),
        ({"fsdp": -2}, "sizes are 1 or more"),
    ],
)
def test_a_wrong_mesh_names_the_numbers(kw, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parallel.make_mesh(**kw)


def test_one_process_sums_to_itself():
    assert parallel.host_sum({"b": 1.5, "a": 2}) == {"a": 2.0, "b": 1.5}


def test_all_of_an_array_lies_in_one_process():
    mesh = parallel.make_mesh(data=2, fsdp=2, tensor=2)
    rows = np.arange(24).reshape(3, 8)
    for spec in (P(None, ("data", "fsdp")), P(None, ("fsdp", "tensor")), P(), P(None, "tensor")):
        np.testing.assert_array_equal(parallel.local_part(jax.device_put(rows, NamedSharding(mesh, spec))), rows)


TWO_HOSTS = """
import json, pathlib, sys, jax, numpy as np
jax.config.update("jax_cpu_collectives_implementation", "gloo")
host = int(sys.argv[1])
jax.distributed.initialize(f"localhost:{sys.argv[2]}", num_processes=2, process_id=host)
from acecoder_jax import parallel
totals = parallel.host_sum({"count": 3 + host, "loss": [1.0, 2.0**-40][host]})
mesh = parallel.make_mesh(data=2, fsdp=4, tensor=2)
numbers = np.arange(48).reshape(3, 16)
parts = []
for spec in ((None, ("data", "fsdp")), (None, "data"), (None, ("data", "tensor")), (None, "fsdp"), (), ("tensor",)):
    where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    array = numbers[:2] if spec == ("tensor",) else numbers
    part = parallel.local_part(jax.make_array_from_callback(array.shape, where, lambda index: array[index]))
    parts.append(part.tolist())
pathlib.Path(sys.argv[3]).write_text(json.dumps([totals, parts]))
"""


def two_hosts(files) -> list[tuple[int, str]]:
    """Exit status and errors of both processes."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    hosts = [
        subprocess.Popen([sys.executable, "-c", TWO_HOSTS, file.name, port, file], stderr=subprocess.PIPE, text=True)
        for file in files
    ]
    try:
        return [(host.returncode, err) for host in hosts for _, err in [host.communicate(timeout=60)]]
    finally:
        for host in hosts:
            host.kill()
            host.wait()


def test_two_hosts(tmp_path):
    files = [tmp_path / "0", tmp_path / "1"]
    try:
        ends = two_hosts(files)
    except subprocess.TimeoutExpired:  # another program may have taken the port before they did
        ends = two_hosts(files)
    for number, (file, (status, err)) in enumerate(zip(files, ends, strict=True)):
        assert status == 0, err
        totals, parts = json.loads(file.read_text())
        assert totals == {"count": 7.0, "loss": 1.0 + 2.0**-40}  # more digits than float32 holds
        # of 16 columns a host has 8 where they are split over hosts, else all of them
        whole = np.arange(48).reshape(3, 16)
        half = whole[:, 8 * number : 8 * number + 8].tolist()
        assert parts == [half] * 3 + [whole.tolist()] * 2 + [whole[:2].tolist()]
