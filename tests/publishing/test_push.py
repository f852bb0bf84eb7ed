"""Pushing to a hub that stands on the loopback: what arrives, what is refused, and that no token is ever told."""

import traceback

import huggingface_hub.constants
import pytest

from acecoder_jax.publishing import push
from tests.publishing.hub import TOKEN, hub

WRONG = "hf_wrong000000000000000000000000000"


@pytest.fixture
def at(monkeypatch):
    """Lets the client talk to an address, with a token in the environment."""

    def set_up(address, token=TOKEN):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        for name in push.TOKEN_NAMES:
            monkeypatch.delenv(name, raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)

    return set_up


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("# a card")
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1\0")
    (tmp_path / ".hidden").write_text("not for others")
    return tmp_path


def test_what_arrives(at, folder):
    with hub() as (address, seen, files):
        at(address)
        told = push.push(folder, "me/mine", private=True, message="m")
    assert told.endswith("/datasets/me/mine/commit/abc") and any(path.endswith("/repos/create") for path in seen)
    assert files == {"README.md": b"# a card", "data/train-00000-of-00001.parquet": b"PAR1\0"}


@pytest.mark.parametrize(
    ("token", "forbidden", "told"),
    [
        ("", False, "no token for the hub: put one into the environment as HF_TOKEN"),
        (WRONG, False, "the hub does not accept the token in HF_TOKEN: make one with write access at"),
        (TOKEN, True, "the token in HF_TOKEN may not write to me/mine"),
    ],
)
def test_a_token_that_is_missing_or_wrong(at, folder, token, forbidden, told, capfd, caplog):
    with hub(forbidden) as (address, _, files):
        at(address, token)
        with pytest.raises(ValueError, match=told) as caught:
            push.push(folder, "me/mine", private=True, message="m")
    assert files == {}
    everything = "".join(traceback.format_exception(caught.value)) + "".join(capfd.readouterr()) + caplog.text
    assert not token or token not in everything


def test_no_hub(at, folder):
    at("http://127.0.0.1:9")  # the port of "discard": nobody listens
    with pytest.raises(ConnectionError, match=r"the hub could not be reached: .* the dataset is whole in"):
        push.push(folder, "me/mine", private=True, message="m")


def test_names_that_cannot_be(at, folder):
    at("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="nothing was pushed to me/mi ne!: Repo id must use"):
        push.push(folder, "me/mi ne!", private=True, message="m")
