"""What an accelerator's chip can do by its maker's sheet: for utilisation, for bounds on time, for plans.

Sources: cloud.google.com/tpu/docs (v4, v5e, v5p, v6e) and NVIDIA's data sheets of A100, H100 and H200 (SXM), dense
rates. The interconnect is that of one chip to its neighbours, all links and both directions together.
"""

import dataclasses

GB, GIB, TERA = 10**9, 2**30, 1e12


@dataclasses.dataclass(frozen=True)
class Chip:
    """hbm_bytes: memory; hbm_bandwidth, ici_bandwidth: bytes a second; bf16_flops: operations a second."""

    name: str
    hbm_bytes: int
    hbm_bandwidth: float
    bf16_flops: float
    ici_bandwidth: float


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", 32 * GIB, 1200e9, 275 * TERA, 300e9),
        Chip("v5e", 16 * GIB, 819e9, 197 * TERA, 200e9),
        Chip("v5p", 95 * GIB, 2765e9, 459 * TERA, 600e9),
        Chip("v6e", 32 * GIB, 1640e9, 918 * TERA, 400e9),
        Chip("A100-40GB", 40 * GB, 1555e9, 312 * TERA, 600e9),
        Chip("A100-80GB", 80 * GB, 2039e9, 312 * TERA, 600e9),
        Chip("H100", 80 * GB, 3350e9, 989 * TERA, 900e9),
        Chip("H200", 141 * GB, 4800e9, 989 * TERA, 900e9),
    )
}

# Parts of `jax.Device.device_kind` by which a chip is known; the first that is found counts.
KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "A100-SXM4-40GB": "A100-40GB",
    "A100-SXM4-80GB": "A100-80GB",
    "H100 80GB HBM3": "H100",
    "NVIDIA H200": "H200",
}


def of(device_kind: str) -> Chip | None:
    """The chip of a device, by its kind; None for a CPU and for what the table does not know.

    "TPU v5 lite" -> v5e, "TPU v5p" -> v5p, "NVIDIA H100 80GB HBM3" -> H100.
    """
    return next((CHIPS[name] for part, name in KINDS.items() if part in device_kind), None)
