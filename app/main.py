"""The bedside app: flow only. What is said is in ``views``, what is computed is in ``fibrokd.serving``.

Start it with ``fibrokd app BUNDLE`` or ``streamlit run app/main.py -- BUNDLE``. It fails closed: whatever goes wrong,
the page shows a message and no stage.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import streamlit as st

from app import views
from fibrokd.data.limits import ReadLimits
from fibrokd.errors import FibroKDError
from fibrokd.serving.bundle import Bundle
from fibrokd.serving.predictor import Predictor, Staging
from fibrokd.serving.verify import Verification, verify

UPLOAD, EXAMPLE = "Upload an image", "Pick an example"
LIMITS = ReadLimits(max_file_mb=64, max_frames=1000)

log = logging.getLogger("fibrokd.app")


@st.cache_resource(show_spinner="Checking the bundle and repeating its golden cases …")
def load(folder: str) -> tuple[Predictor, Verification]:
    """Open the bundle once per process; refuse it when its golden cases fail on this machine."""
    bundle = Bundle.open(Path(folder))
    predictor = Predictor(bundle, limits=LIMITS)
    verification = verify(bundle, predictor)
    verification.require_passed()
    return predictor, verification


def main() -> None:
    """Draw the page."""
    st.set_page_config(page_title="fibrokd — liver fibrosis from ultrasound", layout="wide")
    st.html(views.STYLE)
    with st.container(key="research-only"):
        st.warning(f"**{views.RESEARCH_ONLY}**", icon=":material/warning:")
    st.header("Liver fibrosis stage from B-mode ultrasound")
    folder = _bundle_folder()
    try:
        predictor, verification = load(str(folder))
    except FibroKDError as error:
        log.error("bundle refused: %s", error)
        st.error(f"**This bundle cannot be used, so nothing is staged.** {views.public_message(error, folder)}")
        st.stop()
    for text in views.warnings_of(predictor.bundle):
        st.warning(text, icon=":material/science:")
    _sidebar(predictor.bundle, verification)
    chosen = _choose(predictor.bundle)
    if chosen is None:
        st.caption(views.NO_IMAGE)
        return
    stagings = _stage(predictor, *chosen)
    for staging in stagings:
        st.divider()
        if title := views.frame_title(staging, len(stagings)):
            st.subheader(title)
        _show(staging, predictor.bundle)


def _bundle_folder() -> Path:
    given = os.environ.get("FIBROKD_BUNDLE") or (sys.argv[1] if len(sys.argv) > 1 else "")
    if not given:
        st.error("No bundle was given. Start the app with `fibrokd app BUNDLE`.")
        st.stop()
    return Path(given).resolve()


def _sidebar(bundle: Bundle, verification: Verification) -> None:
    with st.sidebar:
        st.header("What answers here")
        st.table(views.bundle_rows(bundle, verification))
        st.caption(views.trained_on(bundle))
        st.header("What it cannot know")
        st.caption(views.CANNOT_KNOW)


def _choose(bundle: Bundle) -> tuple[str, bytes] | None:
    source = st.radio("Where is the image?", (UPLOAD, EXAMPLE), horizontal=True)
    if source == UPLOAD:
        upload = st.file_uploader("Ultrasound image of the liver", help=views.PRIVACY)
        return None if upload is None else (upload.name, upload.getvalue())
    examples = {case.description: case for case in bundle.golden}
    picked = st.selectbox("Rendered example", list(examples), index=None, placeholder="Choose an example …")
    return None if picked is None else (examples[picked].name, examples[picked].png)


def _stage(predictor: Predictor, name: str, data: bytes) -> list[Staging]:
    stagings: list[Staging] = []
    try:
        stagings = predictor.predict_bytes(data, name)
    except FibroKDError as error:
        log.error("staging refused: %s", error)
    # Whatever a decoder or the engine throws, the page must fail closed and show no trace.
    except Exception:
        log.exception("staging failed")
    if not stagings:
        st.error("**No stage.** This file could not be processed. Export it again, or ask whoever runs this app.")
    return stagings


def _show(staging: Staging, bundle: Bundle) -> None:
    words = views.headline(staging)
    if not words.staged:
        st.error(f"### {words.title}")
        st.markdown(words.detail)
        for reason in staging.reasons:
            st.markdown(f"- {reason}")
        _pictures(staging)
        return
    # Neutral blue: green would call a cirrhosis good news, red a healthy liver bad news.
    st.info(f"### {words.title}")
    st.markdown(words.detail)
    left, right = st.columns([3, 2])
    with left:
        st.subheader("Probability of each stage")
        st.vega_lite_chart(views.chart(staging), width="stretch")
        st.caption(views.chart_text(staging))
    with right:
        st.subheader("In numbers")
        st.table(views.probability_rows(staging))
        st.table(views.end_point_rows(staging, bundle.scale))
    _pictures(staging)


def _pictures(staging: Staging) -> None:
    if staging.original is None or staging.network_view is None:
        return
    left, right = st.columns(2)
    left.image(staging.original, caption=views.original_caption(staging), width="stretch")
    right.image(staging.network_view, caption=views.view_caption(staging), width="stretch")


if __name__ == "__main__":  # not in worker processes that are spawned beside the app
    main()
