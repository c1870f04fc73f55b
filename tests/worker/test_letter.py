"""Which dead letters are meant."""

import pytest

from receiver.environment import SettingsError
from worker.letter import Filter


@pytest.mark.parametrize("words", [{"handlers": "x"}, {"older_than": "long"}, {"newer_than": "-1"}])
def test_a_filter_that_cannot_be_read_is_one_line(words: dict[str, str]) -> None:
    """It names the wrong word and says what was expected."""
    with pytest.raises(SettingsError, match="expected"):
        Filter.of(words)
