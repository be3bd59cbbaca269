"""The committed facts about the public collection are complete and agree with their card."""

from collections import Counter

from fibrokd.data.prepared import read_table


def test_the_committed_manifest_agrees_with_the_card(request):
    table = read_table(request.config.rootpath / "data_manifests" / "kaggle_liver_fibrosis.csv")
    assert len(table) == 6323
    assert table["published_md5"].nunique() == (table["copy_of"] == "").sum() == 1536
    assert Counter(table["origin"]) == {"real": 3459, "simulated": 2864}
    assert table["subject"].nunique() == 24
