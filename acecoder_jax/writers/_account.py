"""What a writer has spent, and whether there is money for another request."""

import dataclasses
import math

from acecoder_jax.writers import BudgetSpent, Request

CHARACTERS_A_TOKEN = 4  # for texts whose endpoint does not say how many tokens they had


@dataclasses.dataclass
class Account:
    """Money in USD. price_in, price_out: of a million tokens read and written. budget: 0 sets no limit.

    spent: by earlier starts too. average: of the requests that cost anything, this start's.
    """

    price_in: float
    price_out: float
    budget: float
    spent: float
    paid: int = 0
    paid_usd: float = 0.0

    def __post_init__(self) -> None:
        for name in ("price_in", "price_out", "budget", "spent"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name}_usd must be a number from 0 on, got {value}")
        if self.budget and not (self.price_in or self.price_out):
            raise ValueError("a budget needs prices: set price_in_usd and price_out_usd (of a million tokens)")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD of so many tokens."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6

    def pay(self, cost_usd: float) -> None:
        """Notes what a request has cost."""
        self.spent += cost_usd
        self.paid_usd += cost_usd
        self.paid += cost_usd > 0

    def check(self, under_way: int = 0) -> None:
        """BudgetSpent where the money is gone, once those under way have cost what requests cost on average."""
        expected = under_way * self.paid_usd / self.paid if self.paid else 0.0
        if self.budget and self.spent + expected >= self.budget:
            raise BudgetSpent(f"the budget of {self.budget:.4g} USD is spent")


def estimate(request: Request, text: str) -> tuple[int, int]:
    """Tokens of the prompt and of the text, by their lengths."""
    prompt = sum(len(message["content"]) for message in request.messages) if request.messages else len(request.prefix)
    return -(-prompt // CHARACTERS_A_TOKEN), -(-len(text) // CHARACTERS_A_TOKEN)
