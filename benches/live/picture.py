"""Pictures of what was measured on real servers, as SVG."""

import math

from live.latency import quantile

STYLE = """<style>
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
  .end { text-anchor: end }
  .middle { text-anchor: middle }
  .heading, .rate { font-weight: 600; fill: #24292f }
  .bare { fill: #8c959f }
  .ours { fill: #1f883d }
  .grid { stroke: #8c959f; stroke-opacity: 0.35 }
  .redis { stroke: #1f883d; fill: none; stroke-width: 2 }
  .hbase { stroke: #218bff; fill: none; stroke-width: 2 }
  .rate-0 { stroke-dasharray: 2 4 }
  .rate-1 { stroke-dasharray: none }
  .rate-2 { stroke-dasharray: 9 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .heading, .rate { fill: #e6edf3 }
    .bare { fill: #6e7681 }
    .ours { fill: #3fb950 }
    .redis { stroke: #3fb950 }
    .hbase { stroke: #388bfd }
  }
</style>"""
# From below to above, evenly by the number of nines.
SHARES = [0.0, 0.5, 0.9, 0.99, 0.999, 1.0]
LABELS = ["min", "p50", "p90", "p99", "p99.9", "max"]


def svg(width, height, label, *parts):
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{label}">'
    return "\n".join([begin, STYLE, *parts, "</svg>", ""])


def bars(stages):
    """Bars of records a second; the first is what the others are compared with."""
    left, width, step, top = 250, 320, 34, 56
    rates = [stage.records / stage.seconds for _, stage in stages]
    label = "records a second, all servers on the same machine"
    parts = [f'<text x="{left}" y="26" class="heading">{label}</text>']
    for row, ((title, _), rate) in enumerate(zip(stages, rates)):
        y, length = top + row * step, rate / max(rates) * width
        kind = "ours" if row > 1 else "bare"
        parts.append(
            f'<text x="{left - 12}" y="{y + 15}" class="end">{title}</text>'
            f'<rect x="{left}" y="{y}" width="{max(length, 1):.1f}" height="20" rx="3" class="{kind}"/>'
            f'<text x="{left + width + 16}" y="{y + 15}"><tspan class="rate">{rate / rates[0]:.2f}×</tspan>'
            f'<tspan x="{left + width + 72}">{rate:,.0f}/s</tspan></text>'
        )
    return svg(740, top + len(stages) * step + 12, label, *parts)


def percentiles(latencies):
    """Curves of latency over the share of records, a pair a rate, with a scale of powers of ten."""
    left, top, width, height = 70, 56, 470, 260
    seen = [v for it in latencies for v in it.redis + it.hbase if not math.isinf(v) and v > 0]
    low, high = math.floor(math.log10(min(seen))), math.ceil(math.log10(max(seen)))
    label = "milliseconds from when a record was to be sent until it is visible"

    def y_of(value):
        value = min(max(value, 10**low), 10**high)
        return top + height * (1 - (math.log10(value) - low) / (high - low))

    parts = [f'<text x="{left - 50}" y="26" class="heading">{label}</text>']
    for power in range(low, high + 1):
        y = y_of(10**power)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{left - 10}" y="{y + 4:.1f}" class="end">{10.0**power:,g}</text>'
        )
    for place, text in enumerate(LABELS):
        x = left + width * place / (len(LABELS) - 1)
        parts.append(f'<text x="{x:.1f}" y="{top + height + 22}" class="middle">{text}</text>')
    row = 0
    for number, it in enumerate(latencies):
        for kind, values in (("redis", it.redis), ("hbase", it.hbase)):
            points = []
            for place, share in enumerate(SHARES):
                value = quantile(values, share)
                points.append(f"{left + width * place / (len(SHARES) - 1):.1f},{y_of(value):.1f}")
            y = top + 8 + row * 22
            parts.append(
                f'<polyline points="{" ".join(points)}" class="{kind} rate-{number % 3}"/>'
                f'<line x1="{left + width + 16}" x2="{left + width + 46}" y1="{y}" y2="{y}" class="{kind} rate-{number % 3}"/>'
                f'<text x="{left + width + 54}" y="{y + 4}">{"Redis" if kind == "redis" else "HBase"}, {it.rate:,}/s</text>'
            )
            row += 1
    return svg(740, top + height + 40, label, *parts)
