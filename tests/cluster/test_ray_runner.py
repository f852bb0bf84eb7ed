"""Ray on one node and on two of this machine: the files of the local run, whatever is lost on the way."""

import concurrent.futures
import threading
import time
from pathlib import Path

import pytest

from acecoder_jax import cluster
from acecoder_jax.cluster import ray as ray_runner
from acecoder_jax.stages import _work, synthesize
from configs import filter as filter_config
from configs import sample as sample_config
from tests.cluster.ray_work import make_work
from tests.stages.curating import STAGES, write
from tests.stages.fake_writer import question
from tests.stages.test_curating_chain import answer
from tests.stages.test_synthesize import configured, good, seed_of
from tests.writers.hostile_endpoint import Server, says

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[cluster]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")

ROWS = 24
SHARD = 3


@pytest.fixture(scope="module")
def two_nodes():
    """A cluster of one node; `add_node` and `remove_node` as the tests need them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 3}
        head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
        try:
            made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
            made.connect()
        except Exception as error:  # no ports, no shared memory: Ray's own affair
            pytest.skip(f"Ray does not start here: {type(error).__name__}: {error}")
        yield made
        ray.shutdown()
        made.shutdown()


def rows(**more):
    return [{"id": f"row_{number:02}"} | more.get(f"at_{number}", {}) for number in range(ROWS)]


def files(folder: Path, runner, todo) -> tuple[bytes, bytes]:
    """What the driver of the stages writes when this runner does the work."""
    wanted = [f"{row['id']}|{k}" for row in todo for k in (0, 1)]
    output, rejected = folder / "out.jsonl", folder / "rejected.jsonl"
    counts = _work.work_off(
        wanted, lambda done: todo, make_work, runner=runner, title="test", output=output, rejected=rejected
    )
    assert counts.done == 2 * ROWS
    return output.read_bytes(), rejected.read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return files(tmp_path_factory.mktemp("local"), cluster.make("local"), rows())


@pytest.fixture
def on_ray():
    return cluster.make("ray", shard_rows=SHARD)


def test_one_node(two_nodes, on_ray, expected, tmp_path):
    assert files(tmp_path, on_ray, rows()) == expected


def test_an_actor_that_dies_is_replaced(two_nodes, on_ray, expected, tmp_path, capsys):
    todo = rows(at_7={"once": str(tmp_path / "died")})
    assert files(tmp_path, on_ray, todo) == expected
    assert (tmp_path / "died").exists() and capsys.readouterr().out.count("is lost") == 1


@pytest.fixture
def held_up(on_ray, tmp_path):
    """A run in a thread, two shards of which begin with a row that waits for the file `go`."""
    go = tmp_path / "go"
    todo = rows(at_0={"wait": str(go)}, at_3={"wait": str(go)})
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        yield threads.submit(files, tmp_path, on_ray, todo)
        go.touch()


def begun(tmp_path, count):
    """Waits until so many of the rows that wait have begun, one a node."""
    until(lambda: len(list(tmp_path.glob("go.*"))) >= count)


def until(seen):
    deadline = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_node_that_joins_gets_work(two_nodes, held_up, expected, tmp_path):
    begun(tmp_path, 1)
    second = two_nodes.add_node(num_cpus=1)
    begun(tmp_path, 2)
    (tmp_path / "go").touch()
    assert held_up.result() == expected
    two_nodes.remove_node(second)


def test_two_nodes_and_one_of_them_is_lost(two_nodes, expected, tmp_path, monkeypatch, request):
    second = two_nodes.add_node(num_cpus=1)
    lost, lose = threading.Event(), ray_runner._Crew._lose
    monkeypatch.setattr(ray_runner._Crew, "_lose", lambda *args: (lose(*args), lost.set()))
    run = request.getfixturevalue("held_up")
    begun(tmp_path, 2)
    two_nodes.remove_node(second, allow_graceful=False)
    until(lost.is_set)  # before any of the two shards can end
    (tmp_path / "go").touch()
    assert run.result() == expected


def test_a_stage_writes_the_same_files(two_nodes, tmp_path):
    """synthesize from a folder of source and an endpoint: in this process, on one node, on two."""
    tree = tmp_path / "tree"
    tree.mkdir()
    functions = (f'def f{n}(text):\n    """Counts f{n}."""\n    return text.count("{n}") * {n}\n' for n in range(8))
    (tree / "seeds.py").write_text("".join(functions))

    def answer(asked):
        name = seed_of(asked.body)
        return says("I would rather not." if name in ("f2", "f7") else good(name))

    with Server(answer) as server:

        def run(name, runner):
            config = configured(server, tree, cluster=runner)
            with config.unlocked():
                config.cluster_args = {"shard_rows": 2} if runner == "ray" else {}
            synthesize.run(config, tmp_path / name)
            return [(tmp_path / name / f"{file}.jsonl").read_bytes() for file in ("seeds", "questions", "rejected")]

        local = run("local", "local")
        assert [text.count(b"\n") for text in local] == [8, 6, 2]
        assert run("one", "ray") == local
        second = two_nodes.add_node(num_cpus=1)
        assert run("two", "ray") == local
        two_nodes.remove_node(second)


def test_filter_and_sample_write_the_same_files(two_nodes, tmp_path):
    """A sandbox and a writer on each node, of one endpoint."""
    questions = write(tmp_path / "questions.jsonl", [question(number, wrong=2) for number in range(6)])
    files = {"filter": ("oracle", "filtered", "rejected"), "sample": ("programs", "dataset", "rejected")}
    with Server(answer) as server:

        def run(folder, runner):
            found, source = [], questions
            for name, module in (("filter", filter_config), ("sample", sample_config)):
                samples = ",samples=4" if name == "sample" else ""
                config = module.get_config(f"recipe,endpoint.base_url={server.url},sandbox.workers=1{samples}")
                with config.unlocked():
                    config.questions, config.cluster = str(source), runner
                    config.cluster_args = {"shard_rows": 2} if runner == "ray" else {}
                workdir = tmp_path / folder / name
                workdir.mkdir(parents=True)
                STAGES[name].run(config, workdir)
                found += [(workdir / f"{file}.jsonl").read_bytes() for file in files[name]]
                source = workdir / "filtered.jsonl"
            return found

        local = run("local", "local")
        assert [text.count(b"\n") for text in local] == [6, 6, 0, 24, 6, 0]
        assert run("one", "ray") == local
        second = two_nodes.add_node(num_cpus=1)
        assert run("two", "ray") == local
        two_nodes.remove_node(second)


def test_what_the_work_raises_arrives(two_nodes, on_ray):
    with pytest.raises(ValueError, match="row row_04 is bad"):
        list(on_ray(make_work, rows(at_4={"raises": True})))


def test_what_was_found_before_an_error_is_kept(two_nodes, on_ray):
    found = []
    with pytest.raises(ValueError, match="row_02 is bad"):
        found.extend(on_ray(make_work, rows(at_2={"raises": True})[:SHARD]))
    results = on_ray(make_work, rows(at_2={"raises": True})[:SHARD])
    kept = []
    with pytest.raises(ValueError):
        for row in results:
            kept.append(row["id"])
    assert kept == ["row_00|0", "row_00|1", "row_01|0", "row_01|1"]


def test_rows_that_no_actor_survives_are_named(two_nodes):
    runner = cluster.make("ray", shard_rows=SHARD, attempts=2)
    with pytest.raises(
        RuntimeError, match=r"a shard of 3 rows \(row_06, row_07, row_08, ...\) has been lost .* 2 times"
    ):
        list(runner(make_work, rows(at_7={"dies": True})))


def test_knobs_are_checked():
    with pytest.raises(ValueError, match="shard_rows must be at least 1, not 0"):
        cluster.make("ray", shard_rows=0)
    with pytest.raises(ValueError, match="the cluster 'ray' takes address, shard_rows, attempts, not nodes"):
        cluster.make("ray", nodes=2)
