"""What every method of the catalogue must do, whatever it is: the reason to trust one table that compares them all.

Each method is trained for a few epochs on noise patches, in bfloat16, with MixUp, class weights and augmentation on,
by the schedule and the moving average that the committed study uses; once in one piece and once killed twice on the
way. Everything else is read off these runs. (The tests of each method train by the default schedule.)
"""

import dataclasses
import importlib

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from fibrokd.data.prepared import Prepared
from fibrokd.errors import BookError, ConfigError
from fibrokd.files import read_json
from fibrokd.methods import METHODS, open_network
from fibrokd.pipeline import distill, write_book
from fibrokd.pipeline.release import export_onnx
from fibrokd.training import produce
from fibrokd.training.dataset import Batch
from fibrokd.training.method import GRADES, Workshop
from fibrokd.training.objective import Moment
from fibrokd.training.teachers import LiveTeacher, evaluating
from tests.methods.arrangements import ARRANGEMENTS
from tests.methods.tiny import ROOT, answers, configuration, images_of_test_split, killed_after, shipped, weights

KINDS = list(METHODS)
TAUGHT = [kind for kind in KINDS if METHODS[kind].teachers[1] > 0]
BFLOAT16 = {"precision": "bf16", "memory_format": "channels_last"}
AS_IN_THE_STUDY = {"schedule": {"kind": "one_cycle"}, "keep": "last", "average_decay": 0.9, "runtime": BFLOAT16}


@pytest.fixture(scope="module")
def teachers(prepared, tmp_path_factory):
    """Two finished networks that may teach."""
    root = tmp_path_factory.mktemp("teachers")
    for seed in (0, 1):
        distill.run(configuration(prepared, {"kind": "none"}, train={"seed": seed}), root / f"t{seed}")
    return [root / "t0", root / "t1"]


def arranged(kind, prepared, teachers, **changes):
    """Return the configuration of a tiny run of a method, with teachers that answer online."""
    how = ARRANGEMENTS.get(kind, {})
    count = max(METHODS[kind].teachers[0], how.get("teachers", 0))
    given = [str(folder) for folder in teachers[:count]]
    settings = {name: how[name] for name in ("views", "selection", "supervised") if name in how}
    if given:
        settings["teacher"] = given if len(given) > 1 else given[0]
    settings["train"] = {**AS_IN_THE_STUDY, **how.get("train", {}), **changes.pop("train", {})}
    settings["backbone"] = how.get("student", "tiny")
    return configuration(prepared, {"kind": kind, **how.get("method", {})}, **settings, **changes)


@dataclasses.dataclass
class Watched:
    """What was seen while a plan was carried out."""

    answers: np.ndarray | None = None  # of the trained network, before export
    epochs: int = 0
    frozen: list = dataclasses.field(default_factory=list)  # (phase, what, unchanged)
    moved: list = dataclasses.field(default_factory=list)  # (phase, trained parameters that moved, frozen that moved)


def watching(watched, images):
    """Replace ``carry_out`` by one that looks at teachers and parameters before and after every phase."""
    whole = produce.carry_out

    def spied(folder, prepared, training_images, phases):
        def looked_at():
            for phase in phases:
                network = weights(phase.network)
                sources = [phase.teacher, *getattr(phase.teacher, "members", ())]
                taught_by = [
                    s.network for s in sources if isinstance(s, LiveTeacher) and s.network is not phase.network
                ]
                before = [weights(teacher) for teacher in taught_by]
                yield phase
                after = [weights(teacher) for teacher in taught_by]
                same = all(torch.equal(a[k], b[k]) for a, b in zip(before, after, strict=True) for k in a)
                watched.frozen.append((phase.name, len(taught_by), same))
                now = weights(phase.network)
                names = [name for name, _ in phase.network.named_parameters() if name in network]
                if all(network[name].shape == now[name].shape for name in names):  # else it was pruned
                    changed = {name for name in names if not torch.equal(network[name], now[name])}
                    trained = {name for name in names if phase.partition.trains(name)}
                    watched.moved.append((phase.name, len(changed & trained), changed - trained))

        outcome = whole(folder, prepared, training_images, looked_at())
        watched.epochs = sum(phase["epochs"] for phase in outcome.phases)
        watched.answers = answers(outcome.network, images)
        return outcome

    return spied


@pytest.fixture(scope="module")
def finished(prepared, teachers, tmp_path_factory):
    """Kind → (configuration, run folder, what was seen); every method is trained once."""
    made = {}
    images = images_of_test_split(prepared)

    def make(kind):
        if kind not in made:
            config, out = arranged(kind, prepared, teachers), tmp_path_factory.mktemp(kind) / "run"
            watched = Watched()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(produce, "carry_out", watching(watched, images))
                distill.run(config, out)
            made[kind] = config, out, watched
        return made[kind]

    make.images = images
    return make


# --------------------------------------------------------------------------- what a method says of itself
@pytest.mark.parametrize("kind", KINDS)
def test_its_row_is_complete_and_its_configuration_survives_a_round_trip(kind):
    spec = METHODS[kind]
    assert spec.kind == kind == spec.config().kind
    assert spec.config.model_validate_json(spec.config().model_dump_json()) == spec.config()
    for text in (spec.title, spec.idea, spec.formula, spec.reference, spec.cost):
        assert text.strip()
    assert set(spec.grades.split()) <= set(GRADES)
    assert all(field.description for field in spec.config.model_fields.values())
    least, most = spec.teachers
    assert 0 <= least <= most
    assert bool(spec.needs) == (most > 0)
    assert most > 0 or not spec.cacheable


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_reconstructed_is_called_our_reading(kind):
    text = " ".join((importlib.import_module(f"fibrokd.methods.{kind}").__doc__ or "").split())
    assert METHODS[kind].is_our_reading == ("our reading" in text.casefold())


@pytest.mark.parametrize("kind", KINDS)
def test_its_shipped_file_names_every_knob_with_its_default_and_no_other(kind):
    written = yaml.safe_load((ROOT / "configs" / "methods" / f"{kind}.yaml").read_text(encoding="utf-8"))["method"]
    assert written == {"kind": kind} | METHODS[kind].config().as_json()
    assert shipped(kind).method == METHODS[kind].config()


# --------------------------------------------------------------------------- what it does in training
@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_with_mixup_class_weights_and_bfloat16_and_stays_finite(finished, kind):
    config, out, watched = finished(kind)
    assert config.views.mixup_alpha > 0 or kind in {"ccd", "graft_multi_teacher"}
    assert config.supervised.class_weights == "balanced"
    assert watched.epochs >= 2
    for tensor in load_file(out / "weights.safetensors").values():
        assert torch.isfinite(tensor.float()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_phase_moves_what_it_trains_and_nothing_else(finished, kind):
    for phase, trained, frozen in finished(kind)[2].moved:
        assert trained > 0, phase
        assert not frozen, phase


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_teacher_stays_as_it_was_bit_by_bit(finished, kind):
    """Weights and batch-norm statistics."""
    seen = finished(kind)[2].frozen
    assert all(unchanged for _, _, unchanged in seen)
    if METHODS[kind].needs_teacher:
        assert any(count for _, count, _ in seen)


@pytest.mark.slow  # every method's own tests cut it where it is delicate
@pytest.mark.parametrize("kind", KINDS)
def test_killed_twice_it_ends_with_the_same_bytes(finished, kind, tmp_path):
    config, whole, watched = finished(kind)
    first = max(1, watched.epochs // 2)
    for epochs in (first, 1):
        if epochs < watched.epochs:
            with killed_after(epochs):
                distill.run(config, tmp_path / "run")
    distill.run(config, tmp_path / "run")
    for name in ("weights.safetensors", "metrics.jsonl", "card.json"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


# --------------------------------------------------------------------------- what comes out
@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_network_is_the_trained_one_and_is_counted(finished, kind):
    _, out, watched = finished(kind)
    exported = open_network(out)
    found = answers(exported, finished.images)
    np.testing.assert_allclose(found, watched.answers, atol=1e-5)
    card = read_json(out / "card.json")
    assert card["parameters"] == sum(p.numel() for p in exported.parameters())
    stored = load_file(out / "weights.safetensors").values()
    assert card["weight_bytes"] == sum(t.numel() * t.element_size() for t in stored if t.is_floating_point())
    assert card["weight_bytes"] >= 4 * card["parameters"]
    assert found.shape[1] == len(card["stages"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_deployed(finished, kind):
    import onnxruntime

    network = open_network(finished(kind)[1])
    session = onnxruntime.InferenceSession(export_onnx(network, 32, 18), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": finished.images.numpy()})
    np.testing.assert_allclose(found, answers(network, finished.images), rtol=1e-5, atol=1e-5)


# --------------------------------------------------------------------------- what it learns from
@pytest.mark.slow
@pytest.mark.parametrize("kind", TAUGHT)
def test_it_reads_a_book_where_one_will_do_and_refuses_it_where_not(prepared, teachers, tmp_path, kind):
    spec = METHODS[kind]
    config = arranged(kind, prepared, teachers)
    form = {"views": config.train.epochs, "batch_size": 10}
    more = sorted(spec.needs - {"logits"})
    if spec.cacheable and more:
        form["stores"] = tuple(more)
    if hasattr(config.method, "thinning"):
        form["thinning"] = config.method.thinning
    book = write_book.WriteBookConfig(
        prepared=prepared,
        teacher=teachers[0],
        book=write_book.BookConfig(**form),
        views=config.views,
        selection=config.selection,
        minimum_balanced_accuracy=0.0,
    )
    write_book.run(book, tmp_path / "book")
    reading = config.model_copy(update={"teacher": None, "book": tmp_path / "book"})
    if spec.cacheable:
        distill.run(reading, tmp_path / "run")
        assert read_json(tmp_path / "run" / "card.json")["epochs"] > 0
    else:
        with pytest.raises(ConfigError, match="answers online"):
            distill.run(reading, tmp_path / "run")


@pytest.mark.parametrize(
    "kind", [kind for kind in TAUGHT if METHODS[kind].needs - {"logits"} and METHODS[kind].cacheable]
)
def test_a_book_that_lacks_what_it_asks_for_is_refused_by_name(prepared, teachers, tmp_path, kind):
    config = arranged(kind, prepared, teachers)
    book = write_book.WriteBookConfig(
        prepared=prepared,
        teacher=teachers[0],
        book=write_book.BookConfig(views=config.train.epochs, batch_size=10),
        views=config.views,
        minimum_balanced_accuracy=0.0,
    )
    write_book.run(book, tmp_path / "book")
    lacking = sorted(METHODS[kind].needs - {"logits"})[0]
    with pytest.raises((ConfigError, BookError), match=lacking):
        distill.run(config.model_copy(update={"teacher": None, "book": tmp_path / "book"}), tmp_path / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_teachers_and_too_few_are_refused(prepared, teachers, tmp_path, kind):
    least, most = METHODS[kind].teachers
    config = arranged(kind, prepared, teachers)
    too_many = config.model_copy(update={"teacher": tuple((teachers * 5)[: most + 1])})
    with pytest.raises(ConfigError, match="needs" if most else "takes neither `book` nor `teacher`"):
        distill.run(too_many, tmp_path / "many")
    if least:
        too_few = config.model_copy(update={"teacher": None})
        with pytest.raises(ConfigError, match="needs"):
            distill.run(too_few, tmp_path / "none")


# --------------------------------------------------------------------------- its loss
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_no_phase_depends_on_the_order_of_the_batch(prepared, teachers, kind):
    """Before a phase has trained anything, and without the noise that dropout draws row by row."""
    data = Prepared.open(prepared)
    config = arranged(kind, prepared, teachers)
    step = 2 if config.views.joint is not None else 1  # pairs stay pairs
    for phase in _phases(kind, data, config, teachers):
        batch = next((phase.images or _images(data, config)).batches(0, 10))
        starts = np.random.default_rng(0).permutation(len(batch) // step) * step
        order = torch.from_numpy(np.concatenate([np.arange(s, s + step) for s in starts]))
        with evaluating(phase.network):
            straight, shuffled = (_loss(phase, phase.network, b) for b in (batch, _reordered(batch, order)))
        assert straight == pytest.approx(shuffled, rel=2e-4, abs=2e-5), phase.name
        _heard(phase)


def _heard(phase):
    """Let a phase whose plan goes on by what it heard have heard something."""
    if phase.stop is not None:
        phase.stop({"epoch": 1, "val_macro_f1": 0.5, "val_balanced_accuracy": 0.5})


def _images(data, config):
    from fibrokd.data.selection import select
    from fibrokd.training.dataset import TrainingImages

    return TrainingImages.of(select(data, config.selection), config.views)


def _phases(kind, data, config, teachers):
    from fibrokd.data.selection import select, stage_indices
    from fibrokd.training.networks import build

    part = select(data, config.selection)
    device = torch.device("cpu")
    given = config.teacher if isinstance(config.teacher, tuple) else (config.teacher,) if config.teacher else ()
    shop = Workshop(
        stages=len(part.scale),
        label_space=stage_indices(data.scale, part.scale),
        backbone=config.backbone,
        supervised=produce.supervised_term(part, config.supervised),
        images=_images(data, config),
        train=config.train,
        new_network=lambda backbone, seed: build(backbone, len(part.scale), False, None, seed),
        teachers=tuple(LiveTeacher.open(folder, data, device, open_network) for folder in given),
        device=device,
    )
    return METHODS[kind].plan(config.method, shop)


def _reordered(batch, order):
    tensors = {
        field.name: getattr(batch, field.name)[order]
        for field in dataclasses.fields(Batch)
        if isinstance(getattr(batch, field.name), torch.Tensor)
    }
    return dataclasses.replace(batch, **tensors)


@torch.no_grad()
def _loss(phase, network, batch):
    torch.manual_seed(0)
    signal = None if phase.teacher is None else phase.teacher.signal(batch, phase.objective.needs)
    terms = phase.objective(phase.objective.ask(network, batch), signal, batch, Moment(1, 4, 0.5))
    return sum(
        float(t.coefficient * (t.weights * t.values).sum() / t.weights.sum().clamp_min(1e-12)) for t in terms.values()
    )
