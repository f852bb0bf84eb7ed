import pytest

from acecoder_jax import writers


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")


@pytest.fixture
def endpoint(request):
    """Makes writers that are impatient, and closes them."""
    made = []

    def make(server, **knobs):
        quick = {
            "model": "m",
            "key_env": "TEST_KEY",
            "backoff_s": 0.002,
            "backoff_cap_s": 0.01,
            "attempts": 3,
            "stream": False,
        }
        made.append(writers.make("endpoint", base_url=server.url, **(quick | knobs)))
        return made[-1]

    yield make
    for writer in made:
        writer.close()
