"""A report as one page of HTML that needs nothing else: pictures and charts are in it, no script, no address."""

import base64
from collections.abc import Sequence
from html import escape

from jaxbuffers.inspecting.frames import png
from jaxbuffers.inspecting.report import Histogram, Report, Strip, Table

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6675; --line: #d8dde4; --back: #fbfbfc; --bar: #2f6fb3;
  --warn: #a3231f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa5b5; --line: #343c48; --back: #14181e;
  --bar: #6aa9e9; --warn: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); margin: 2rem auto;
  max-width: 72rem; padding: 0 1.25rem; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .25rem 1.25rem .25rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; white-space: pre-line; }
th { color: var(--soft); font-weight: 500; } .wide { overflow-x: auto; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem 2rem; }
figure { margin: 0; } figcaption { color: var(--soft); } svg { width: 100%; height: auto; display: block; }
.film { display: flex; gap: .5rem; overflow-x: auto; padding: .25rem 0 .75rem; } .film figure { flex: none; }
.film img { width: 6.4rem; image-rendering: pixelated; border: 1px solid var(--line); display: block; }
.film figcaption { font-size: .8rem; } blockquote { margin: .25rem 0 1rem; padding: .1rem 0 .1rem .9rem;
  border-left: 3px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere; }
.warning { color: var(--warn); font-weight: 600; }
"""
WIDTH, HEIGHT = 360, 120
LONG = 4000  # characters of a text
SIDE = 512  # pixels of a side of a picture, of which every so-manyth is shown where there are more


def page(report: Report) -> str:
    """Return a whole page."""
    title = escape(report.title)
    parts = [f"<h1>{title}</h1>"]
    parts += [f'<p class="warning">{escape(warning)}</p>' for warning in report.warnings]
    parts.append(_table([("", ""), *report.facts], header=False))
    if report.histograms:
        charts = "".join(map(_chart, report.histograms))
        parts.append(f'<h2>Distributions</h2><div class="charts">{charts}</div>')
    parts += [f"<h2>{escape(table.title)}</h2>{_of(table)}" for table in report.tables]
    parts += [f"<h2>{escape(strip.title)}</h2>{_film(strip)}" for strip in report.strips]
    if report.texts:
        quoted = (
            f"<h3>{escape(where)}</h3><blockquote>{escape(_cut(text))}</blockquote>" for where, text in report.texts
        )
        parts.append(f"<h2>Texts</h2>{''.join(quoted)}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head>\n<body>{''.join(parts)}</body></html>\n"
    )


def _of(table: Table) -> str:
    return _table(table.rows)


def _table(rows: Sequence[tuple[str, ...]], header: bool = True) -> str:
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows[1:]]
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0]) if header else ""
    body = "".join(f"<tr>{row}</tr>" for row in ([head] if head else []) + cells)
    return f'<div class="wide"><table>{body}</table></div>'


def _chart(histogram: Histogram) -> str:
    counts, labels, most = histogram.counts, histogram.labels(), max(int(histogram.counts.max()), 1)
    wide = WIDTH / len(counts)
    bars = []
    for i, n in enumerate(counts.tolist()):
        tall = max(HEIGHT * n / most, 1.5 if n else 0)
        told = f"{labels[i]}: {n:,}"
        bars.append(
            f'<rect x="{i * wide:.1f}" y="{HEIGHT - tall:.1f}" width="{max(wide - 1, 1):.1f}" height="{tall:.1f}" '
            f'fill="var(--bar)"><title>{told}</title></rect>'
        )
    first, last = labels[0].split(" to ")[0], labels[-1].split(" to ")[-1]
    label = 'font-size="12" fill="var(--soft)"'
    axis = (
        f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}" stroke="var(--line)"/>'
        f'<text x="0" y="{HEIGHT + 16}" {label}>{first}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 16}" text-anchor="end" {label}>{last}</text>'
    )
    note = f"; {escape(histogram.note)}" if histogram.note else ""
    return (
        f"<figure><figcaption>{escape(histogram.title)} (most in one bar: {most:,}{note})</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img" aria-label="{escape(histogram.title)}">'
        f"{''.join(bars)}{axis}</svg></figure>"
    )


def _film(strip: Strip) -> str:
    shown = []
    for frame, caption in zip(strip.frames, strip.captions, strict=True):
        thin = -(-max(frame.shape[:2]) // SIDE)
        data = base64.b64encode(png(frame[::thin, ::thin])).decode()
        words = escape(caption)
        shown.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{escape(strip.title)}, {words}">'
            f"<figcaption>{words}</figcaption></figure>"
        )
    return f'<div class="film">{"".join(shown)}</div>'


def _cut(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]} ... ({len(text):,} characters)"
