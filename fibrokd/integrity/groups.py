"""Groups: the union of all evidence that images belong together, with the reason for every link kept.

Owns which evidence counts at which grouping and the union itself. It resolves no conflict: groups whose members carry
different stages are listed for the caller to refuse, keep or set aside.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from fibrokd.errors import SplitError
from fibrokd.integrity.components import Components
from fibrokd.integrity.duplicates import exact_links
from fibrokd.integrity.identity import StemRules, stem_keys, trusted_keys
from fibrokd.integrity.links import Evidence, Link, links_of_equal_keys

Grouping = Literal["none", "stem", "content", "subject", "all"]
"""Evidence that counts. Frames of one file always belong together, except under ``none``.

``stem`` is the published protocol and ties equal stems wherever they lie; ``subject`` is the patient key alone;
``all`` is the union of patient, study, stem (within the scope of the rules), content and near-duplicate evidence.
"""

GROUP_COLUMNS = ("image_id", "group", "cluster", "evidence", "link_to", "value")

# Keys of persons, and names of files and folders, which often are names of persons: identities.csv has them.
_SECRET: tuple[Evidence, ...] = ("patient", "study", "file", "stem")

_KEYS: tuple[Evidence, ...] = ("patient", "study")
_APART = " of what patients and studies left apart"

_ADVICE: dict[Evidence, str] = {
    "stem": "If these names are a scheme and not copies of one picture, change stems.suffixes.",
    "patient": "If the folder below the stage does not name a patient, set data.patient_folders: false; else check the "
    "patient keys.",
    "study": "Check the study keys.",
    "content": "Remove the copies, or bring other pictures.",
    "near": "Look at the largest group in groups.csv; if it holds different patients, raise near.threshold.",
}


@dataclass(frozen=True)
class MixedGroup:
    """A group whose members carry different stages.

    Args:
        group: Name of the group.
        stages: Images per stage name.
        evidence: Kinds of evidence inside the group.
    """

    group: str
    stages: dict[str, int]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Groups:
    """Which images belong together, and why.

    Args:
        names: Group name of every row: the smallest image_id of its group.
        links: Every link, in the order in which evidence was looked at.
        mixed: Groups whose members carry different stages.
        distrusted: Keys that were not believed, by kind of evidence.
        merges: How often each kind of evidence made one group of two that the links before it had left apart.
    """

    names: tuple[str, ...]
    links: tuple[Link, ...]
    mixed: tuple[MixedGroup, ...]
    distrusted: dict[str, tuple[str, ...]]
    merges: Mapping[Evidence, int] = field(default_factory=dict)

    @property
    def codes(self) -> Int[np.ndarray, " N"]:
        """Group number of every row, 0-based, in order of group names."""
        return np.unique(np.array(self.names, dtype=np.str_), return_inverse=True)[1].astype(np.int64)

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(set(self.names))

    def tied_by(self) -> tuple[str, str]:
        """Return what joined most groups, with an example where that can be shown, and what to do if it is wrong.

        What joins is counted and not what links: a thousand links inside one patient leave as many patients as before.
        Keys of patients and studies are meant to join; they are named only where the rest did not halve what they left.
        """
        keys, rest = (
            Counter({kind: count for kind, count in self.merges.items() if (kind in _KEYS) == among and kind != "file"})
            for among in (True, False)
        )
        kinds = rest if rest.total() >= self.count or not keys else keys
        if not kinds:
            return "", ""
        (kind, count), total = kinds.most_common(1)[0], kinds.total()
        apart = _APART if keys and kind not in _KEYS else ""
        told = f" Images were tied mostly by {kind} ({count} of {total} joins{apart})"
        alike = Counter(link.value for link in self.links if link.evidence == kind).most_common(1)[0][1] + 1
        shared = {"stem": "one normal stem", "content": "one content"}.get(kind)
        example = f"; for example {alike} images share {shared}" if shared else ""
        return f"{told}{example}.", f" {_ADVICE[kind]}" if kind in _ADVICE else ""

    def to_table(self, image_ids: Sequence[str], clusters: Sequence[str]) -> pd.DataFrame:
        """Return groups.csv: one row per image; several kinds of evidence are joined with ``|``, in parallel.

        ``link_to`` names the image that held the key first; it is empty for that image itself. ``value`` is empty for
        patients, studies, files and stems: what they share stands in identities.csv, which is not passed on.

        Args:
            image_ids: Id of every row.
            clusters: Group of every row under all evidence, whatever grouping these groups were made under.
        """
        held: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
        heads: set[tuple[int, str, str]] = set()
        for link in self.links:
            if (link.a, link.evidence, link.value) not in heads:
                heads.add((link.a, link.evidence, link.value))
                held[link.a].append((link.evidence, "", _shown(link)))
            held[link.b].append((link.evidence, image_ids[link.a], _shown(link)))
        rows = [
            (*named, *("|".join(column) for column in zip(*held[row], strict=True)))
            if row in held
            else (*named, "", "", "")
            for row, named in enumerate(zip(image_ids, self.names, clusters, strict=True))
        ]
        return pd.DataFrame(rows, columns=list(GROUP_COLUMNS))


def _shown(link: Link) -> str:
    return "" if link.evidence in _SECRET else link.value


def group_images(
    table: pd.DataFrame, grouping: Grouping, rules: StemRules | None = None, extra: Sequence[Link] = ()
) -> Groups:
    """Join images into groups by union of the evidence that counts.

    Args:
        table: Manifest rows; reads image_id, path, stage, patient, study, pixel_digest.
        grouping: Which evidence counts.
        rules: Stem rules.
        extra: Further links between rows, such as near-duplicates; they count under ``all``.
    """
    rules = rules or StemRules()
    links: list[Link] = []
    distrusted: dict[str, tuple[str, ...]] = {}
    studies = list(table["study"])
    if grouping in ("all", "subject"):
        patients, refused = trusted_keys(list(table["patient"]), studies)
        links += links_of_equal_keys(patients, "patient")
        distrusted["patient"] = tuple(refused)
    if grouping == "all":
        believed, refused = trusted_keys(studies)
        links += links_of_equal_keys(believed, "study")
        distrusted["study"] = tuple(refused)
    if grouping != "none":
        links += links_of_equal_keys([str(path) for path in table["path"]], "file")
    if grouping in ("all", "stem"):
        wide = rules if grouping == "all" else rules.model_copy(update={"scope": "collection"})
        stems, refused = stem_keys(list(table["path"]), wide)
        links += links_of_equal_keys(stems, "stem")
        distrusted["stem"] = tuple(refused)
    if grouping in ("all", "content"):
        links += exact_links(table)
    if grouping == "all":
        links += extra
    names, merges = _unite(list(table["image_id"]), links)
    kept = {kind: keys for kind, keys in distrusted.items() if keys}
    return Groups(tuple(names), tuple(links), _mixed(names, list(table["stage"]), links), kept, merges)


def refuse_mixed(groups: Groups) -> None:
    """Refuse groups whose members carry different stages.

    Raises:
        SplitError: There are such groups; names three of them with their stages and evidence.
    """
    if not groups.mixed:
        return
    shown = "; ".join(
        f"group {m.group} ({', '.join(f'{n} × {stage}' for stage, n in m.stages.items())}; by {', '.join(m.evidence)})"
        for m in groups.mixed[:3]
    )
    more = f"; and {len(groups.mixed) - 3} more" if len(groups.mixed) > 3 else ""
    raise SplitError(
        f"Expected images that belong together to carry one stage, found {len(groups.mixed)} group(s) with several: "
        f"{shown}{more}.",
        "Correct the labels, or set mixed_stage_groups: keep (a patient may change stage between studies) or "
        "quarantine.",
    )


def _unite(image_ids: list[str], links: Sequence[Link]) -> tuple[list[str], Counter[Evidence]]:
    """Name of every row's group, its smallest image_id; and the joins that each kind of evidence brought about."""
    sets = Components(len(image_ids))
    merges: Counter[Evidence] = Counter(link.evidence for link in links if sets.join(link.a, link.b))
    heads = sets.heads().tolist()
    least: dict[int, str] = {}
    for head, image_id in zip(heads, image_ids, strict=True):
        least[head] = min(least.get(head, image_id), image_id)
    return [least[head] for head in heads], merges


def _mixed(names: Sequence[str], stages: Sequence[str], links: Sequence[Link]) -> tuple[MixedGroup, ...]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, stage in zip(names, stages, strict=True):
        counts[name][stage] += 1
    mixed = {name: dict(sorted(found.items())) for name, found in counts.items() if len(found) > 1}
    evidence: dict[str, set[str]] = defaultdict(set)
    for link in links:
        if names[link.b] in mixed:
            evidence[names[link.b]].add(link.evidence)
    return tuple(MixedGroup(name, mixed[name], tuple(sorted(evidence[name]))) for name in sorted(mixed))
