"""What is committed is what the generator writes."""

from __future__ import annotations

from monitoring.render import DEPLOY, files


def test_committed_rules_and_dashboards_are_what_the_generator_writes() -> None:
    for path, text in files().items():
        assert (DEPLOY / path).read_text() == text, f"deploy/{path}: run `make deploy-render`"
