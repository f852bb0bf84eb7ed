import pytest

from acecoder_jax.sandbox import Limits, Sandbox


@pytest.fixture(scope="session")
def sandbox():
    with Sandbox(workers=1, limits=Limits(test_s=0.3, program_s=1.5), quiet=True) as running:
        yield running


@pytest.fixture(scope="session")
def inside_sandbox():
    with Sandbox(workers=1, limits=Limits(test_s=0.3, program_s=1.5), allow_inside=True, quiet=True) as running:
        yield running
