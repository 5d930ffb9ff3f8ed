"""The command line. Parsing comes first and slow imports last: `r1 --help` and `r1 plan` answer in under 0.5 s."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from pipelines import cli_rewards, cli_stages, cli_store
from pipelines.cli_stages import Workdir
from pipelines.source import ConfigError, did_you_mean, reason

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.graph import Pipeline

EXAMPLES = """DeepSeek-R1's post-training recipe as one program: one YAML file says which stages, one command runs them.

\b
  r1 init demo                                   write a small pipeline and a reward to start from
  r1 plan demo/pipeline.yaml                     what would run, why, and what it costs
  r1 run demo/pipeline.yaml                      run it; a second run takes up where this one ended
  r1 run demo/pipeline.yaml --until cold --set stages.cold.with.epochs=3
  r1 show runs/demo                              what each stage came to; --json for scripts
  r1 show runs/demo/cold                         one stage: config, numbers, versions, files
  r1 why runs/demo                               why it did not get better, and what to try
  r1 chat runs/demo/final                        talk to the model that a stage made

Every kind of stage is a command too, by the same code path: `r1 sft --help`.
"""

File = Annotated[Path, typer.Argument(metavar="FILE", help="the pipeline file (YAML)")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="change one value of the file, as in stages.cold.with.epochs=3"),
]
RunName = Annotated[str, typer.Argument(metavar="RUN[/STAGE]", help="a run's folder, or its name in the workdir")]

app = typer.Typer(
    help=EXAMPLES,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"r1 {version('r1')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None: ...


@app.command()
def run(
    file: File,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="stop after this stage")] = None,
    set_: Set = None,
    workdir: Workdir = Path("runs"),
    log: Annotated[
        Literal["text", "json"], typer.Option(help="text for people; json: one event a line, nothing else on stdout")
    ] = "text",
) -> None:
    """Run a pipeline; what is made already is not made again.

    Exit codes: 0 done, 1 a stage failed, 2 a mistake in the file, 3 a stage's `needs` are not met, 130 interrupted
    (the same command goes on).

    \b
      r1 run pipeline.yaml
      r1 run pipeline.yaml --until reason
      r1 run pipeline.yaml --set seed=1 --set name=demo-1 --set stages.reason.with.steps=20
      r1 run pipeline.yaml --log json --set report_to=[tensorboard]
    """
    from pipelines import config, events, runner
    from pipelines import show as showing
    from pipelines.trackers import trackers

    with events.reporting(log) as (console, tell):
        pipeline = config.load(file, set_ or ())
        if until is not None:
            _stage(until, pipeline)
        code = runner.run(pipeline, workdir, console, until=until, listeners=[tell, *trackers(pipeline, workdir)])
        folder = workdir / pipeline.name
        if log == "json":
            ended = showing.content(folder)
            about = {"status": ended["status"], "exit": code, "folder": str(folder), "scores": ended["scores"]}
            tell({"event": "result", **about})
        elif code == runner.DONE:
            _closing_words(folder, console)
    raise typer.Exit(code)


def _stage(name: str, pipeline: Pipeline) -> str:
    """`--until`, checked."""
    names = [node.name for node in pipeline.nodes]
    if name not in names:
        raise ConfigError([f"--until {name}: no such stage ({did_you_mean(name, names)})"])
    return name


def _closing_words(folder: Path, console: Console) -> None:
    """The scores, where the run has any, and where its page is."""
    from pipelines.report import print_table

    print_table(folder, console)
    if (folder / "report.html").exists():
        console.print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def plan(
    file: File,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="plan up to this stage")] = None,
    set_: Set = None,
    workdir: Workdir = Path("runs"),
    hardware: Annotated[
        str | None, typer.Option(metavar="COUNTxDEVICE", help="also estimate memory, time and cost there, as 8xh800")
    ] = None,
    price: Annotated[
        float, typer.Option(metavar="DOLLARS", help="of a device for an hour; 2 is DeepSeek's figure")
    ] = 2.0,
    fill: Annotated[
        float, typer.Option(metavar="SHARE", min=0.001, max=0.999, help="tokens of a sequence as a share of its limit")
    ] = 0.163,
) -> None:
    """What `r1 run` would do: each stage cached, stale or new, with the reason and the time it is likely to take.

    Times are measured: what past runs of the store took, for the work that this file asks for. With --hardware they
    are also estimated from the sizes alone, with the assumptions told.

    \b
      r1 plan pipeline.yaml
      r1 plan pipeline.yaml --set stages.reason.with.steps=70
      r1 plan pipeline.yaml --hardware 8xh800 --price 2
    """
    from pipelines import config
    from pipelines import plan as planning
    from pipelines.hardware import parse_hardware
    from pipelines.run_folder import RunFolder
    from pipelines.store import Store

    devices = parse_hardware(hardware) if hardware else None
    pipeline = config.load(file, set_ or ())
    if until is not None:
        pipeline = pipeline.until(_stage(until, pipeline))
    rows = planning.rows(pipeline, RunFolder(workdir, pipeline.name), Store(workdir / "store"))
    typer.echo(planning.table(rows, hint=devices is None))
    if devices is not None:
        from pipelines.estimate import estimates

        typer.echo(f"\n{estimates(rows, devices, price, fill)}")


@app.command()
def show(
    run: RunName,
    json_: Annotated[bool, typer.Option("--json", help="everything a script needs, as one JSON object")] = False,
    workdir: Workdir = Path("runs"),
) -> None:
    """What a run, or one stage of it, came to.

    \b
      r1 show runs/r1-tiny
      r1 show runs/r1-tiny/reason
      r1 show runs/r1-tiny --json | python -c 'import json,sys; print(json.load(sys.stdin)["scores"])'
    """
    from pipelines import show as showing

    folder, stage = showing.find(run, workdir)
    content = showing.content(folder, stage)
    if json_:
        typer.echo(json.dumps(content, indent=1))
    else:
        typer.echo(showing.stage_text(content) if stage else showing.run_text(content))


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder, or its name in the workdir")],
    workdir: Workdir = Path("runs"),
) -> None:
    """Render the page of a run again, from what its stages left behind: also of a run that is not finished.

    \b
      r1 report runs/r1-tiny
    """
    from pipelines import show as showing
    from pipelines.report import render

    folder, _ = showing.find(run, workdir)
    typer.echo(render(folder))


@app.command()
def why(run: RunName, workdir: Workdir = Path("runs")) -> None:
    """Why a run did not get better: what stands out in its numbers, in plain words, and what to try.

    \b
      r1 why runs/r1-tiny
    """
    from pipelines import show as showing
    from pipelines.why import findings

    folder, stage = showing.find(run, workdir)
    found = [finding for finding in findings(folder) if stage in ("", finding.stage)]
    for finding in found:
        typer.echo(finding.text())
    if not found:
        typer.echo("nothing stands out: no failure, no cut-off answers, no dead groups, no gap to the engine")


@app.command()
def chat(
    model: Annotated[str, typer.Argument(metavar="RUN/STAGE", help="a stage with a model, or a model's folder")],
    question: Annotated[
        str | None, typer.Argument(metavar="[QUESTION]", help="ask this alone; without it, line by line")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="system text of the conversation")] = None,
    template: Annotated[Literal["chat", "plain"], typer.Option(help="plain: for a base that knows no turns")] = "chat",
    temperature: Annotated[float, typer.Option(min=0, help="sampling temperature; 0 = greedy")] = 0.6,
    top_p: Annotated[float, typer.Option(min=0.001, max=1, help="nucleus sampling")] = 0.95,
    max_tokens: Annotated[int, typer.Option(min=1, help="longest answer, tokens")] = 1024,
    seed: Annotated[int | None, typer.Option(help="the same seed gives the same answers")] = None,
    workdir: Workdir = Path("runs"),
) -> None:
    """Talk to a model of a run, at R1's evaluation settings. Ctrl-D ends, /reset begins a new conversation.

    \b
      r1 chat runs/r1-tiny/final
      r1 chat runs/r1-tiny/final 'Compute 47+38.'
      r1 chat runs/r1-tiny/base 'Compute 47+38.' --template plain
    """
    from pipelines import chat as talking

    folder = talking.find_model(model, workdir)
    settings = {"system": system, "template": template, "temperature": temperature, "top_p": top_p}
    talk = talking.load(folder, seed, max_tokens=max_tokens, **settings)
    lines = iter([question]) if question is not None else talking.typed()
    talking.converse(talk, lines, lambda text: typer.echo(text, nl=False))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="new or existing folder; nothing is overwritten")],
) -> None:
    """Write a small pipeline and a reward of your own to start from.

    \b
      r1 init demo
      r1 run demo/pipeline.yaml
    """
    from pipelines import starter

    for path in starter.write(folder):
        typer.echo(f"wrote {path}")
    typer.echo(f"next:  r1 plan {folder / 'pipeline.yaml'}\n       r1 run {folder / 'pipeline.yaml'}")


@app.command()
def doctor(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER|random:NAME", help="compare trainer and engine on this model; repeat for several"),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER", help="check the chat template and tokenizer of this model; repeat for several"),
    ] = None,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="put the table into this Markdown page")] = None,
    limit: Annotated[float, typer.Option(metavar="SECONDS", help="time for one model in one precision")] = 300.0,
) -> None:
    """What this machine offers: versions, bad combinations, devices, whether vLLM and the sandbox work. Takes seconds.

    With --model instead: does the rollout engine have the trainer's weights? Log-probs compared on load and after
    each of five updates of every tensor, in fp32 and bf16. The folder is only read. Exit 1 if a model disagrees or
    does not run. With --template: is its chat template fit for training with thinking? Exit 1 if not.

    \b
      r1 doctor
      r1 doctor --template runs/demo/cold
      r1 doctor --model runs/demo/cold
      r1 doctor --model random:qwen3_moe --model random:llama
      r1 doctor --model random:all --write docs/fidelity.md
    """
    if model or write:
        from pipelines import fidelity

        raise typer.Exit(0 if fidelity.report(model or [], write, limit) else 1)
    from pipelines import doctor as checks

    lines = checks.template_lines(template) if template else checks.lines()
    for line in lines:
        typer.echo(checks.text(line))
    raise typer.Exit(1 if any(ok is False for ok, _, _ in lines) else 0)


app.add_typer(cli_rewards.app, name="rewards")
app.add_typer(cli_store.app, name="store")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `r1` command (`args`: instead of the process's own). Always raises SystemExit."""
    cli_stages.add_commands(app, sys.argv[1:] if args is None else args)
    try:
        typer.main.get_command(app)(args=None if args is None else list(args), prog_name="r1")
    except ConfigError as error:
        for line in error.lines:
            print(line, file=sys.stderr)
        n = len(error.lines)
        if n > 1:
            print(f"{n} mistakes; nothing was run or created", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename:
            raise
        from pipelines.events import discard

        print(f"standard output: {reason(error)}", file=sys.stderr)
        discard(sys.stdout)  # what is buffered would fail again at the end of the process
        sys.exit(1)
    raise AssertionError("typer always exits")
