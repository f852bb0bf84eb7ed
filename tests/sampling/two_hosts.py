"""One of two processes with two devices each, run by test_engine_hosts.py: decodes its share and writes it down.

python two_hosts.py PROCESS PORT FILE MODE
"""

import json
import sys
from pathlib import Path

import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")

from acecoder_jax import parallel, tokenizer  # noqa: E402
from acecoder_jax.models.config import ModelConfig  # noqa: E402
from acecoder_jax.models.decoder import Model  # noqa: E402
from acecoder_jax.models.sharding import param_shardings  # noqa: E402
from acecoder_jax.sampling.draw import SamplingParams  # noqa: E402
from acecoder_jax.sampling.engine import Engine, Request  # noqa: E402

WORDS = tokenizer.train_bpe(["def add(a, b):\n    return a + b\n", "Write a function that adds two numbers."] * 3, 300)
CONFIG = ModelConfig(
    vocab_size=300, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
    rope_theta=1e3, initializer_range=0.3,
)  # fmt: skip
SHARES = (11, 1)  # requests of each process


def requests(process: int) -> list[Request]:
    """Groups of three samples; some greedy, so that the processes ask for different things."""
    first = sum(SHARES[:process])
    return [
        Request(f"p{n // 3}", tuple(range(n // 3 + 1, 2 * (n // 3) + 4)), SAMPLING[n % 2], n % 3)
        for n in range(first, first + SHARES[process])
    ]


SAMPLING = (SamplingParams(max_new_tokens=13), SamplingParams(temperature=0.0, max_new_tokens=7))


def engine(mesh: jax.sharding.Mesh | None, params: dict) -> Engine:
    made = Engine(
        CONFIG, WORDS, slots=4, max_prompt_tokens=16, max_new_tokens=16, seed=1, dtype="float32", chunk=4, page=4,
        prefill_rows=2, prefill_width=4, mesh=mesh,
    )  # fmt: skip
    made.update(params)
    return made


def main() -> None:
    process, port, file, mode = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=process)
    model = Model(CONFIG)
    devices = jax.devices()
    if mode == "mixed":  # the trainer's mesh does not keep the processes' devices together
        devices = [devices[place] for place in (0, 2, 1, 3)]
    train_mesh = parallel.make_mesh(fsdp=4, devices=devices)
    params = model.init(jax.random.key(0), param_shardings(model.abstract_params, train_mesh))
    if mode == "spanning":
        mesh = parallel.make_mesh(data=2, fsdp=1, tensor=2)
    else:
        mesh = parallel.make_mesh(data=1, fsdp=1, tensor=2, devices=jax.local_devices())
    made = engine(mesh, params)
    answers = [completion.to_json() for completion in made.generate(requests(process), "rollout")]
    again = [completion.to_json() for completion in made.generate(requests(process), "rollout")]
    file.write_text(json.dumps([answers, again]))


if __name__ == "__main__":
    main()
