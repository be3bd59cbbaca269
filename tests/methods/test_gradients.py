"""Where gradients go, to everything that a phase trains and to no teacher, and what every term weighs.

Each method is run on noise patches, and after the first step of every phase the gradients that it left are looked at,
before the optimiser's next step clears them.
"""

import dataclasses

import pytest
import torch

from fibrokd.methods import METHODS
from fibrokd.pipeline import distill
from fibrokd.training import produce
from fibrokd.training.teachers import LiveTeacher
from fibrokd.training.trainee import Trainee
from tests.methods.arrangements import ARRANGEMENTS
from tests.methods.coefficients import weighed
from tests.methods.tiny import configuration

KINDS = list(METHODS)


@dataclasses.dataclass
class Seen:
    """What the first step of a phase left behind."""

    phase: str
    trained: dict
    frozen: dict
    own: dict
    taught: list
    signal_is_detached: bool
    cut_off: list
    coefficients: dict


def _gradients(named):
    return {name: parameter.grad for name, parameter in named}


def _teachers(phase):
    sources = [phase.teacher, *getattr(phase.teacher, "members", ())]
    found = [getattr(source, "source", source) for source in sources]  # the best epoch so far holds a network
    return [source.network for source in found if isinstance(source, LiveTeacher)]


def _tensors(signal):
    if signal is not None:
        for field in dataclasses.fields(signal):
            value = getattr(signal, field.name)
            many = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
            yield from (tensor for tensor in many if isinstance(tensor, torch.Tensor))
        if signal.uncertainty is not None:
            yield from (signal.uncertainty.aleatoric, signal.uncertainty.epistemic)


def _cut_off(trainee, terms):
    """Terms with a coefficient from which no gradient reaches anything that is trained."""
    parameters = [p for p in [*trainee.network.parameters(), *trainee.objective.parameters()] if p.requires_grad]
    for name, term in terms.items():
        if term.coefficient and not term.values.requires_grad:
            yield name
        elif term.coefficient:
            found = torch.autograd.grad(term.values.sum(), parameters, retain_graph=True, allow_unused=True)
            if all(gradient is None for gradient in found):
                yield name


def _looked_at(phase, signal, stale, cut_off, coefficients):
    parameters = dict(phase.network.named_parameters())
    trains = {name for name in parameters if phase.partition.trains(name)}
    taught = [
        (name, parameter.requires_grad, parameter.grad is not stale[id(parameter)])
        for network in _teachers(phase)
        for name, parameter in network.named_parameters()
    ]
    return Seen(
        phase.name,
        _gradients((name, parameters[name]) for name in trains),
        _gradients((name, parameters[name]) for name in parameters.keys() - trains),
        _gradients(phase.objective.named_parameters()),
        taught,
        not any(tensor.requires_grad for tensor in _tensors(signal)),
        cut_off,
        coefficients,
    )


@pytest.fixture(scope="module")
def first_steps(prepared, taught, tmp_path_factory):
    """Kind → what the first step of each of its phases left; every method is trained once."""
    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = _train(kind, prepared, taught, tmp_path_factory.mktemp(kind) / "run")
        return made[kind]

    return make


def _train(kind, prepared, taught, out):
    how = ARRANGEMENTS.get(kind, {})
    settings = {name: how[name] for name in ("views", "selection", "supervised") if name in how}
    if METHODS[kind].needs_teacher:
        settings["teacher"] = str(taught)
    train = {"epochs": how.get("least_epochs", 1), "learning_rate": 1e-3}
    method = {"kind": kind, **how.get("method", {}), **weighed(kind).knobs}
    config = configuration(prepared, method, backbone=how.get("student", "tiny"), train=train, **settings)
    seen, running, whole, step = [], [], produce.carry_out, Trainee.step

    def watched(folder, data, images, phases):
        def one_by_one():
            for phase in phases:
                running[:] = [phase]
                yield phase

        return whole(folder, data, images, one_by_one())

    def stepped(trainee, batch, signal, moment):
        phase = running[0]
        stale = {id(p): p.grad for network in _teachers(phase) for p in network.parameters()}
        first = phase.name not in {one.phase for one in seen}
        if not first:
            return step(trainee, batch, signal, moment)
        terms = trainee.objective(trainee.objective.ask(trainee.network, batch), signal, batch, moment)
        cut_off = list(_cut_off(trainee, terms))
        coefficients = {name: term.coefficient for name, term in terms.items()}
        del terms
        parts = step(trainee, batch, signal, moment)
        seen.append(_looked_at(phase, signal, stale, cut_off, coefficients))
        return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(produce, "carry_out", watched)
        patch.setattr(Trainee, "step", stepped)
        distill.run(config, out)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_from_every_term_they_reach_whatever_a_phase_trains_and_are_finite(first_steps, kind):
    seen = first_steps(kind)
    assert seen
    for one in seen:
        assert not one.cut_off, one.phase
        reached = {**one.trained, **{f"objective.{name}": grad for name, grad in one.own.items()}}
        assert reached, one.phase
        for name, grad in reached.items():
            assert grad is not None, (one.phase, name)
            assert torch.isfinite(grad).all(), (one.phase, name)
        # Branches that end in a batch norm of zeros pass nothing on in the very first step; most do.
        assert sum(bool(grad.any()) for grad in reached.values()) > len(reached) / 3, one.phase


@pytest.mark.parametrize("kind", KINDS)
def test_they_reach_nothing_that_is_frozen(first_steps, kind):
    for one in first_steps(kind):
        assert all(grad is None for grad in one.frozen.values()), one.phase


@pytest.mark.parametrize("kind", KINDS)
def test_they_never_reach_a_teacher(first_steps, kind):
    seen = first_steps(kind)
    for one in seen:
        assert one.signal_is_detached, one.phase
        assert not [name for name, trained, changed in one.taught if trained or changed], one.phase
    taught_by_networks = METHODS[kind].needs_teacher or ARRANGEMENTS.get(kind, {}).get("own_teachers", False)
    assert any(one.taught for one in seen) == taught_by_networks


@pytest.mark.parametrize("kind", KINDS)
def test_every_term_weighs_what_its_knobs_say(first_steps, kind):
    for one in first_steps(kind):
        assert one.coefficients == pytest.approx(weighed(kind).expected(one.phase)), one.phase
