"""What is said before the slow tests where programs from outside are missing."""

import pytest

from tests.helpers import programs


def test_missing_programs_are_named_in_one_line_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "find", lambda name: None if name in ("chromium", "sshd") else f"/usr/bin/{name}")
    assert programs.missing() == "make test-all needs chromium, sshd: apt-get install chromium openssh-server"
    monkeypatch.setattr(programs, "find", lambda name: f"/usr/bin/{name}")
    assert programs.missing() == ""
