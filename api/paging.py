"""Lists in pages: a cursor names the last item of the page before, so that new items shift nothing."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from api.problems import invalid_field
from api.settings import ApiSettings

Item = TypeVar("Item")


def page_items(limit: int | None, settings: ApiSettings) -> int:
    """How many items one page holds.

    Raises:
        Problem: when more were asked for than a page may hold.
    """
    if limit is None:
        return min(settings.page_items_default, settings.page_items_max)
    if limit > settings.page_items_max:
        raise invalid_field("limit", f"found {limit}; valid are 1 to {settings.page_items_max}")
    return limit


def page_after(
    items: Sequence[Item], name: Callable[[Item], str], cursor: str | None, limit: int
) -> tuple[list[Item], str | None]:
    """The page of `items`, which `name` sorts and tells apart, and the cursor of the next one, None at the end.

    Raises:
        Problem: when the cursor is none of ours.
    """
    last = "" if cursor is None else read_cursor(cursor)
    rest = sorted((item for item in items if name(item) > last), key=name)
    page = rest[:limit]
    return page, write_cursor(name(page[-1])) if len(rest) > limit else None


def write_cursor(text: str) -> str:
    """Text that names an item, as a cursor."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The inverse of `write_cursor`.

    Raises:
        Problem: when the cursor is none of ours.
    """
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid_cursor(cursor) from None


def invalid_cursor(cursor: str) -> Exception:
    """The problem of a cursor that we did not write."""
    return invalid_field("cursor", f"{cursor[:100]!r} is no cursor; expected the `next_cursor` of the page before")
