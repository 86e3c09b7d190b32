"""Archives that are broken or mean harm: a fixed sample of what `python -m benchmarks.fuzz` draws by thousands."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.hostile.case import Case, ends_well
from tests.hostile.kinds import GOOD, KINDS


def test_the_good_archives_end_in_a_result():
    assert ends_well(GOOD) == "result"


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_in_the_archives_preprocess_ends_in_a_result_or_in_one_line_within_its_outputs(kind):
    @settings(max_examples=8, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(KINDS[kind])
    def check(case: Case) -> None:
        ends_well(case)

    check()
