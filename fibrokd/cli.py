"""The command line: ``fibrokd <step> CONFIG OUT [--set key=value …]`` and the bedside commands.

Only argument parsing and error printing live here. Steps are imported when they are called: ``fibrokd --help`` must
not pay for torch.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from fibrokd import __version__
from fibrokd.errors import ConfigError, FibroKDError


class Step(NamedTuple):
    """A step as the command line offers it; ``start`` says which configuration to begin with."""

    module: str
    config: str
    help: str
    start: str
    several_processes: bool = False


STEPS = {
    "run": Step(
        "run",
        "RunConfig",
        "One configuration through all steps; finished steps are not redone.",
        "such as configs/demo.yaml or configs/paper.yaml",
    ),
    "phantom": Step(
        "phantom",
        "PhantomConfig",
        "Render a synthetic cohort whose truth is known.",
        "such as configs/phantom/medium.yaml",
    ),
    "prepare": Step(
        "prepare",
        "PrepareConfig",
        "Read images, group them, split them, and judge whether they leak.",
        "such as configs/prepare/own_folder.yaml, configs/prepare/own_table.yaml or configs/prepare/dicom.yaml",
    ),
    "teach": Step(
        "teach", "TeachConfig", "Train a teacher.", "such as configs/steps/teach.yaml", several_processes=True
    ),
    "write-book": Step(
        "write_book",
        "WriteBookConfig",
        "Let the teacher answer every training view once.",
        "such as configs/steps/write_book.yaml",
    ),
    "compare-views": Step(
        "compare_views",
        "CompareViewsConfig",
        "How steady a teacher is under different augmentation policies.",
        "with two keys, prepared and teacher: folders that those steps wrote",
    ),
    "distill": Step(
        "distill",
        "DistillConfig",
        "Train a student from a book, a live teacher, or neither.",
        "such as configs/steps/distill.yaml",
        several_processes=True,
    ),
    "assess": Step(
        "assess",
        "AssessConfig",
        "Predict held-out patients; write metrics and the report.",
        "such as configs/steps/assess.yaml",
    ),
    "crossval": Step(
        "crossval",
        "CrossvalConfig",
        "Train one recipe for every fold, or without every scanner or site, and assess all rounds together.",
        "of `fibrokd run`, such as configs/demo.yaml; `by` says what is left out: fold (default), scanner or site",
    ),
    "inflate": Step(
        "inflate",
        "InflateConfig",
        "Train one recipe under every kind of split: how much of its figures is leakage.",
        "of `fibrokd run`, such as configs/demo.yaml; `levels` names kinds of split, by default all there are",
    ),
    "release": Step(
        "release",
        "ReleaseConfig",
        "Export a student, prove parity, and write a bundle.",
        "such as configs/steps/release.yaml",
    ),
}

cli = typer.Typer(
    name="fibrokd",
    help="Stage liver fibrosis (METAVIR F0–F4) from B-mode ultrasound. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add_step(name: str, step: Step) -> None:
    def command(
        config: Annotated[Path, typer.Argument(help="YAML file, see above.", show_default=False)],
        out: Annotated[Path, typer.Argument(help="Folder to write: new, or one to resume.", show_default=False)],
        overrides: Annotated[
            list[str] | None, typer.Option("--set", help="Override one key: --set a.b=value. Repeatable.")
        ] = None,
    ) -> None:
        from fibrokd.config import load_config

        if not step.several_processes and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                f"Expected one process for '{name}', found {os.environ['WORLD_SIZE']} (accelerate launch).",
                "Only teach and distill train in several processes; start this step by itself.",
            )
        module = importlib.import_module(f"fibrokd.pipeline.{step.module}")
        module.run(load_config(config, getattr(module, step.config), overrides or ()), out)

    cli.command(name, help=f"{step.help}\n\nCONFIG is a YAML file {step.start}.", short_help=step.help)(command)


for _name, _step in STEPS.items():
    _add_step(_name, _step)


@cli.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder of a released bundle.", show_default=False)],
    paths: Annotated[list[Path], typer.Argument(help="Images, DICOM files or folders.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Stage images, folders and DICOM files with a released bundle."""
    from fibrokd.pipeline.predict import run

    raise typer.Exit(run(bundle, paths, as_json))


@cli.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of a released bundle.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Repeat a bundle's golden cases on this machine."""
    from fibrokd.pipeline.verify import run

    raise typer.Exit(run(bundle, as_json))


@cli.command("app")
def bedside(
    bundle: Annotated[Path, typer.Argument(help="Folder of a released bundle.", show_default=False)],
    port: Annotated[int, typer.Option(help="Port on the loopback address.")] = 8501,
) -> None:
    """Open the bedside app on a released bundle."""
    from fibrokd.pipeline.app import launch

    raise typer.Exit(launch(bundle, port))


@cli.command()
def evidence(
    run: Annotated[Path, typer.Argument(help="Folder of a finished `fibrokd run`.", show_default=False)],
    out: Annotated[
        Path, typer.Argument(help="Folder to write, new; best inside RUN, such as RUN/evidence.", show_default=False)
    ],
) -> None:
    """Write model card, data card and the CLAIM 2024, TRIPOD+AI and STARD-AI checklists of a run.

    Every filled item links to the figure it comes from; what software cannot know is left to the authors and says so.
    Markdown, HTML, and evidence.json for programs.
    """
    from fibrokd.pipeline import evidence as command

    command.run(run, out)


@cli.command()
def external(
    run: Annotated[Path, typer.Argument(help="Folder of a finished `fibrokd run`.", show_default=False)],
    prepared: Annotated[
        Path, typer.Argument(help="Folder that `fibrokd prepare` wrote of another collection.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write, new.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Set a key of the `assess` step: --set a.b=value. Repeatable.")
    ] = None,
) -> None:
    """Assess the networks of a run on another collection.

    Images that they have seen before are left out. Nothing is trained or fixed anew: thresholds, temperatures and sets
    are those of the run.
    """
    from fibrokd.config import apply_overrides, parse_config
    from fibrokd.pipeline import external as command
    from fibrokd.pipeline.assess_numbers import AssessPlan

    command.run(run, prepared, out, parse_config(apply_overrides({}, overrides or ()), AssessPlan))


@cli.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more folders that `assess`, `crossval` or `external` wrote, or the OUT of `fibrokd run`.",
            metavar="RUN",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write, new.", show_default=False)],
    split: Annotated[str, typer.Option(help="Split whose answers are compared.")] = "test",
    networks: Annotated[
        list[str] | None, typer.Option(help="Compare networks of this name only. Repeatable.", show_default="all")
    ] = None,
    same_but_seed: Annotated[
        bool,
        typer.Option(
            "--same-but-seed",
            help="The runs differ in nothing but the seed; needed where no record of their trainings says so.",
        ),
    ] = False,
    resamples: Annotated[
        int | None, typer.Option(help="Resamples of patients.", show_default="1000, or 400 per pair of networks")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
) -> None:
    """Put two or more assessed runs side by side, on the images that all of them asked.

    Every network with its intervals, every pair with paired difference and agreement, and in what the runs differ:
    compare.html, compare.json, and compare.csv for programs.
    """
    from fibrokd.config import parse_config
    from fibrokd.pipeline import compare as command

    asked: dict[str, Any] = {"split": split, "networks": networks or [], "same_but_seed": same_but_seed}
    asked |= {"resamples": resamples, "seed": seed}
    command.run(runs, out, parse_config(asked, command.CompareConfig))


@cli.command()
def study(
    config: Annotated[Path, typer.Argument(help="YAML file, such as configs/study/smoke.yaml.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder of the study: new, or one to go on with.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one key: --set a.b=value. Repeatable.")
    ] = None,
    resume_from: Annotated[
        Path | None, typer.Option(help="Folder with results of this study; they are not trained again.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Begin no further cell after so many minutes.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try cells again that failed before.")] = False,
) -> None:
    """Compare methods over students, seeds and training fractions; teachers and books are shared."""
    from fibrokd.config import load_config
    from fibrokd.pipeline.study import step as command
    from fibrokd.pipeline.study.plan import StudyConfig

    changes = list(overrides or [])
    changes += [f"resume_from={json.dumps(str(resume_from))}"] if resume_from is not None else []
    changes += [f"minutes={minutes}"] if minutes is not None else []
    changes += ["retry_failed=true"] if retry_failed else []
    command.run(load_config(config, StudyConfig, changes), out)


@cli.command()
def claims(
    config: Annotated[
        Path, typer.Argument(help="YAML file with the register, such as configs/study/claims.yaml.", show_default=False)
    ],
    studies: Annotated[Path, typer.Option(help="Folder with one folder of results per study.")] = Path("docs/study"),
) -> None:
    """Judge registered claims about methods by finished studies, and print the page docs/claims.md."""
    from fibrokd.config import load_config
    from fibrokd.evaluation.claims.register import ClaimsConfig
    from fibrokd.pipeline import claims as command

    print(command.run(load_config(config, ClaimsConfig), studies))


@cli.command()
def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/methods.md.")] = False,
    studies: Annotated[
        Path | None, typer.Option(help="Folder with one folder per study, whose figures the page shows.")
    ] = None,
    register: Annotated[Path | None, typer.Option(help="Register of claims that the page links to.")] = None,
) -> None:
    """List the distillation methods, with the grade of evidence behind each."""
    from fibrokd.methods import METHODS

    if markdown:
        from fibrokd.config import load_config
        from fibrokd.evaluation.claims.register import ClaimsConfig
        from fibrokd.pipeline.methods_page import methods_page
        from fibrokd.pipeline.methods_reported import read_reporters
        from fibrokd.pipeline.methods_results import read_studies

        known, networks = (read_studies(studies), read_reporters(studies)) if studies is not None else (None, ())
        claims = load_config(register, ClaimsConfig) if register is not None else None
        print(methods_page(METHODS, known, claims, networks))
        return
    rows: list[dict[str, Any]] = [
        {"kind": spec.kind, "title": spec.heading, "grades": spec.grades, "reference": spec.reference}
        for spec in METHODS.values()
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        print(f"{row['kind']:<20} {row['grades']:<4} {row['title']}\n{'':<23} {row['reference']}")


def _version(wanted: bool | None) -> None:
    if wanted:
        print(f"fibrokd {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Stage liver fibrosis (METAVIR F0–F4) from B-mode ultrasound. Research use only."""
    del version


def main() -> None:
    """Entry point: prints a FibroKDError in two lines and exits 2; any other exception keeps its traceback."""
    try:
        cli()
    except FibroKDError as error:
        print(f"error: {error.problem}\n→ {error.todo}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped\n→ Run the same command again: it goes on where it stopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
