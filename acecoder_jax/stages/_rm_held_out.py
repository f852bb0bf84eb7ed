"""A reward model's scores of the comparisons held out from training, and what they are worth."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from acecoder_jax.models.decoder import Params
from acecoder_jax.stages._rm_data import Compared, program_lengths
from acecoder_jax.training.comparisons import beginning
from acecoder_jax.training.packing import TokenSequence
from acecoder_jax.training.reward_metrics import comparison_metrics, correlations
from acecoder_jax.training.reward_trainer import text_sequence
from acecoder_jax.training.update import PerToken

TEXTS = 64  # texts of a call of the compiled function


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """scores: of `make_scores`, for TEXTS texts a call. lengths: tokens of each program, in the order of the texts."""

    compared: Sequence[Compared]
    lengths: Sequence[int]
    scores: PerToken

    @classmethod
    def of(cls, compared: Sequence[Compared], words: Any, scores: PerToken) -> "HeldOut":
        """words: the tokenizer that counts the tokens of programs."""

        def count(reply: str) -> int:
            return len(words.encode(reply, add_special_tokens=False))

        return cls(compared, program_lengths(compared, count), scores)

    def measure(self, params: Params, check: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Metrics by their names, `heldout_accuracy` and so on; {} where nothing is held out. All comparisons count
        alike. check: called between calls of the compiled function; what it raises ends the evaluation. Of several
        processes all run that function together, so it has to raise in all of them or in none.
        """
        if not self.compared:
            return {}
        score_n = self._score(params, check)
        pairs, first = [], 0
        for one in self.compared:
            pairs += [(first + better, first + worse) for better, worse, _ in one.wins]
            first += len(one.tokens)
        better_n, worse_n = score_n[np.array(pairs).T]
        found = comparison_metrics(better_n, worse_n)
        found |= {f"length_{name}": value for name, value in correlations(score_n, self.lengths).items()}
        return {f"heldout_{name}": value for name, value in found.items()}

    def _score(self, params: Params, check: Callable[[], None]) -> np.ndarray:
        """The score of each text. Those of a question stand together, and share it; the longest come first, so that
        those of like length share rows.
        """
        sequences: list[TokenSequence] = []
        groups: list[tuple[int, range]] = []  # the longest text's length, places in sequences
        for one in self.compared:
            groups.append((max(map(len, one.tokens)), range(len(sequences), len(sequences) + len(one.tokens))))
            prompt = max(1, beginning(one.tokens))
            sequences += [text_sequence(tokens_n, prompt) for tokens_n in one.tokens]
        order = [i for _, places in sorted(groups, key=lambda group: -group[0]) for i in places]
        score_n = np.zeros(len(sequences))
        for part in (order[start : start + TEXTS] for start in range(0, len(order), TEXTS)):
            check()
            found = self.scores(params, [sequences[i] for i in part])
            score_n[part] = [number_n[-1] for number_n in found]
        return score_n
