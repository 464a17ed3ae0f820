"""Several sources of bodies as one, in fixed proportions."""

from collections.abc import Mapping

from ctmar.anatomy.body import Anatomy, AnatomySource
from ctmar.errors import CtmarError


class Mixture:
    """Bodies from several sources, dealt round by round: the shares hold in every stretch of cases.

    Args:
        sources: Sources by name.
        parts: How many cases of a round each source gives; one each where None.
        name: What reports call the mixture; a body keeps its own name.
    """

    def __init__(
        self,
        sources: Mapping[str, AnatomySource],
        parts: Mapping[str, int] | None = None,
        name: str = "mixture",
    ) -> None:
        parts = dict.fromkeys(sources, 1) if parts is None else dict(parts)
        if not sources or set(parts) != set(sources):
            required = f"parts must name the sources {', '.join(sources) or '(none)'}"
            raise CtmarError(f"{required}, got {', '.join(parts) or 'none'}")
        for source, count in parts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise CtmarError(f"parts.{source} must be a positive whole number, got {count!r}")
        self.sources, self.parts, self.name = dict(sources), parts, name
        self._round = [(source, place) for source, count in parts.items() for place in range(count)]

    def place(self, index: int) -> tuple[str, int]:
        """Which source a case is from, and its number there; every number is used once."""
        if index < 0:
            raise CtmarError(f"index must be at least 0, got {index}")
        rounds, position = divmod(index, len(self._round))
        source, place = self._round[position]
        return source, rounds * self.parts[source] + place

    def pick(self, split: str, index: int) -> tuple[Anatomy, range]:
        """The body of a case, as its source gives it."""
        source, own = self.place(index)
        return self.sources[source].pick(split, own)
