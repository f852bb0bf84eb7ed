"""Who the processes of a run are, told by flags and by environments as launchers make them."""

import io

import pytest

from acecoder_jax import distributed

NONE = {"coordinator": None, "processes": None, "process": None}
SLURM = {
    "SLURM_JOB_ID": "4097", "SLURM_STEP_NODELIST": "gpu[007-010,015],other3", "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_NTASKS": "4",
}  # fmt: skip
JOBSET = {
    "KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOBSET_NAME": "rl", "REPLICATED_JOB_NAME": "workers",
    "JOB_COMPLETION_INDEX": "3", "JAX_PROCESS_COUNT": "8",
}  # fmt: skip


def found(address, count, process, **more):
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    } | more


def flags(coordinator=None, processes=None, process=None):
    return {"coordinator": coordinator, "processes": processes, "process": process}


def test_flags():
    assert distributed.find({}, NONE) is None
    assert distributed.find({}, flags("a:1", 2, 1)) == found("a:1", 2, 1)
    assert distributed.find({}, flags("a:1", 1, 0)) is None
    assert distributed.find(SLURM, flags("a:1", 3, 0)) == found("a:1", 3, 0)  # flags come first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (flags(coordinator="a:1"), "--coordinator without --processes, --process:"),
        (flags(processes=2, process=0), "--processes, --process without --coordinator:"),
        (flags("a:1", 2), "--coordinator, --processes without --process:"),
        (flags("a", 2, 0), "the coordinator is 'a': it is the first process's HOST:PORT"),
        (flags("a:1", 2, 2), "--process is 2: of 2 processes it is 0 to 1"),
    ],
)
def test_incomplete_flags(given, message):
    with pytest.raises(distributed.StartError, match=message):
        distributed.find({}, given)


def test_slurm():
    # one task a node has all of its devices: no local_device_ids, and no detection by JAX, which would name one
    assert distributed.find(SLURM, NONE) == found("gpu007:61441", 4, 2)
    each = SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_LOCALID": "1"}
    assert distributed.find(each | {"CUDA_VISIBLE_DEVICES": "0,1"}, NONE) == found(
        "gpu007:61441", 4, 2, local_device_ids=[1]
    )
    assert distributed.find(each | {"CUDA_VISIBLE_DEVICES": "1"}, NONE) == found("gpu007:61441", 4, 2)
    assert distributed.find(SLURM | {"JAX_COORDINATOR_PORT": "9"}, NONE) == found("gpu007:9", 4, 2)
    assert distributed.find(SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, NONE) is None
    batch = {name: value for name, value in SLURM.items() if "STEP" not in name}  # sbatch without srun
    assert distributed.find(batch, NONE) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[001-0015],host2", "node001"),
        ("node[001,007-015]-ib,host2", "node001-ib"),
    ],
)
def test_the_first_host_of_a_list(nodes, first):
    assert distributed.find(SLURM | {"SLURM_STEP_NODELIST": nodes}, NONE) == found(f"{first}:61441", 4, 2)


def test_jobset():
    address = "rl-workers-0-0.rl"
    assert distributed.find(JOBSET, NONE) == found(f"{address}:8476", 8, 3)
    assert distributed.find(JOBSET | {"JAX_COORDINATOR_PORT": "99"}, NONE) == found(f"{address}:99", 8, 3)
    second_job = JOBSET | {"JOB_INDEX": "1", "PROCESSES_IN_JOB": "4"}
    assert distributed.find(second_job, NONE) == found(f"{address}:8476", 8, 7)
    assert distributed.find(JOBSET | {"JAX_COORDINATOR_ADDRESS": "b:7"}, NONE) == found("b:7", 8, 3)
    assert distributed.find(JOBSET | {"JAX_PROCESS_COUNT": "1", "JOB_COMPLETION_INDEX": "0"}, NONE) is None


def test_an_indexed_job_that_does_not_say_enough(monkeypatch):
    bare = {"JOB_COMPLETION_INDEX": "0"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(distributed.StartError, match=r"JAX_PROCESS_COUNT \(1 for a pod on its own\)"):
        distributed.find(bare, NONE)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert distributed.find(bare, NONE) == {}  # JAX asks the cluster
    with pytest.raises(distributed.StartError, match="is 'many': it has to be a number"):
        distributed.find(JOBSET | {"JAX_PROCESS_COUNT": "many"}, NONE)


def test_what_jax_finds_by_itself():
    assert distributed.find({}, NONE, tpu=True) == {}
    assert distributed.find(JOBSET, NONE, tpu=True) == {}  # GKE tells its TPU workers apart
    assert distributed.find({"JAX_PLATFORMS": "cpu"}, NONE, tpu=True) is None
    ompi = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
    assert distributed.find(ompi | {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:3"}, NONE) == {}
    with pytest.raises(distributed.StartError, match="give --coordinator"):
        distributed.find(ompi, NONE)


def test_an_empty_choice_of_platforms_is_none():
    assert distributed.find({"JAX_PLATFORMS": ""}, NONE, tpu=True) == {}


def test_by_hand():
    both = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_COUNT": "2"}
    assert distributed.find(both | {"JAX_PROCESS_ID": "1"}, NONE) == found("a:1", 2, 1)
    assert distributed.find(both | {"JAX_PROCESS_COUNT": "1"}, NONE) is None
    with pytest.raises(distributed.StartError, match="set JAX_PROCESS_ID"):
        distributed.find(both, NONE)


def test_lines_carry_the_process():
    out = io.StringIO()
    stream = distributed._Prefixed(out, "[process 3] ")
    for part in ("one", " more\ntwo\n", "\n"):
        stream.write(part)
    assert out.getvalue() == "[process 3] one more\n[process 3] two\n[process 3] \n"
