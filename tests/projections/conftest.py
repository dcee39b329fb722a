"""Failed expectations of the specification show their values."""

import pytest

pytest.register_assert_rewrite("projections.specification")
