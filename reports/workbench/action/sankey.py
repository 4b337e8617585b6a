"""Flows between segments as a Sankey diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

GROUND = "#777777"
"""The colour of what is no segment of the present model."""


def sankey(flows: pd.DataFrame, right: Sequence[str], colours: Mapping[str, str]) -> go.Figure:
    """Return the diagram of ``source``, ``target``, ``customers``; a flow has the colour of where it comes from.

    right: the targets in their order; the sources stand as they come. colours: by segment name.
    """
    left = list(dict.fromkeys(flows["source"]))
    links = {
        "source": [left.index(name) for name in flows["source"]],
        "target": [len(left) + right.index(name) for name in flows["target"]],
        "value": flows["customers"].to_list(),
        "color": [_faint(colours.get(name, GROUND)) for name in flows["source"]],
    }
    names = [*left, *right]
    nodes = {"label": names, "color": [colours.get(name, GROUND) for name in names], "pad": 18}
    return go.Figure(go.Sankey(node=nodes, link=links))


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.4)"
