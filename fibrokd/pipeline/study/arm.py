"""One arm of a study as it is configured: how it trains, and what it is compared with. Data only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fibrokd.config import Config
from fibrokd.training.networks import BackboneName
from fibrokd.training.teacher_noise import TeacherNoise

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""Names of arms and teachers: they become names of folders."""

Endpoint = Literal["balanced_accuracy", "quadratic_kappa", "mean_absolute_stage_error", "log_loss"]


class Arm(Config):
    """One way of training, as it is compared with others."""

    student: dict[str, Any]
    """Changes of the study's ``student``: at least ``method: {kind: …}``; any key of a student plan."""

    teachers: tuple[Name, ...] | None = None
    """Names of teachers of the study; by default the first one, where the method takes a teacher."""

    online: bool = False
    """Teachers answer online although a book would do."""

    views: dict[str, Any] = Field(default_factory=dict)
    """Changes of the study's views."""

    book: dict[str, Any] = Field(default_factory=dict)
    """Changes of the study's book: a student that trains longer needs more views written down."""

    teacher_noise: TeacherNoise = TeacherNoise()
    """Share of the training images about which its teachers are made to answer wrongly."""

    backbones: tuple[BackboneName, ...] | None = None
    """Backbones of this arm, where they are not the study's."""

    against: tuple[Name, ...] | None = None
    """Arms that this one is compared with, declared before anything is trained; their p-values are a family of their
    own. ``null``: ``none`` and ``kd``, as far as they are arms of the study with the same backbone and stages; all
    such arms are one family per reference. No part of any identity."""

    endpoints: tuple[Endpoint, ...] = ()
    """Metrics on which the comparisons of ``against`` are tested, corrected together; the others get intervals alone.
    Empty: every metric is tested, each by itself. No part of any identity."""

    control: bool = False
    """It is there for the arms that name it in ``against``: in no family but theirs. No part of any identity."""

    note: str = ""
    """What is special about the arm, for the table."""

    @field_validator("against")
    @classmethod
    def _each_once(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("expected different arms")
        return names

    @model_validator(mode="after")
    def _endpoints_are_declared(self) -> Arm:
        if self.endpoints and not self.against:
            raise ValueError("`endpoints` are those of comparisons that `against` declares: name arms there")
        return self
