"""Command ``app``: starts the bedside app on a released bundle, on the loopback address only."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from fibrokd.errors import InputError
from fibrokd.serving.bundle import Bundle

PORT = 8501


def command(bundle: Path, port: int) -> list[str]:
    """Return the command line that serves ``bundle``; safety settings are flags, so that no user file undoes them.

    Raises:
        InputError: Streamlit or the app is not installed.
    """
    main = importlib.util.find_spec("app")
    if importlib.util.find_spec("streamlit") is None or main is None or main.origin is None:
        raise InputError("Expected Streamlit for the bedside app, found it not installed.", "Install fibrokd[app].")
    flags = {
        "server.address": "127.0.0.1",
        "server.port": str(port),
        "server.headless": "true",
        "server.maxUploadSize": "64",
        "server.enableXsrfProtection": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
    }
    options = [f"--{name}={value}" for name, value in flags.items()]
    script = str(Path(main.origin).with_name("main.py"))
    return [sys.executable, "-m", "streamlit", "run", script, *options, "--", str(bundle.resolve())]


def launch(bundle: Path, port: int = PORT) -> int:
    """Serve ``bundle`` until interrupted.

    Args:
        bundle: Folder of a released bundle; checked before anything is started.
        port: Port on 127.0.0.1.

    Returns:
        Exit code of the server; 0 after Ctrl-C.

    Raises:
        BundleError: The bundle is incomplete, altered or newer.
        InputError: Streamlit is not installed.
    """
    Bundle.open(bundle)
    environment = {name: value for name, value in os.environ.items() if name != "FIBROKD_BUNDLE"}
    try:
        return subprocess.run(command(bundle, port), env=environment, check=False).returncode  # noqa: S603
    except KeyboardInterrupt:
        return 0
