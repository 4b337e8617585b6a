"""How plots look: one palette that colour-blind people can tell apart, and the same colour for a segment everywhere.

Colours are Okabe and Ito's (jfly.uni-koeln.de/color), then Tol's for the ninth and tenth. Text and grid take the page's
own colours by CSS, so one plot is right in light and in dark.
"""

from __future__ import annotations

import plotly.graph_objects as go

from models.bundle import FIXED, Bundle

PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#882255",
    "#44AA99",
    "#999933",
)
"""By place of a segment among the model's, best first; there are at most ten (models.segments)."""

OUTSIDE = ("#8A8A8A", "#BDBDBD")
"""Of the fixed segments: Lapsed, No net purchases."""

PLAIN = "#0072B2"
"""Marks that stand for no segment."""

CONTRAST = "#D55E00"
"""What stands against `PLAIN`: a threshold, the chosen one, the other series."""

RAMP = ((0.0, "#F7FBFF"), (0.5, "#6BAED6"), (1.0, "#08306B"))
"""Little to much."""

DIVERGING = ((0.0, "#B35806"), (0.5, "#F7F7F7"), (1.0, "#542788"))
"""Below to above an average: PuOr, which colour-blind people can read."""

HEIGHT = 380
"""Pixels of a plot's height, the margins included."""


LOG_TICKS = tuple(step * 10**power for power in range(-2, 8) for step in (1, 3))
"""Where a log axis has labels; plotly's own pick is a digit at each line."""

LOG_AXIS = {"type": "log", "tickvals": LOG_TICKS, "ticktext": [f"{tick:,g}" for tick in LOG_TICKS]}


def segment_colours(bundle: Bundle) -> dict[str, str]:
    """Return a colour by segment name, the fixed segments included."""
    clusters = {segment.name: colour for segment, colour in zip(bundle.segments, PALETTE, strict=False)}
    return clusters | {segment.name: colour for segment, colour in zip(FIXED, OUTSIDE, strict=True)}


def styled(figure: go.Figure, *, x: str | None = None, y: str | None = None, height: int = HEIGHT) -> go.Figure:
    """Give a figure the look of the report; x, y: axis titles with their units (``net revenue [£]``, log scales said).

    The background is the page's; titles stand outside of plots, as text.
    """
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 70, "r": 20, "t": 30, "b": 60},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        colorway=PALETTE,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
    )
    figure.update_xaxes(automargin=True, gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.5)")
    figure.update_yaxes(automargin=True, gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.5)")
    if x is not None:
        figure.update_xaxes(title_text=x)
    if y is not None:
        figure.update_layout(yaxis={"title": {"text": y, "standoff": 12}})
    return figure
