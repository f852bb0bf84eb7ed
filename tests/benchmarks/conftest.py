"""What the tests of EvalPlus' benchmarks share."""

import pytest


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """A cache of their own for what reference programs return."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
