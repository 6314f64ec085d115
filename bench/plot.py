#!/usr/bin/python3
"""Draws orders a second by clients as SVG, of the lines that `script/bench --only hot` wrote.

  plot.py < figures > hot.svg
"""

import json
import math
import sys

WIDTH, HEIGHT = 420, 300  # of a panel
LEFT, TOP, RIGHT, BOTTOM = 62, 44, 18, 46
LEGEND = 30
LINES = {
	"escrow": ("one hot SKU, escrow", "#c0392b"),
	"spread": ("10,000 SKUs", "#2471a3"),
	"row": ("one hot SKU, row", "#7d8a97"),
	"plpgsql_generic": ("one hot SKU, PL/pgSQL", "#b9770e"),
}
PANELS = {"one hot SKU": "synchronous_commit = on",
	"one hot SKU, commit_delay 1000": "and commit_delay = 1000"}


def read(lines):
	"""(clients, orders a second) by panel and variant."""
	figures = {}
	for figure in map(json.loads, lines):
		panel = figure["bench"].split(", commit on")[0]
		if panel in PANELS:
			series = figures.setdefault(panel, {}).setdefault(figure["variant"], [])
			series.append((figure["clients"], figure["per_second"]))
	return {panel: {variant: sorted(points) for variant, points in series.items()}
		for panel, series in figures.items()}


def nice_step(top):
	"""Between the lines of the grid: five to ten of them."""
	magnitude = 10 ** math.floor(math.log10(top))
	return next(step for step in (magnitude / 5, magnitude / 2, magnitude) if top / step <= 8)


class Panel:
	def __init__(self, number, title, series, clients, top):
		self.x0, self.title, self.series = number * WIDTH, title, series
		self.clients, self.top = clients, top

	def x(self, clients):
		span = math.log2(self.clients[-1] / self.clients[0]) or 1
		inner = WIDTH - LEFT - RIGHT
		return self.x0 + LEFT + inner * math.log2(clients / self.clients[0]) / span

	def y(self, rate):
		return TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate / self.top)

	def draw(self):
		yield text(self.x0 + LEFT, TOP - 16, self.title, "start", "bold")
		yield from self.grid()
		for variant, (_, colour) in LINES.items():
			points = self.series.get(variant, [])
			path = " ".join("%.1f,%.1f" % (self.x(c), self.y(r)) for c, r in points)
			yield '<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (path, colour)
			for clients, rate in points:
				yield '<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%d clients: %d/s</title></circle>' \
					% (self.x(clients), self.y(rate), colour, clients, rate)

	def grid(self):
		right = self.x0 + WIDTH - RIGHT
		step = nice_step(self.top)
		for n in range(int(self.top / step) + 1):
			y = self.y(n * step)
			yield '<path d="M%.1f %.1fH%.1f" stroke="#ddd"/>' % (self.x0 + LEFT, y, right)
			yield text(self.x0 + LEFT - 8, y + 4, "{:,.0f}".format(n * step), "end")
		for clients in self.clients:
			yield text(self.x(clients), HEIGHT - BOTTOM + 18, str(clients), "middle")
		yield text((self.x0 + LEFT + right) / 2, HEIGHT - BOTTOM + 38, "clients", "middle")


def text(x, y, words, anchor, weight="normal"):
	return '<text x="%.1f" y="%.1f" text-anchor="%s" font-weight="%s">%s</text>' \
		% (x, y, anchor, weight, words)


def legend():
	for number, (words, colour) in enumerate(LINES.values()):
		x = LEFT + number * 185
		yield '<path d="M%d %dh22" stroke="%s" stroke-width="3"/>' % (x, HEIGHT + 10, colour)
		yield text(x + 28, HEIGHT + 14, words, "start")


def draw(figures):
	points = [point for series in figures.values() for line in series.values() for point in line]
	clients = sorted({clients for clients, _ in points})
	top = 1.05 * max(rate for _, rate in points)
	width = WIDTH * len(PANELS)
	yield '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" ' \
		'font-size="12" fill="#222">' % (width, HEIGHT + LEGEND)
	yield "<title>Orders a second by clients</title>"
	yield '<rect width="%d" height="%d" fill="#fff"/>' % (width, HEIGHT + LEGEND)
	for number, (panel, title) in enumerate(PANELS.items()):
		title = "orders a second, " + title if number == 0 else title
		yield from Panel(number, title, figures.get(panel, {}), clients, top).draw()
	yield from legend()
	yield "</svg>"


if __name__ == "__main__":
	print("\n".join(draw(read(sys.stdin))))
