from pathlib import Path

import pytest

from fibrokd.errors import BundleError
from fibrokd.pipeline import app


def test_the_server_binds_to_loopback_with_every_safety_setting(tmp_path):
    line = app.command(tmp_path / "bundle", 9000)
    assert "--server.address=127.0.0.1" in line
    assert "--server.port=9000" in line
    assert "--server.enableXsrfProtection=true" in line
    assert "--server.maxUploadSize=64" in line
    assert "--browser.gatherUsageStats=false" in line
    assert "--client.showErrorDetails=none" in line
    assert line[-2:] == ["--", str(tmp_path / "bundle")]
    assert Path(line[4]).name == "main.py"
    assert Path(line[4]).is_file()


def test_nothing_is_started_on_a_broken_bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(app.subprocess, "run", lambda *a, **k: pytest.fail("the server was started"))
    with pytest.raises(BundleError):
        app.launch(tmp_path)
