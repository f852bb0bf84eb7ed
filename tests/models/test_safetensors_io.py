"""Our reader against the safetensors package's writer, our writer against its reader, and damaged files."""

import json
import weakref

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from acecoder_jax.models import safetensors_io as st

RNG = np.random.default_rng(0)
TENSORS = {
    "a.weight": RNG.normal(size=(3, 5)).astype(ml_dtypes.bfloat16),
    "b": RNG.normal(size=(7,)).astype(np.float32),
    "c.bias": RNG.normal(size=(2, 2, 2)).astype(np.float16),
}


@pytest.fixture
def file(tmp_path):
    save_file(TENSORS, tmp_path / st.SINGLE, metadata={"format": "pt"})
    return tmp_path / st.SINGLE


def test_reads_what_safetensors_writes(file):
    stored = st.read_header(file)
    assert stored.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert stored[name].map().dtype == tensor.dtype
        np.testing.assert_array_equal(stored[name].map(), tensor)


@pytest.mark.parametrize("dtype", st.DTYPES.values(), ids=st.DTYPES.keys())
def test_safetensors_reads_what_is_written(tmp_path, dtype):
    tensors = {name: tensor.astype(dtype) for name, tensor in TENSORS.items()}
    kinds = {name: (tensor.shape, np.dtype(dtype)) for name, tensor in tensors.items()}
    st.write_file(tmp_path / "x.safetensors", kinds, tensors.__getitem__)
    again = load_file(tmp_path / "x.safetensors")
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype
        np.testing.assert_array_equal(again[name], tensor)


def test_the_writer_holds_one_tensor_at_a_time(tmp_path):
    last = None

    def read(name):
        nonlocal last
        assert last is None or last() is None  # the one before is gone
        tensor = np.zeros(1000, np.float32)
        last = weakref.ref(tensor)
        return tensor

    st.write_file(tmp_path / "x", {str(i): ((1000,), np.dtype(np.float32)) for i in range(4)}, read)
    assert (tmp_path / "x").stat().st_size > 16_000


@pytest.mark.parametrize("bad", [np.zeros((3, 4), np.float32), np.zeros((4, 3), np.float16)])
def test_the_writer_refuses_another_shape_or_type(tmp_path, bad):
    with pytest.raises(ValueError, match=r"tensor 'w' is .*, expected float32 \(4, 3\)"):
        st.write_file(tmp_path / "x", {"w": ((4, 3), np.dtype(np.float32))}, lambda name: bad)


def rewrite(file, change):
    """Puts a changed header in front of the same bytes."""
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = change(json.loads(raw[8 : 8 + length]))
    new = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(new).to_bytes(8, "little") + new + raw[8 + length :])


def changed(name, **fields):
    return lambda header: header | {name: header[name] | fields}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: b"{not json", "damaged header"),
        (lambda header: b'"\xff\xfe"', "damaged header"),
        (lambda header: [1, 2], "damaged header"),
        (lambda header: header | {"b": 3}, "damaged header"),
        (lambda header: header | {"b": {"dtype": "F32"}}, "damaged header"),
        (changed("b", shape=[8]), "'b' of shape .8. .* damaged header"),
        (changed("b", shape=[-7]), "'b' of shape .-7. .* damaged header"),
        (changed("b", data_offsets=[-28, 0]), "'b' .* damaged header"),
        (changed("b", data_offsets=[1000, 1028]), "truncated: tensor 'b' ends at byte"),
        (changed("b", dtype="F64"), "tensor 'b' is F64; supported: BF16, F16, F32"),
        (changed("b", dtype=7), "tensor 'b' is 7; supported"),
        (lambda header: {name: row for name, row in header.items() if name != "c.bias"}, "header describes"),
    ],
)
def test_a_damaged_header_is_named(file, change, message):
    rewrite(file, change)
    with pytest.raises(ValueError, match=message) as raised:
        st.read_header(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("size", [0, 5, 8, 100, -30, -1])
def test_a_truncated_file_is_named(file, size):
    raw = file.read_bytes()
    file.write_bytes(raw[:size])
    with pytest.raises(ValueError, match="truncated") as raised:
        st.read_header(file)
    assert str(file) in str(raised.value)


def test_a_file_with_bytes_left_over_is_refused(file):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="its header describes"):
        st.read_header(file)


@pytest.fixture
def indexed(tmp_path):
    files = {"one.safetensors": ["a.weight", "b"], "two.safetensors": ["c.bias"]}
    for file, names in files.items():
        save_file({name: TENSORS[name] for name in names}, tmp_path / file)
    weight_map = {name: file for file, names in files.items() for name in names}
    (tmp_path / st.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return tmp_path


def test_an_indexed_checkpoint(indexed):
    stored = st.open_checkpoint(indexed)
    assert {name: tensor.file.name for name, tensor in stored.items()} == {
        "a.weight": "one.safetensors",
        "b": "one.safetensors",
        "c.bias": "two.safetensors",
    }
    np.testing.assert_array_equal(stored["c.bias"].map(), TENSORS["c.bias"])


def edit_index(directory, **weight_map):
    index = json.loads((directory / st.INDEX).read_text())
    index["weight_map"] = {name: file for name, file in (index["weight_map"] | weight_map).items() if file != ""}
    (directory / st.INDEX).write_text(json.dumps(index))


def test_a_missing_shard_is_named(indexed):
    (indexed / "two.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"two.safetensors does not exist"):
        st.open_checkpoint(indexed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d": "one.safetensors"}, "one.safetensors lacks the tensor 'd'"),
        ({"b": ""}, "one.safetensors holds the tensor 'b' .* does not list"),
        ({"b": "../one.safetensors"}, r"names the file '../one.safetensors', which is not beside it"),
        ({"b": 3}, "has no weight_map"),
    ],
)
def test_an_index_that_does_not_match_is_refused(indexed, change, message):
    edit_index(indexed, **change)
    with pytest.raises(ValueError, match=message):
        st.open_checkpoint(indexed)


def test_a_damaged_index_is_named(indexed):
    (indexed / st.INDEX).write_text("{")
    with pytest.raises(ValueError, match=r"index.json is not JSON"):
        st.open_checkpoint(indexed)
    (indexed / st.INDEX).write_text("[]")
    with pytest.raises(ValueError, match=r"index.json holds a list, expected an object"):
        st.open_checkpoint(indexed)


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither model.safetensors nor model.safetensors.index.json"):
        st.open_checkpoint(tmp_path)
