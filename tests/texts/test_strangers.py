"""Other programs and users at the file of a table: see strangers.py, where each of these has its own processes."""

import pytest

from texts import strangers
from texts.test_processes import run_scenarios


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return run_scenarios("strangers.py", tmp_path_factory.mktemp("strangers"))


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in strangers.SCENARIOS])
def test_strangers(outcomes, scenario):
    good, errors = outcomes
    assert good[scenario], errors
