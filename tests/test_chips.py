"""The table of chips: which device is which."""

import pytest

from acecoder_jax import chips


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v5p", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
    ],
)
def test_a_device_is_known_by_its_kind(kind: str, name: str) -> None:
    assert chips.of(kind) is chips.CHIPS[name]


def test_other_devices_are_not_known() -> None:
    assert chips.of("cpu") is None
    assert chips.of("NVIDIA GeForce RTX 4090") is None


def test_figures_are_of_the_right_size() -> None:
    for chip in chips.CHIPS.values():
        assert 16 * chips.GB <= chip.hbm_bytes <= 150 * chips.GB
        assert 50 < chip.bf16_flops / chip.hbm_bandwidth < 600  # operations a byte, as roofs of these chips are
        assert chip.ici_bandwidth < chip.hbm_bandwidth
