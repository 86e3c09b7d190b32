"""Tables of a report in Markdown."""

import re


def section(report: str, title: str) -> str:
    """Return what stands under a heading."""
    return report.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(report: str, title: str) -> dict[str, list[str]]:
    """Return the cells of the rows of a table under a heading, by the first."""
    cells = [re.findall(r"[^|]+", line) for line in section(report, title).splitlines() if line.startswith("| ")]
    return {first.strip(): [cell.strip() for cell in others] for first, *others in cells[1:]}
