"""Charts stay within their frame, whatever they are given."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

from shadow.report.charts import Axis, Chart, Line, Mark, Span
from shadow.report.templates import ENVIRONMENT


def test_charts_are_well_formed_and_stay_within_their_frame() -> None:
    axis = Axis(0, 10, [(0, "0"), (5, "<5>")], "x & y")
    lines = (Line([0, 5, 99], [-5, 5, math.inf], "a"), Line([1, 2], [3, 4], "b", steps=True))
    marks = (Mark("bound", "&", y=5), Mark("mark", "t", x=50))
    macros = ENVIRONMENT.get_template("macros.html.j2").module
    root = ET.fromstring(macros.draw(Chart("a < b", lines, axis, axis, marks)).strip())  # type: ignore[attr-defined]
    texts = ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]
    assert "<5>" in texts
    numbers = [float(n) for n in "".join(node.get("d", "") for node in root.iter()).replace("M", " ").replace("L", " ")
               .replace("H", " ").replace("V", " ").split()]  # fmt: skip
    assert max(numbers) <= 360
    assert min(numbers) >= 0
    shown = macros.interval(Span(-1, 0, 1, 0.5, Axis(-0.5, 0.5, (), ""), "pass"))  # type: ignore[attr-defined]
    assert "circle" in shown
