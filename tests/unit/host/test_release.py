from __future__ import annotations

import pytest

from nexusd.host import release


def test_the_installed_release_is_the_tested_one():
    release.check_release()


def test_another_release_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(release, "version", lambda _name: "0.9.0")
    with pytest.raises(RuntimeError, match=r"needs py-libp2p 0\.8\.1, and 0\.9\.0 is installed"):
        release.check_release()
