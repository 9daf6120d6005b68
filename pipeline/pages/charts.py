"""Charts as SVG in the page itself: what to draw, and where. charts.html has the markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

# Of an SVG, in CSS pixels: a chart's size, and the plot's place in it.
WIDTH, HEIGHT = 1040, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 46
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
MIN_BAR, MAX_BAR, BARS_SHARE = 5.0, 36.0, 0.76  # of a category's width, what its bars take
LEAST = 1e-300  # below it, numbers lose their digits
TICKS = 5  # about
COLOURS = 7  # in layout.html
SWITCHES = 60  # series that can be hidden


@dataclass(frozen=True)
class Bar:
    """A bar, and the line of its interval: `low_y` is nearer to the bottom."""

    x: float
    y: float
    width: float
    height: float
    low_y: float
    high_y: float
    text: str

    @property
    def has_interval(self) -> bool:
        return self.low_y != self.high_y


@dataclass(frozen=True)
class Bars:
    """Values of one series, by category; None where there is none. `low` and `high` bound an interval."""

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    is_shown: bool = True  # at first: a click shows it

    def bounds(self, at: int) -> tuple[float, float]:
        """The interval of a category's value, which has no length where none is known."""
        value = self.values[at] or 0.0
        low, high = (sequence[at] if sequence else None for sequence in (self.low, self.high))
        return value if low is None else low, value if high is None else high


@dataclass(frozen=True)
class BarChart:
    """A group of bars for each category, one of every series."""

    title: str
    y_title: str
    categories: Sequence[str]
    series: Sequence[Bars]

    @property
    def slot(self) -> float:
        """The width of a category; many of them make the chart wider."""
        least = MIN_BAR * len(self.series) / BARS_SHARE
        return max(PLOT_WIDTH / max(1, len(self.categories)), least)

    @property
    def width(self) -> float:
        return LEFT + RIGHT + max(PLOT_WIDTH, self.slot * len(self.categories))

    @property
    def y_axis(self) -> Axis:
        tops = [one.bounds(at)[1] for one in self.series for at in range(len(self.categories))]
        tops += [value for one in self.series for value in one.values if value is not None]
        return Axis(0.0, max(tops, default=0.0))

    def labels(self) -> list[tuple[float, str]]:
        """Where the middle of each category is, and its name."""
        return [(LEFT + self.slot * (at + 0.5), name) for at, name in enumerate(self.categories)]

    def bars(self, at: int) -> list[Bar]:
        """Those of a series."""
        width = min(MAX_BAR, BARS_SHARE * self.slot / len(self.series))
        one, scale, shown, found = self.series[at], self.y_axis, sum(each.is_shown for each in self.series), []
        for number, (category, value) in enumerate(zip(self.categories, one.values, strict=True)):
            if value is not None:
                middle = LEFT + self.slot * (number + 0.5)
                x, y = middle + width * (at - shown / 2), scale.y(value)
                low, high = one.bounds(number)
                text = f"{one.name}, {category}: {value:,.4g}" + (f" ({low:,.4g} to {high:,.4g})" if high > low else "")
                found.append(Bar(x, y, width, scale.y(0.0) - y, scale.y(low), scale.y(high), text))
        return found


@dataclass(frozen=True)
class Points:
    """Points of one series. The first of them have labels, which take ten times the bytes of a point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    labels: Sequence[str] = ()
    is_shown: bool = True


@dataclass(frozen=True)
class PointChart:
    """Points, or lines through them, over a scale. Both axes begin at 0."""

    title: str
    x_title: str
    y_title: str
    series: Sequence[Points]
    has_lines: bool = False
    width: float = WIDTH

    @property
    def x_axis(self) -> Axis:
        return Axis(0.0, max((value for one in self.series for value in one.x), default=0.0))

    @property
    def y_axis(self) -> Axis:
        return Axis(0.0, max((value for one in self.series for value in one.y), default=0.0))

    def path(self, at: int) -> str:
        """A line through a series' points, or a dot for each that has no label."""
        x, y, one = self.x_axis, self.y_axis, self.series[at]
        places = [f"{x.x(a):.1f} {y.y(b):.1f}" for a, b in zip(one.x, one.y, strict=True)]
        if self.has_lines:
            return "M" + "L".join(places) if places else ""
        return "".join(f"M{place}h0" for place in places[len(one.labels) :])

    def labelled(self, at: int) -> list[tuple[float, float, str]]:
        """Where the points with labels are."""
        x, y, one = self.x_axis, self.y_axis, self.series[at]
        found = zip(one.x, one.y, one.labels, strict=False)
        return [(x.x(a), y.y(b), f"{label}: {a:,.4g}, {b:,.4g}") for a, b, label in found]


@dataclass(frozen=True)
class Axis:
    """A linear scale that ends at a round number."""

    low: float
    high: float

    @cached_property
    def ticks(self) -> list[float]:
        """Round numbers, about TICKS of them: the steps are 1, 2 or 5 times a power of ten."""
        span = self.high - self.low if self.high - self.low > LEAST else 1.0
        power = 10.0 ** math.floor(math.log10(span / TICKS))
        step = next(size * power for size in (1, 2, 5, 10) if size * power * TICKS >= span * (1 - 1e-9))
        return [self.low + step * at for at in range(math.ceil(span / step * (1 - 1e-9)) + 1)]

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + PLOT_WIDTH * self._share(value)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return TOP + PLOT_HEIGHT * (1 - self._share(value))

    def _share(self, value: float) -> float:
        ends = self.ticks
        return (value - ends[0]) / (ends[-1] - ends[0])


def number(value: float) -> str:
    """A tick as people read it."""
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value / 1e6:,.6g} M"
