"""The shape of a Qwen2.5 decoder, read from and written to a Hugging Face `config.json`."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Self

ARCHITECTURES = ("Qwen2ForCausalLM",)
MODEL_TYPES = ("qwen2",)
ACTIVATIONS = ("silu",)
ROPE_TYPES = ("default", "yarn")
FULL, SLIDING = "full_attention", "sliding_attention"

# Switches of the format that this decoder does not have, with the one value that leaves each of them off.
OFF = {"quantization_config": None, "attention_dropout": 0.0, "partial_rotary_factor": 1.0}


@dataclasses.dataclass(frozen=True)
class YarnScaling:
    """RoPE stretched to longer contexts by YaRN (arXiv 2309.00071); the arithmetic is in rope.py.

    factor: context length over the original one.
    beta_fast, beta_slow: turns within the original context above which a frequency is kept and below which it is
        divided by factor; between the two is a ramp, whose ends truncate rounds to whole dimensions.
    attention_factor: multiplies sine and cosine; None derives it from factor and, where both are given, from mscale
        and mscale_all_dim.
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of the decoder.

    sliding_window: keys that a query of a windowed layer sees, itself included; None where no layer is windowed.
    max_window_layers: layers from this index on are windowed.
    layer_types: "full_attention" or "sliding_attention" for each layer, overriding max_window_layers; None elsewhere.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    rope_scaling: YarnScaling | None = None
    tie_word_embeddings: bool = False
    max_position_embeddings: int = 32768
    sliding_window: int | None = None
    max_window_layers: int = 0
    layer_types: tuple[str, ...] | None = None
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        sizes = (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_layers",
            "num_heads",
            "num_kv_heads",
            "head_dim",
        )
        for name in sizes:
            if not isinstance(size := getattr(self, name), int) or size < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is no multiple of num_kv_heads {self.num_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for RoPE, got {self.head_dim}")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ValueError(f"sliding_window must be at least 1 or None, got {self.sliding_window}")
        if self.layer_types is not None:
            self._check_layer_types(self.layer_types)

    def _check_layer_types(self, layer_types: tuple[str, ...]) -> None:
        if len(layer_types) != self.num_layers:
            raise ValueError(f"layer_types names {len(layer_types)} layers, the model has {self.num_layers}")
        if unknown := sorted(set(layer_types) - {FULL, SLIDING}):
            raise ValueError(f"layer_types {unknown} are not supported: use {FULL} or {SLIDING}")
        if SLIDING in layer_types and self.sliding_window is None:
            raise ValueError(f"layer_types has {SLIDING} layers but no sliding_window is set")

    @property
    def windows(self) -> tuple[int | None, ...]:
        """For each layer, how many keys a query sees (itself included); None for all that come before it."""
        if self.layer_types is not None:
            return tuple(self.sliding_window if kind == SLIDING else None for kind in self.layer_types)
        return tuple(self.sliding_window if i >= self.max_window_layers else None for i in range(self.num_layers))

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any], architectures: Collection[str] = ARCHITECTURES) -> Self:
        """The config from the parsed `config.json` of transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters).

        architectures: names of classes that will do, where the file names any.

        Raises ValueError that names a missing key, or what is unsupported and what is supported.
        """
        for architecture in hf.get("architectures") or ():
            _supported("architecture", architecture, architectures)
        _supported("model_type", _need(hf, "model_type"), MODEL_TYPES)
        _supported("hidden_act", hf.get("hidden_act", "silu"), ACTIVATIONS)
        for key, off in OFF.items():
            if hf.get(key) not in (None, off):
                raise ValueError(f"config.json: {key} = {hf[key]!r} is not supported, only {off!r}")
        theta, scaling = _rope_from_hf(hf)
        num_layers, window, first = _need(hf, "num_hidden_layers"), None, 0
        if hf.get("use_sliding_window"):
            window, first = _need(hf, "sliding_window"), _need(hf, "max_window_layers")
        config = cls(
            vocab_size=_need(hf, "vocab_size"),
            hidden_size=_need(hf, "hidden_size"),
            intermediate_size=_need(hf, "intermediate_size"),
            num_layers=num_layers,
            num_heads=_need(hf, "num_attention_heads"),
            num_kv_heads=_need(hf, "num_key_value_heads"),
            head_dim=hf.get("head_dim") or _need(hf, "hidden_size") // _need(hf, "num_attention_heads"),
            rms_norm_eps=_need(hf, "rms_norm_eps"),
            rope_theta=theta,
            rope_scaling=scaling,
            tie_word_embeddings=_need(hf, "tie_word_embeddings"),
            max_position_embeddings=_need(hf, "max_position_embeddings"),
            sliding_window=window,
            max_window_layers=first,
            initializer_range=hf.get("initializer_range", 0.02),
        )
        if hf.get("layer_types") is None:
            return config
        explicit = dataclasses.replace(config, layer_types=tuple(hf["layer_types"]))
        return config if explicit.windows == config.windows else explicit

    def to_hf(self, dtype: str = "bfloat16") -> dict[str, Any]:
        """The `config.json` of a checkpoint stored as dtype, in the layout that transformers 4 and 5 both read.

        Versions before 4.57 read it too, but know less of sliding windows, of YaRN and of a head_dim of its own.
        """
        hf: dict[str, Any] = {
            "architectures": list(ARCHITECTURES),
            "model_type": MODEL_TYPES[0],
            "torch_dtype": dtype,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": ACTIVATIONS[0],
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": None if self.rope_scaling is None else _yarn_to_hf(self.rope_scaling),
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_dropout": 0.0,
            "use_sliding_window": self.sliding_window is not None,
            "sliding_window": self.sliding_window,
            "max_window_layers": self.max_window_layers,
            "initializer_range": self.initializer_range,
            "use_cache": True,
        }
        if self.layer_types is not None:
            hf["layer_types"] = list(self.layer_types)
        return hf


def _need(hf: Mapping[str, Any], key: str) -> Any:
    if hf.get(key) is None:
        raise ValueError(f"config.json lacks the key {key!r}")
    return hf[key]


def _supported(what: str, value: str, supported: Collection[str]) -> None:
    if value not in supported:
        raise ValueError(f"config.json: {what} {value!r} is not supported; supported: {', '.join(supported)}")


def _rope_from_hf(hf: Mapping[str, Any]) -> tuple[float, YarnScaling | None]:
    """rope_theta and the scaling, from either layout; where a file has both, rope_scaling wins, as in transformers."""
    rope = dict(hf.get("rope_scaling") or hf.get("rope_parameters") or {})
    if nested := sorted(key for key in (FULL, SLIDING) if key in rope):
        raise ValueError(
            f"config.json: RoPE parameters apart for {nested} are not supported, only one set for all layers"
        )
    theta = rope.pop("rope_theta", None) or _need(hf, "rope_theta")
    kind = rope.pop("rope_type", None) or rope.get("type") or "default"
    rope.pop("type", None)
    _supported("rope type", kind, ROPE_TYPES)
    if rope.get("partial_rotary_factor") not in (None, 1.0):
        raise ValueError(
            f"config.json: partial_rotary_factor = {rope['partial_rotary_factor']} is not supported, only 1.0"
        )
    return float(theta), _yarn_from_hf(rope, hf) if kind == "yarn" else None


def _yarn_from_hf(rope: dict[str, Any], hf: Mapping[str, Any]) -> YarnScaling:
    rope = {key: value for key, value in rope.items() if value is not None and key != "partial_rotary_factor"}
    rope.setdefault("original_max_position_embeddings", _need(hf, "max_position_embeddings"))
    rope.setdefault("factor", _need(hf, "max_position_embeddings") / rope["original_max_position_embeddings"])
    known = {field.name for field in dataclasses.fields(YarnScaling)}
    if unknown := sorted(rope.keys() - known):
        raise ValueError(f"config.json: YaRN has unknown keys {unknown}; known: {', '.join(sorted(known))}")
    return YarnScaling(**rope)


def _yarn_to_hf(yarn: YarnScaling) -> dict[str, Any]:
    # transformers 4 first read "type", later "rope_type".
    given = {key: value for key, value in dataclasses.asdict(yarn).items() if value is not None}
    return {"type": "yarn", "rope_type": "yarn", **given}


def _published() -> dict[str, ModelConfig]:
    # size: layers, hidden, intermediate, heads, kv heads. Up to 3B the head is tied and the vocabulary 151,936 rows.
    sizes = {
        "0.5B": (24, 896, 4864, 14, 2),
        "1.5B": (28, 1536, 8960, 12, 2),
        "3B": (36, 2048, 11008, 16, 2),
        "7B": (28, 3584, 18944, 28, 4),
        "14B": (48, 5120, 13824, 40, 8),
        "32B": (64, 5120, 27648, 40, 8),
        "72B": (80, 8192, 29568, 64, 8),
    }
    configs = {}
    for size, (layers, hidden, intermediate, heads, kv_heads) in sizes.items():
        tied = size in ("0.5B", "1.5B", "3B")
        config = ModelConfig(
            vocab_size=151936 if tied else 152064,
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=hidden // heads,
            tie_word_embeddings=tied,
        )
        configs[f"Qwen2.5-{size}-Instruct"] = config
        if size != "72B":
            configs[f"Qwen2.5-Coder-{size}-Instruct"] = config
    return configs


PUBLISHED = _published()
"""The published instruction-tuned models by name. They set no sliding window, and no YaRN until the user adds it."""
