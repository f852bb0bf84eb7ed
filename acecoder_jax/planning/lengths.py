"""What a plan assumes of a run that it cannot know: lengths of texts, how full rows and slots are."""

import dataclasses

from jax.sharding import Mesh

from acecoder_jax.sampling.request import Layout
from acecoder_jax.training.head import HEAD_CHUNKS
from acecoder_jax.training.update import MICRO_BATCHES


@dataclasses.dataclass(frozen=True)
class Lengths:
    """prompt, response: mean tokens. packing: the share of a row that holds tokens; occupancy: of slots that decode."""

    prompt: float
    response: float
    packing: float
    occupancy: float

    @property
    def whole(self) -> float:
        """Tokens of a prompt with its response."""
        return self.prompt + self.response

    def turns(self, mesh: Mesh, rows: int, row_tokens: int, logit_chunk: int, sequences: int) -> dict[str, float]:
        """How often the loops of a trainer's function turn over so many sequences, by the names of their scopes."""
        room = rows * row_tokens * self.packing
        micro_batches = max(1, -(-sequences * self.whole // room))
        wanted = sequences * self.response / micro_batches / (mesh.size / mesh.shape["tensor"])
        return {MICRO_BATCHES: micro_batches, HEAD_CHUNKS: max(1, -(-wanted // logit_chunk))}

    def busy_slots(self, layout: Layout) -> float:
        """Slots of a host that decode at once: a sample takes pages for the longest answer before it starts."""
        room = layout.shard_pages * layout.page * layout.shards / layout.max_new_tokens
        return self.occupancy * min(layout.slots, room)
