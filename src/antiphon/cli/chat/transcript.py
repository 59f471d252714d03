"""The transcript on the screen: one widget that draws the rows that are seen, and no others."""

from __future__ import annotations

from bisect import bisect_right

from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from antiphon.cli.chat.blocks import Block

__all__ = ["Transcript"]


class Transcript(ScrollView, can_focus=False):
    """Blocks, one below the other. It stays at the end unless somebody looked back."""

    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[Block] = []
        self._starts: list[int] = []
        """The first row of each block, the gap before it not counted."""
        self._rows = 0
        self._changed = 0
        """The first block whose rows may not be where they were."""
        self._follow = True
        self._moving = False
        self._seen: list[Strip | None] = []
        """The rows on the screen when `bring_up` was called last."""
        self._dressed: dict[int, tuple[Strip, Strip]] = {}
        """Rows that were drawn last: id of a block's strip → the strip, and how it was drawn."""
        self._dress: tuple[Style, int] | None = None
        """The style and the width that those were drawn with."""

    def add(self, block: Block) -> None:
        """Put a block at the end. It is seen when `update` is called."""
        self.blocks.append(block)

    def all_changed(self) -> None:
        """Any block may have changed, not only one of the last."""
        self._changed = 0

    @property
    def following(self) -> bool:
        return self._follow

    def bring_up(self) -> None:
        """Draw what changed."""
        width = self.scrollable_content_region.width
        if width <= 0:
            return
        at = self._changed
        blocks, starts = self.blocks, self._starts
        # Blocks end in the order in which they began, but for calls that run side by side.
        while at > 0 and not blocks[at - 1].fresh:
            at -= 1
        del starts[at:]
        rows = 0 if at == 0 else starts[-1] + len(blocks[at - 1])
        for number in range(at, len(blocks)):
            block = blocks[number]
            if not block.fresh or block.width != width:
                block.layout(width)
            if rows:
                rows += block.gap
            starts.append(rows)
            rows += len(block)
        # What is still being written is looked at again.
        self._changed = max(0, len(blocks) - 64)
        self._rows = rows
        self._grow(Size(width, rows))
        if self._follow:
            self.to_end()
        self._refresh_what_differs(width)

    def _grow(self, size: Size) -> None:
        """A layout of the whole screen is needed where the scrollbar comes or goes, no more."""
        before = self.virtual_size
        scrolls = size.height > self.container_size.height
        if (
            scrolls
            and self.show_vertical_scrollbar
            and size.width == before.width
            and size.height >= before.height
        ):
            self.set_reactive(Widget.virtual_size, size)
            self.vertical_scrollbar.window_virtual_size = size.height
        else:
            self.virtual_size = size

    def _refresh_what_differs(self, width: int) -> None:
        """Most frames change the last row only."""
        top = self.scroll_offset.y
        seen = [self._strip(top + y) for y in range(self.scrollable_content_region.height)]
        before, self._seen = self._seen, seen
        if len(before) != len(seen):
            self.refresh()
            return
        differ = [y for y, strip in enumerate(seen) if strip != before[y]]
        if differ:
            self.refresh(Region(0, differ[0], width, differ[-1] + 1 - differ[0]))

    def to_end(self) -> None:
        """Go to the end, and stay there."""
        self._follow = True
        self._moving = True
        try:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
        finally:
            self._moving = False

    def page(self, direction: int) -> None:
        """One page up (-1) or down (1)."""
        step = max(1, self.scrollable_content_region.height - 2)
        self.look_at(round(self.scroll_target_y) + direction * step)

    def look_at(self, row: int) -> None:
        """Scroll to a row."""
        self.scroll_to(y=max(0, row), animate=False, force=True)
        self._follow = self.scroll_offset.y >= self.max_scroll_y

    def toggle_at(self, row: int) -> bool:
        """Open or close the block of which this row of the screen is the first."""
        line = row + self.scroll_offset.y
        at = bisect_right(self._starts, line) - 1
        if at < 0 or line >= self._starts[at] + len(self.blocks[at]):
            return False
        block = self.blocks[at]
        if not block.toggle():
            return False
        self._changed = min(self._changed, at)
        self.bring_up()
        return True

    # Textual's.

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._moving:
            self._follow = round(new_value) >= self.max_scroll_y

    def on_resize(self, event: events.Resize) -> None:
        if any(block.width != self.scrollable_content_region.width for block in self.blocks):
            self._changed = 0
        self.bring_up()

    def on_click(self, event: events.Click) -> None:
        if self.toggle_at(event.y):
            event.stop()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Rows have no borders and no padding: Textual's own way takes three times as long, and
        all rows move when one is written.
        """
        style, width = self.rich_style, self.outer_size.width
        before = self._dressed if self._dress == (style, width) else {}
        self._dress, self._dressed = (style, width), {}
        background = self.background_colors[1]
        filters = self.get_line_filters()
        top = self.scroll_offset.y
        strips = []
        for y in crop.line_range:
            strip = self._strip(top + y)
            if strip is None:
                drawn = Strip.blank(width, style)
            else:
                found = before.get(id(strip))
                drawn = strip if found is None else found[1]
                if found is None:
                    drawn = strip.apply_style(style).adjust_cell_length(width, style)
                self._dressed[id(strip)] = (strip, drawn)
            for line_filter in filters:
                drawn = drawn.apply_filter(line_filter, background)
            strips.append(
                drawn if crop.column_span == (0, width) else drawn.crop(*crop.column_span)
            )
        return strips

    def _strip(self, line: int) -> Strip | None:
        """A row of the whole transcript."""
        at = bisect_right(self._starts, line) - 1
        if at >= 0:
            block = self.blocks[at]
            row = line - self._starts[at]
            if row < len(block):
                return block.strip(row)
        return None
