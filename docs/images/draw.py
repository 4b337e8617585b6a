"""Draws docs/images/event-to-segment-{light,dark}.svg: python docs/images/draw.py

The orders are customer 12815's of UCI Online Retail, true to the penny; the cloud of customers is only a sketch.
"""

import math
import random
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 1222, 526
SANS = "-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, 'DejaVu Sans Mono', monospace"

THEMES = {
    "light": {
        "paper": "#ffffff", "card": "#f6f8fa", "edge": "#d0d7de", "ink": "#1f2328", "soft": "#59636e", "line": "#818b98",
        "mark": "#fff2cc", "markedge": "#d4a72c", "flow": "#0969da",
        "clusters": ["#1a7f37", "#0969da", "#bf5700", "#7d4aa8"],
    },
    "dark": {
        "paper": "#0d1117", "card": "#161b22", "edge": "#3d444d", "ink": "#f0f6fc", "soft": "#9198a1", "line": "#6e7681",
        "mark": "#3a2f12", "markedge": "#d29922", "flow": "#4493f8",
        "clusters": ["#3fb950", "#4493f8", "#f0883e", "#b083f0"],
    },
}
NAMES = ("Champions", "Promising", "Needs attention", "Dormant")
PLACES = ((0.80, 0.20), (0.78, 0.66), (0.42, 0.40), (0.16, 0.78))
"""Centres in the map: right is fresh, up is worth more."""


class Drawing:
    """Collects SVG elements in one theme."""

    def __init__(self, theme):
        self.c = theme
        self.parts = []

    def text(self, x, y, words, size=15, fill="ink", anchor="start", family=SANS, weight="normal", halo=False):
        around = f'stroke="{self.c["card"]}" stroke-width="4" stroke-linejoin="round" paint-order="stroke" ' if halo else ""
        self.parts.append(
            f'<text x="{x}" y="{y}" font-family="{family}" font-size="{size}" fill="{self.c.get(fill, fill)}" {around}'
            f'text-anchor="{anchor}" font-weight="{weight}" xml:space="preserve">{escape(words)}</text>'
        )

    def box(self, x, y, w, h, fill="card", edge="edge", radius=8, dash=""):
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{radius}" fill="{self.c[fill]}" '
            f'stroke="{self.c[edge]}" stroke-dasharray="{dash}"/>'
        )

    def arrow(self, points, colour="flow", width=2.0, dash=""):
        path = "M" + " L".join(f"{x} {y}" for x, y in points)
        (x0, y0), (x1, y1) = points[-2:]
        turn = math.degrees(math.atan2(y1 - y0, x1 - x0))
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{self.c[colour]}" stroke-width="{width}" '
            f'stroke-linejoin="round" stroke-dasharray="{dash}"/>'
            f'<path d="M0 0 L-9 -4.5 L-9 4.5 Z" fill="{self.c[colour]}" transform="translate({x1} {y1}) rotate({turn:.1f})"/>'
        )

    def dot(self, x, y, radius, fill, opacity=1.0, edge="none"):
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" opacity="{opacity}" stroke="{edge}" stroke-width="1.5"/>'
        )

    def svg(self):
        label = "An order line becomes part of a ledger, the ledger a vector, the vector the nearest segment, and a record goes out."
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img" aria-label="{label}"><rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="{self.c["paper"]}"/>'
        )
        return head + "\n".join(self.parts) + "</svg>\n"


def card(d, x, w, title, where):
    d.box(x, 60, w, 190)
    d.text(x + 14, 86, title, 17, weight="600")
    d.text(x + 14, 236, where, 13, "soft")


def pairs(d, x, w, table, y=118, step=27):
    for i, (name, value) in enumerate(table):
        d.text(x + 14, y + i * step, name, fill="soft", family=MONO)
        colour = {"Promising": d.c["clusters"][1], "Dormant": d.c["clusters"][3]}.get(value, "ink")
        d.text(x + w - 14, y + i * step, value, 15, colour, "end", MONO)


def ledger(d, x, table, columns):
    for i, row in enumerate(table):
        y = 120 + i * 31
        if i == len(table) - 1:
            d.box(x - 7, y - 19, columns[-1] + 14, 27, "mark", "markedge", 4)
        for j, (cell, at) in enumerate(zip(row, columns, strict=True)):
            d.text(x + at, y, cell, 15, "ink" if i else "soft", "end" if j else "start", MONO)


def cloud(d, x, y, w, h):
    dice = random.Random(20111209)
    colours = d.c["clusters"]
    spread = ((0.085, 0.10), (0.09, 0.10), (0.11, 0.11), (0.085, 0.09))
    for place, colour, (sx, sy), n in zip(PLACES, colours, spread, (22, 26, 34, 44), strict=True):
        for _ in range(n):
            px = min(max(dice.gauss(place[0], sx), 0.02), 0.98)
            py = min(max(dice.gauss(place[1], sy), 0.04), 0.96)
            d.dot(x + px * w, y + py * h, 2.3, colour, 0.55)
    for name, place, colour in zip(NAMES, PLACES, colours, strict=True):
        cx, cy = x + place[0] * w, y + place[1] * h
        d.dot(cx, cy, 6, colour, edge=d.c["card"])
        d.text(min(max(cx, x + 34), x + w - 40), cy - 12, name, 13, colour, "middle", weight="600", halo=True)


def draw(theme):
    d = Drawing(THEMES[theme])
    d.text(24, 36, "How a transaction becomes a segment", 21, weight="600")
    d.text(WIDTH - 24, 36, "customer 12815 of UCI Online Retail, 15 July 2011", 14, "soft", "end")

    card(d, 24, 186, "An order comes in", "Kafka: transactions")
    pairs(d, 24, 186, (("invoice", "560119"), ("customer", "12815"), ("lines", "16"), ("net", "448.10")))
    card(d, 242, 234, "The ledger", "every order of the last 365 days")
    ledger(d, 258, (("order", "day", "net"), ("554654", "25 May", "615.36"), ("560119", "15 Jul", "448.10")), (0, 128, 203))
    card(d, 508, 200, "The vector", "as of today")
    pairs(d, 508, 200, (("recency", "0 days"), ("frequency", "2 orders"), ("monetary", "1,063.46")), step=31)
    card(d, 740, 236, "The nearest centroid", "")
    cloud(d, 752, 94, 214, 148)
    d.arrow([(752 + 0.27 * 214, 94 + 0.87 * 148), (752 + 0.68 * 214, 94 + 0.74 * 148)], "ink", 2.2)
    card(d, 1008, 190, "A segment goes out", "Kafka: customer-segments")
    pairs(d, 1008, 190, (("now", "Promising"), ("before", "Dormant"), ("cause", "purchase"), ("revision", "3")))
    for x in (212, 478, 710, 978):
        d.arrow([(x, 155), (x + 27, 155)])

    d.box(242, 298, 734, 78)
    d.text(262, 329, "Redis", 17, weight="600")
    d.text(262, 357, "one script a commit, refused unless epoch and sequence fit: states, statistics, offset, outbox", 15, "soft")
    d.arrow([(349, 252), (349, 296)], "line", 1.8)
    d.arrow([(371, 296), (371, 252)], "line", 1.8)
    d.arrow([(978, 337), (1103, 337), (1103, 254)])
    d.text(1103, 362, "one Kafka transaction:", 13, "soft", "middle")
    d.text(1103, 380, "the record and the offset", 13, "soft", "middle")

    d.box(242, 424, 734, 78, dash="5 4")
    d.text(262, 455, "Once a day", 17, weight="600")
    d.text(262, 483, "everybody is scored again, so silence moves people too; each counts once in the next model", 15, "soft")
    d.arrow([(349, 378), (349, 422)], "line", 1.8)
    d.text(362, 405, "everybody's statistics", 13, "soft")
    d.arrow([(869, 422), (869, 378)], "line", 1.8)
    d.text(856, 405, "the next model, and who moved", 13, "soft", "end")
    return d.svg()


if __name__ == "__main__":
    for name in THEMES:
        Path(__file__).with_name(f"event-to-segment-{name}.svg").write_text(draw(name), encoding="utf-8")
