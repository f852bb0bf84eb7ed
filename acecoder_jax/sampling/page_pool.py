"""Who holds which page of the cache: counts of holders, and the pages that are free.

A page may have several holders: the samples of a group share the pages of their prompt. Page 0 belongs to nobody.
"""

from collections.abc import Iterable


class Pool:
    """The pages 1 ... pages - 1 of one shard of the cache."""

    def __init__(self, pages: int):
        self._free = list(range(pages - 1, 0, -1))
        self._holders: dict[int, int] = {}

    @property
    def free(self) -> int:
        """How many pages nobody holds."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """So many free pages, each with one holder. ValueError, and nothing taken, where there are fewer."""
        if count > self.free:
            raise ValueError(f"{count} pages are wanted, {self.free} are free")
        pages = [self._free.pop() for _ in range(count)]
        self._holders.update(dict.fromkeys(pages, 1))
        return pages

    def share(self, pages: Iterable[int]) -> None:
        """One holder more for each of these pages."""
        for page in pages:
            self._holders[page] += 1

    def give_back(self, pages: Iterable[int]) -> None:
        """One holder less for each of these pages; those without any are free."""
        for page in pages:
            self._holders[page] -= 1
            if not self._holders[page]:
                del self._holders[page]
                self._free.append(page)
