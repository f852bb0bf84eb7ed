import contextlib

import pytest

from acecoder_jax import cluster


def test_the_work_is_built_once_and_taken_down_when_the_results_are_dropped():
    life = []

    @contextlib.contextmanager
    def make_work():
        life.append("built")
        try:
            yield lambda rows: ({"id": row["id"] * 2} for row in rows)
        finally:
            life.append("down")

    results = cluster.make("local")(make_work, [{"id": "a"}, {"id": "b"}, {"id": "c"}])
    assert life == [] and next(results) == {"id": "aa"} and life == ["built"]
    results.close()
    assert life == ["built", "down"]
    assert list(cluster.make("local")(make_work, [{"id": "a"}])) == [{"id": "aa"}]


def test_unknown_names_and_knobs_are_told():
    with pytest.raises(ValueError, match=r"unknown cluster 'moon': .* local"):
        cluster.make("moon")
    with pytest.raises(ValueError, match="the cluster 'local' takes no knobs, not nodes"):
        cluster.make("local", nodes=2)
