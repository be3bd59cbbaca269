"""The plan of files and their truth."""

import re
from collections import Counter
from pathlib import PurePosixPath

import numpy as np

from fibrokd.phantom.cohort import CohortConfig
from fibrokd.phantom.hazards import HazardConfig
from fibrokd.phantom.plan import plan_broken, plan_cohort, render_cohort, truth_row

DEFECTS = HazardConfig(
    exact_copies=(3.0, 1.0, 0.5, 0.5, 2.0), resaved=0.3, tampered=0.3, wrong_extension=0.1, straddle=0.3, broken=6
)


def planned(**settings):
    plans = plan_cohort(CohortConfig(**settings))
    return [(plan, file) for plan in plans for file in plan.files]


def test_clean_names_do_not_betray_the_stage():
    files = planned(patients=40, clips=2, frames=2)
    assert len(files) == 160
    for plan, file in files:
        assert re.fullmatch(r"F[0-4]/P\d{4}_C\d_\d{3}\.png", file.path)
        assert f"P{plan.patient.number:04d}_C{plan.clip}_" in file.path
    numbers = np.array([[plan.patient.number, plan.patient.stage] for plan, _ in files])
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.35


def test_every_path_is_unique_and_every_copy_names_its_original():
    for names in ("clean", "stem", "random"):
        files = planned(patients=40, hazards=DEFECTS.model_copy(update={"names": names}))
        paths = {file.path: file for _, file in files}
        assert len(paths) == len(files)
        kinds = Counter(file.kind for _, file in files)
        assert set(kinds) == {"original", "exact", "resave", "tampered"}
        for _, file in files:
            assert (file.kind == "original") == (file.duplicate_of == "")
            if file.duplicate_of:
                original = paths[file.duplicate_of]
                assert original.kind == "original"
                assert (original.stage, original.clip, original.frame) == (file.stage, file.clip, file.frame)


def test_copies_come_at_their_rates_per_stage():
    files = planned(patients=400, frames=4, hazards=DEFECTS)
    for stage, rate in enumerate(DEFECTS.exact_copies):
        kinds = Counter(file.kind for plan, file in files if file.stage == stage)
        assert abs(kinds["exact"] / kinds["original"] - rate) < 0.35
    kinds = Counter(file.kind for _, file in files)
    assert abs(kinds["resave"] / kinds["original"] - 0.3) < 0.05
    assert abs(kinds["tampered"] / kinds["original"] - 0.3) < 0.05


def test_random_names_hide_patient_and_frame():
    files = planned(patients=60, hazards=HazardConfig(names="random"))
    names = [PurePosixPath(file.path).stem for _, file in files]
    assert all(re.fullmatch(r"[a-z]\d{4}", name) for name in names)
    assert names != sorted(names)


def test_straddling_patients_lie_in_two_neighbouring_folders():
    files = planned(patients=200, frames=4, hazards=HazardConfig(straddle=0.25))
    stages = {}
    for plan, file in files:
        stages.setdefault(plan.patient.number, []).append(file.stage)
    split = [sorted(set(filed)) for filed in stages.values() if len(set(filed)) > 1]
    assert 0.15 < len(split) / 200 < 0.35
    assert all(high - low == 1 for low, high in split)


def test_wrong_extensions_name_the_other_format():
    files = planned(patients=100, hazards=HazardConfig(wrong_extension=0.2))
    wrong = [file for _, file in files if file.encoding == "png" and file.path.endswith(".jpg")]
    assert 0.1 < len(wrong) / len(files) < 0.3


def test_scanners_can_store_stills_as_they_are_used_to():
    for plan, file in planned(patients=30, encoding="per_scanner"):
        assert file.path.endswith(".png") == (plan.patient.scanner == "mirasono")


def test_dicom_files_lie_in_one_folder_and_a_cine_is_one_file_per_clip():
    single, cine = (
        planned(patients=5, frames=3, format="dicom"),
        planned(patients=5, clips=2, frames=3, format="dicom_cine"),
    )
    assert (len(single), len(cine)) == (15, 10)
    assert {PurePosixPath(file.path).parent.name for _, file in single + cine} == {"dicom"}
    assert truth_row(*single[0])["patient"] == "PHANTOM00000"


def test_the_truth_holds_what_is_known_of_a_file():
    plan, file = planned(patients=5)[0]
    row = truth_row(plan, file)
    expected = "path stage patient study site scanner clip frame view steatosis latent stage_true kind duplicate_of"
    assert list(row)[:14] == expected.split()
    assert row["stage"] == file.path[:2]
    assert row["patient"] == "P0000"
    assert row["stage_true"] == f"F{int(float(row['latent']))}"


def test_broken_files_are_planned_over_all_stages():
    files = plan_broken(CohortConfig(hazards=DEFECTS))
    assert [file.stage for file in files] == [0, 1, 2, 3, 4, 0]
    assert len({file.path for file in files}) == 6


def test_images_in_memory_come_with_their_truth():
    config = CohortConfig(patients=2, frames=2, size=64, hazards=DEFECTS)
    rendered = list(render_cohort(config))
    assert [row["kind"] for _, row in rendered] == ["original"] * 4
    assert len({image.tobytes() for image, _ in rendered}) == 4
