"""Small things that all who write elements need."""

PADDING = b" \0"


def tag_of(keyword: str) -> int:
    """The tag of an attribute of the standard."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def even(value: bytes) -> bytes:
    """Text of an even length, as elements must have."""
    return value + b" " * (len(value) % 2)


def as_ascii(text: str) -> str:
    """What any character set can hold of a text."""
    return text.encode("ascii", "replace").decode()
