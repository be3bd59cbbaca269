"""BookKD: teachers write a book once; students learn from it with corrected, weighted pages.

Our reading of the paper, of which only the abstract could be read. It names four parts: making the book combines
several teachers (ensemble) and repairs them (regularisation); learning from it adjusts pages by entropy and smooths
labels. Its formulas are not known to us; ours are:

* ensemble: b_i = Σ_m ν_m σ(z_m / T). Books hold the raw logits of each teacher apart, so that ν, T and the correction
  are chosen when they are read and one book serves many methods.
* regularisation: where the page is wrong, the probability of its most probable stage and that of the true stage are
  exchanged, as in Knowledge Adjustment; the set of probabilities, hence the entropy, stays. Under MixUp a page is
  wrong if it agrees with less than half of the pair (a_i < ½), and what counts as true is the dominant stage, whose
  λ ≥ ½. The page that is judged is the one that is taught: the mean at temperature T.
* entropy: page i weighs v_i(τ) = 1 − (1 − τ) H(b_i^H) / log K, b_i^H = Σ_m ν_m σ(z_m / T_H), with τ from 0 in the first
  epoch to 1 in the last: what teachers are unsure about comes late. The sum is divided by B, not by Σ v: early on, an
  unsure batch teaches less.
  At which temperature the entropy is taken is open. At T = 3 nearly every page is unsure, and in the first epochs the
  teacher says a fifth of what it says at T = 1. Two of six trainings at T = 3 ended far below all others, and none of
  six at T = 1 (docs/experiments.md; whether that is the reason was not tested), so the entropy is that at 1 unless
  ``entropy_temperature`` says otherwise; ``null`` takes that of the page that is taught, H(b_i).
* label smoothing is part of the method: ε = 0 is refused.

What the paper claims is not a better student but a cheaper one: ``ledger.json`` and ``cost.json`` of a book, and
``cost.json`` of its readers, say what was spent.

References:
    Zhu, Shang, Tang, Xu, Li, "BookKD: A Novel Knowledge Distillation for Reducing Distillation Costs by Decoupling
    Knowledge Generation and Learning", Knowledge-Based Systems, 2023, DOI 10.1016/j.knosys.2023.110916 (abstract).
    Wen, Lai, Qian, "Preparing Lessons: Improve Knowledge Distillation with Better Supervision", Neurocomputing, 2021,
    arXiv:1911.07471 (exchange of probabilities).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from fibrokd.errors import ConfigError
from fibrokd.training.book import Book
from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import Distillation, MixtureConfig
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Term, expect_signal
from fibrokd.training.signals import TeacherSignal
from fibrokd.training.targets import agreement
from fibrokd.training.teachers import Ensemble, TeacherSource

MOST_TEACHERS = 8


class BookKdConfig(MixtureConfig):
    """Knobs of learning from a book."""

    kind: Literal["book_kd"] = "book_kd"
    """Name of the method."""

    teacher_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """ν, one weight per teacher, in the order of the folders; made to sum to 1. ``null``: equal."""

    correction: bool = True
    """Exchange the probabilities of a wrong page's most probable stage and of the true one."""

    entropy_weights: bool = True
    """Let pages with high entropy come late."""

    entropy_temperature: Annotated[float, Field(gt=0)] | None = 1.0
    """T_H, the temperature at which a page's entropy is taken; ``null``: T."""

    @field_validator("teacher_weights")
    @classmethod
    def _some_weight(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights is not None and not 0 < sum(weights) < math.inf:
            raise ValueError("expected weights of which at least one is positive")
        return weights


def corrected(page: Float[Tensor, "B K"], batch: Batch) -> Float[Tensor, "B K"]:
    """Return pages in which the true stage is on top: two probabilities of every wrong page are exchanged.

    Args:
        page: Probabilities.
        batch: Stages, partner stages and λ; the dominant stage is the true one.
    """
    top = page.argmax(1, keepdim=True)
    true = torch.where(batch.lam >= 0.5, batch.stages, batch.partner_stages)[:, None]
    exchanged = page.scatter(1, top, page.gather(1, true)).scatter(1, true, page.gather(1, top))
    return torch.where((agreement(page, batch) < 0.5)[:, None], exchanged, page)


def page_weights(page: Float[Tensor, "B K"], share: float) -> Float[Tensor, " B"]:
    """Return v_i(τ) = 1 − (1 − τ) H(b_i) / log K.

    Args:
        page: Probabilities.
        share: τ, from 0 to 1.
    """
    entropy = torch.special.entr(page).sum(1) / math.log(page.shape[1])
    weights: Tensor = (1 - (1 - share) * entropy).clamp(0, 1)
    return weights


class LearnFromBook(Distillation):
    """L = (1 − α) L_sup + α T² Σ_i v_i KL(b_i ‖ p_s^T) / B."""

    config: BookKdConfig

    def taught(self, signal: TeacherSignal | None, batch: Batch) -> tuple[Float[Tensor, "B K"], Float[Tensor, " B"]]:
        """Return repaired pages; none weighs less, because the sum is divided by B."""
        page, weights = super().taught(signal, batch)
        return corrected(page, batch) if self.config.correction else page, weights

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return both terms.

        Raises:
            TrainingError: There is no teacher signal.
        """
        c = self.config
        terms = super().forward(outputs, signal, batch, moment)
        if not c.entropy_weights:
            return terms
        page = expect_signal(signal, c.kind).probabilities(c.entropy_temperature or c.kd_temperature)
        values = page_weights(page, moment.epoch_share) * terms["kd"].values
        return {**terms, "kd": Term.mean(values, terms["kd"].coefficient)}


def combine(config: BookKdConfig, sources: tuple[TeacherSource, ...]) -> TeacherSource:
    """Return the given sources as one.

    Raises:
        ConfigError: Weights and sources differ in number, or books differ in what they repeat: the views of a reader
            can follow one of them only.
    """
    books = {(source.mode, len(source.logits)) for source in sources if isinstance(source, Book)}
    if len(books) > 1:
        found = ", ".join(f"{mode} of {views} views" for mode, views in sorted(books))
        raise ConfigError(
            f"Expected books of one mode and length, found {found}: a student cannot see the views of all.",
            "Write the books with the same `book` section.",
        )
    if len(sources) == 1 and config.teacher_weights is None:
        return sources[0]
    return Ensemble(sources, config.teacher_weights)


def _plan(config: BookKdConfig, shop: Workshop) -> Iterator[Phase]:
    teacher = combine(config, shop.teachers)
    # Stopped early, a student would never have been told the unsure pages in full.
    train = shop.budget(min_epochs=shop.train.epochs) if config.entropy_weights else shop.train
    yield Phase("train", shop.student(), LearnFromBook(config, shop.supervised), teacher, train)


def _check(config: BookKdConfig, student: Any) -> None:
    del config
    if student.supervised.label_smoothing == 0:
        raise ConfigError(
            "Expected `supervised.label_smoothing` above 0: it is part of method 'book_kd', found 0.",
            "Set it (0.1, say), or use method 'kd', which is the same without the parts of the paper.",
        )


METHOD = MethodSpec(
    kind="book_kd",
    title="BookKD: knowledge books, corrected and weighted by entropy",
    idea="Teachers write their answers down once; students learn from the repaired pages, the unsure ones last.",
    formula="L = (1 − α) L_sup + α T² Σ_i v_i KL(b_i ‖ p_s^T) / B, b = swap(Σ_m ν_m σ(z_m / T)), "
    "v_i = 1 − (1 − τ) H(Σ_m ν_m σ(z_m / T_H)) / log K",
    grades="B D",
    reference="Zhu et al., DOI 10.1016/j.knosys.2023.110916 (abstract); correction as in arXiv:1911.07471",
    config=BookKdConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, MOST_TEACHERS),
    cacheable=True,
    seams="books, or frozen teachers, several of either; weights by epoch",
    cost="One answer of every teacher per view, once for all students that read the books; nothing in learning.",
    check=_check,
)
