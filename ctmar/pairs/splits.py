"""Names divided among training, validation and test; what belongs together stays together."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ctmar.data.setup import SPLITS
from ctmar.errors import CtmarError

SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
"""Of files or groups, where no split is told."""
GAP = 3
"""Files between two splits that belong to neither, where no pattern says whose they are: neighbours may be
slices of one patient."""


def divided(
    names: Sequence[str],
    splits: Mapping[str, Any] | None = None,
    group: str | None = None,
    gap: int | None = None,
) -> dict[str, list[str]]:
    r"""Names by split.

    Args:
        names: All there are.
        splits: A share for each split (numbers), or a list of names for each, in which ``*`` stands for any
            text; a split that is left out is empty. None is :data:`SHARES`.
        group: Regular expression whose first group (else the whole of it) is whose file a name is, such as
            ``(p\d+)_``. Names of one group come into one split.
        gap: For shares, files or groups between two splits that belong to neither; None is 0 for groups and
            :data:`GAP` for files.

    Raises:
        CtmarError: A split of another name, shares that do not fit, a name in no list or in two, a group that
            lists tear apart, a pattern that does not match.
    """
    splits = SHARES if splits is None else splits
    unknown = [str(split) for split in splits if split not in SPLITS]
    if unknown:
        raise CtmarError(f"splits must be of {', '.join(SPLITS)}, got {unknown[0]!r}")
    owners = {name: _owner(name, group) for name in sorted(names)}
    if all(isinstance(share, (int, float)) and not isinstance(share, bool) for share in splits.values()):
        gap = (GAP if group is None else 0) if gap is None else gap
        of_owner = _by_share(list(dict.fromkeys(owners.values())), splits, gap)
        return _gathered({name: of_owner.get(owner) for name, owner in owners.items()})
    chosen = _by_list(list(owners), splits)
    torn = {owner: {chosen[name] for name in owners if owners[name] == owner} for owner in owners.values()}
    for owner, where in torn.items():
        if len(where) > 1:
            told = " and ".join(sorted(str(split or "no split") for split in where))
            raise CtmarError(f"files of one group must be in one split, got {owner} in {told}")
    return _gathered(chosen)


def of_split(names: Mapping[str, list[str]], split: str) -> list[str]:
    """The names of a split; a CtmarError where it has none."""
    if not names.get(split):
        total = sum(map(len, names.values()))
        raise CtmarError(f"split {split} must hold a file, got none of {total} (data.splits)")
    return names[split]


def _owner(name: str, group: str | None) -> str:
    if group is None:
        return name
    try:
        found = re.search(group, name)
    except re.error as error:
        raise CtmarError(f"group must be a regular expression, got {group!r}: {error}") from None
    if found is None:
        raise CtmarError(f"group must match every name, {group!r} does not match {name!r}")
    return found[1] if found.re.groups else found[0]


def _by_share(owners: Sequence[str], shares: Mapping[str, float], gap: int) -> dict[str, str]:
    """One stretch of the names in their order for each split, so that neighbours are seldom torn apart."""
    if any(share < 0 for share in shares.values()) or not 0 < sum(shares.values()) <= 1 + 1e-9:
        told = ", ".join(f"{split}: {share:g}" for split, share in shares.items())
        raise CtmarError(f"shares must be 0 or more and add up to 1 at most, got {{{told}}}")
    if gap < 0:
        raise CtmarError(f"gap must be 0 or more, got {gap}")
    order = [split for split in SPLITS if shares.get(split)]
    usable = len(owners) - gap * (len(order) - 1)
    if usable < len(order):
        raise CtmarError(
            f"there must be {len(order) + gap * (len(order) - 1)} files or groups or more to divide with gaps"
            f" of {gap}, got {len(owners)}"
        )
    sizes = {split: max(1, round(shares[split] * usable)) for split in order}
    largest = max(order, key=lambda split: sizes[split])
    # The largest bears what rounding takes or leaves.
    whole = round(sum(shares[split] for split in order) * usable)
    sizes[largest] += whole - sum(sizes.values())
    found: dict[str, str] = {}
    start = 0
    for split in order:
        found |= dict.fromkeys(owners[start : start + sizes[split]], split)
        start += sizes[split] + gap
    return found


def _by_list(names: Sequence[str], splits: Mapping[str, Any]) -> dict[str, str | None]:
    chosen: dict[str, str | None] = dict.fromkeys(names)
    for split, patterns in splits.items():
        if not isinstance(patterns, (list, tuple)) or not all(isinstance(one, str) for one in patterns):
            raise CtmarError(f"splits must be shares or lists of names, got {split}: {patterns!r}")
        for pattern in patterns:
            matching = [name for name in names if fnmatchcase(name, pattern)]
            if not matching:
                raise CtmarError(f"splits.{split} must name files that are there, got {pattern!r}")
            for name in matching:
                if chosen[name] not in (None, split):
                    raise CtmarError(f"splits must not overlap, got {name} in {chosen[name]} and {split}")
                chosen[name] = split
    return chosen


def _gathered(chosen: Mapping[str, str | None]) -> dict[str, list[str]]:
    return {split: [name for name, where in chosen.items() if where == split] for split in SPLITS}
