"""`shadow disagreements` names the option that is wrong, before it asks Kafka or Redis for anything."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scorer.errors import UserError
from shadow.cli.disagreements import disagreements


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--since", "yesterday"], "--since yesterday: expected RFC 3339"),
        (["--scored-until", "noon"], "--scored-until noon: expected RFC 3339"),
        (["--run", "L1-x"], "--run: 'L1-x' is not a run; expected L<epoch>-C<epoch>"),
    ],
)
def test_a_filter_that_makes_no_sense_names_its_option(argv: list[str], told: str) -> None:
    error = CliRunner().invoke(disagreements, argv).exception
    assert isinstance(error, UserError)
    assert str(error).startswith(told)
