"""Start-up and end of a run of several processes: who they are, and how one that fails ends the others.

Who they are comes from flags, or else from what the launcher has put in the environment:

| launcher | what tells |
| --- | --- |
| flags | --coordinator=HOST:PORT --processes=N --process=I |
| JobSet (GKE) | JOBSET_NAME, REPLICATED_JOB_NAME, JOB_COMPLETION_INDEX, JAX_PROCESS_COUNT |
| an indexed Job | JOB_COMPLETION_INDEX, JAX_PROCESS_COUNT, JAX_COORDINATOR_ADDRESS; or the cluster's API |
| SLURM (srun) | SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_STEP_NODELIST; one task of a node takes all its GPUs |
| by hand | JAX_COORDINATOR_ADDRESS, JAX_PROCESS_COUNT, JAX_PROCESS_ID |
| Open MPI 4 | read by jax.distributed |
| Cloud TPU (GCE, GKE) | read by jax.distributed from the metadata server or TPU_WORKER_HOSTNAMES |
"""

import atexit
import contextlib
import importlib.util
import os
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn, TextIO

import jax

from acecoder_jax import hosts, stops

FLAGS = ("coordinator", "processes", "process")
PORT = 8476
FAILED, STOPPING, LOOK_S = "acecoder_jax/failed", "acecoder_jax/stopping", 1.0
TOLD_S = 3.0  # how long the first process, which keeps the others' word, stays to pass its own failure on


class StartError(ValueError):
    """What the flags or the environment say of the processes cannot be used."""


def find(env: Mapping[str, str], flags: Mapping[str, Any], tpu: bool = False) -> dict[str, Any] | None:
    """Arguments of jax.distributed.initialize; {} where it finds them by itself; None for a run of one process.

    flags: coordinator, processes and process, None where they are not given. tpu: whether this machine has TPU chips.
    Raises StartError, which says what is missing.
    """
    given = {name: flags[name] for name in FLAGS if flags.get(name) is not None}
    if given:
        return _from_flags(given)
    if tpu and (env.get("JAX_PLATFORMS") or "tpu").startswith("tpu"):
        return {}
    if "JOB_COMPLETION_INDEX" in env:
        return _kubernetes(env)
    if "SLURM_PROCID" in env and "SLURM_STEP_NODELIST" in env:
        return _slurm(env)
    if int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        if "OMPI_MCA_orte_hnp_uri" in env:
            return {}
        raise StartError("this Open MPI does not say where its first process is: give --coordinator, --processes, "
                         "--process=$OMPI_COMM_WORLD_RANK")  # fmt: skip
    if "JAX_COORDINATOR_ADDRESS" in env and env.get("JAX_PROCESS_COUNT", "1") != "1":
        if "JAX_PROCESS_ID" not in env:
            raise StartError(
                "JAX_COORDINATOR_ADDRESS and JAX_PROCESS_COUNT speak of several processes, but nothing says which of "
                "them this is: set JAX_PROCESS_ID, or give the flags --coordinator, --processes and --process instead"
            )
        count, process = _number(env, "JAX_PROCESS_COUNT"), _number(env, "JAX_PROCESS_ID")
        return _checked(env["JAX_COORDINATOR_ADDRESS"], count, process, "JAX_PROCESS_ID")
    return None


def start(flags: Mapping[str, Any]) -> None:
    """Joins the run's other processes, if there are any. Call it before anything touches a device.

    From here on, what a process but the first prints is dropped, and its errors carry its number.
    """
    from jax._src.cloud_tpu_init import running_in_cloud_tpu_vm  # jax.distributed asks the same

    arguments = find(os.environ, flags, running_in_cloud_tpu_vm)
    if arguments is None:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(**arguments)
    if jax.process_count() == 1:
        return
    sys.stderr = _Prefixed(sys.stderr, f"[process {jax.process_index()}] ")
    if jax.process_index() != 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (it lives as long as the process)
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(over,), name="word of other processes", daemon=True)
    watch.start()
    # before JAX closes the connection: a thread that is in a call of it then would abort the process
    atexit.register(watch.join)
    atexit.register(over.set)  # the last to be registered is the first to be called


def fail(error: str, code: int) -> NoReturn:
    """Ends this process and, through it, all others: none waits for one that is gone. code: the exit status of all.

    A process that is killed cannot tell. Its heartbeat stops: after 100 seconds JAX ends the others, if a broken
    connection has not made them fail before.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if (connection := hosts.client()) is not None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # another has told before, or the first process is gone
            connection.key_value_set(FAILED, f"{jax.process_index()} {code} {error}")
        if jax.process_index() == 0:
            threading.Event().wait(TOLD_S)
    # Not sys.exit: at exit JAX waits until all processes have come to their end.
    os._exit(code)


def fail_with(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> NoReturn:
    """`fail` for an exception that nothing has caught: with its traceback."""
    traceback.print_exception(kind, error, trace)
    fail(f"{kind.__name__}: {error}", 1)


def _watch(over: threading.Event) -> None:
    """Until the run is over: looks for the failure of another process, and ends this one then; hears and tells
    which has been asked to stop, so that none goes on with what the others will not use."""
    connection = hosts.client()
    while not over.wait(LOOK_S):
        try:
            said = _said(connection, FAILED)
            if _said(connection, STOPPING) is not None:
                stops.heard()
            elif stops.asked_here():
                connection.key_value_set(STOPPING, "1", allow_overwrite=True)
        except jax.errors.JaxRuntimeError:
            return  # the first process is gone: JAX ends this one
        if said is None:
            continue
        process, code, what = said.split(" ", 2)
        if int(process) != jax.process_index():
            sys.stderr.write(f"ended with process {process}: {what}\n")
            sys.stderr.flush()
            os._exit(int(code))
        return


def _said(connection: Any, key: str) -> str | None:
    try:
        return connection.key_value_try_get(key)
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return None
        raise


def _from_flags(given: Mapping[str, Any]) -> dict[str, Any] | None:
    if missing := [f"--{name}" for name in FLAGS if name not in given]:
        there = ", ".join(f"--{name}" for name in given)
        raise StartError(f"{there} without {', '.join(missing)}: a run of several processes needs all three")
    return _checked(str(given["coordinator"]), int(given["processes"]), int(given["process"]), "--process")


def _kubernetes(env: Mapping[str, str]) -> dict[str, Any] | None:
    count, address = env.get("JAX_PROCESS_COUNT"), env.get("JAX_COORDINATOR_ADDRESS")
    if "JOBSET_NAME" in env and "REPLICATED_JOB_NAME" in env and not address:
        jobset = env["JOBSET_NAME"]
        address = f"{jobset}-{env['REPLICATED_JOB_NAME']}-0-0.{jobset}"
    if count == "1":
        return None
    if not count or not address:
        if importlib.util.find_spec("kubernetes") is not None:
            return {}
        raise StartError(
            "this is a pod of an indexed Job (JOB_COMPLETION_INDEX), but not all is known of the others: set "
            "JAX_PROCESS_COUNT (1 for a pod on its own) and either JOBSET_NAME and REPLICATED_JOB_NAME or "
            "JAX_COORDINATOR_ADDRESS, or install the package `kubernetes`, with which JAX asks the cluster"
        )
    if ":" not in address:
        address += f":{env.get('JAX_COORDINATOR_PORT', PORT)}"
    pods = _number(env, "PROCESSES_IN_JOB", count)
    process = _number(env, "JOB_INDEX", "0") * pods + _number(env, "JOB_COMPLETION_INDEX")
    return _checked(address, _number(env, "JAX_PROCESS_COUNT"), process, "JOB_COMPLETION_INDEX")


def _slurm(env: Mapping[str, str]) -> dict[str, Any] | None:
    count = _number(env, "SLURM_STEP_NUM_TASKS", env.get("SLURM_NTASKS", "1"))
    if count == 1:
        return None
    # as JAX does: a port of the job's own among the last 4,096
    port = env.get("JAX_COORDINATOR_PORT") or str(_number(env, "SLURM_JOB_ID") % 4096 + 61440)
    first = _first_host(env["SLURM_STEP_NODELIST"])
    found = _checked(f"{first}:{port}", count, _number(env, "SLURM_PROCID"), "SLURM_PROCID")
    per_node = {int(tasks) for tasks in re.findall(r"(\d+)(?:\(x\d+\))?", env.get("SLURM_STEP_TASKS_PER_NODE", "1"))}
    bound = env.get("CUDA_VISIBLE_DEVICES", ",").count(",") == 0  # SLURM itself has given each task its GPU
    if found is not None and per_node != {1} and not bound:
        found["local_device_ids"] = [_number(env, "SLURM_LOCALID")]
    return found


def _first_host(nodes: str) -> str:
    """The first of node001, node001,host2, node[001-015],host2 or node[001,007-015]-ib."""
    match = re.match(r"([^,\[]+)(?:\[([^,\-\]]+)[^\]]*\]([^,]*))?", nodes)
    if not match:
        raise StartError(f"SLURM_STEP_NODELIST is {nodes!r}: no list of hosts")
    return "".join(part or "" for part in match.groups())


def _checked(address: str, count: int, process: int, name: str) -> dict[str, Any] | None:
    if not re.fullmatch(r"\S+:\d+", address):
        raise StartError(f"the coordinator is {address!r}: it is the first process's HOST:PORT")
    if not 0 <= process < count:
        raise StartError(f"{name} is {process}: of {count} processes it is 0 to {count - 1}")
    if count == 1:
        return None
    # detection is over: JAX's own would give a SLURM task one GPU of its node, however many it has
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    }


def _number(env: Mapping[str, str], name: str, default: str | None = None) -> int:
    value = env.get(name, default)
    if value is None or not value.isdigit():
        raise StartError(f"the environment variable {name} is {value!r}: it has to be a number")
    return int(value)


class _Prefixed:
    """A text stream whose lines all begin with a prefix."""

    def __init__(self, stream: TextIO, prefix: str):
        self._stream, self._prefix, self._fresh = stream, prefix, True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self._stream.write((self._prefix if self._fresh else "") + line)
            self._fresh = line.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
