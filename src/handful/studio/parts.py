"""Parts of a page, of which only those are made anew whose values have changed."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from nicegui import ui

# Takes a changed value; a part without one is made anew.
Update = Callable[[Any], None]


@dataclass
class _Part:
    area: ui.element
    value: Any
    update: Update | None


class Parts:
    """Parts of a page, one after another.

    What has not changed stays as it is: what is open stays open, and what has the focus keeps it.

    Args:
        make: Makes a part of its value; may give what takes a changed value.
        classes: CSS classes of the element around them.
    """

    def __init__(self, make: Callable[[Any], Update | None], classes: str = "") -> None:
        self._make = make
        self._area = ui.element("div").classes(classes)
        self._parts: dict[Hashable, _Part] = {}

    def show(self, values: Mapping[Hashable, Any]) -> None:
        """Show these parts, and no others.

        Args:
            values: Key to value, in their order. Values are compared.
        """
        for key in [key for key in self._parts if key not in values]:
            self._parts.pop(key).area.delete()
        if list(self._parts) != list(values)[: len(self._parts)]:
            self._area.clear()
            self._parts.clear()
        for key, value in values.items():
            part = self._parts.get(key)
            if part is None:
                with self._area, ui.element("div").classes("part") as area:
                    self._parts[key] = _Part(area, value, self._make(value))
            elif part.value != value:
                part.value = value
                with part.area:
                    if part.update is not None:
                        part.update(value)
                        continue
                    part.area.clear()
                    part.update = self._make(value)
