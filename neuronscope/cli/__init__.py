"""The command line: parses arguments, runs one task and prints its result; computes nothing.

Heavy imports happen only when a command runs, so that `--help` is fast.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import tyro
from rich.console import Console
from rich.markup import escape

from neuronscope import __version__
from neuronscope.cli.attack import ATTACK
from neuronscope.cli.command import command_type, stand_in
from neuronscope.cli.convert import CONVERT
from neuronscope.cli.diagnose import DIAGNOSE
from neuronscope.cli.listing import List
from neuronscope.cli.record import RECORD
from neuronscope.cli.score import SCORE
from neuronscope.cli.studying import Demo, Study
from neuronscope.cli.training import FINETUNE, UNLEARN

TASKS = {
    "diagnose": DIAGNOSE,
    "unlearn": UNLEARN,
    "attack": ATTACK,
    "score": SCORE,
    "finetune": FINETUNE,
    "record": RECORD,
    "convert": CONVERT,
}
"""The commands that run one task."""

ABOUT = """Was knowledge erased from an unlearned language model, or only hidden?

Start with `neuronscope demo`, which takes about two minutes on a CPU. `neuronscope COMMAND --help`
explains a command and its options; `neuronscope --version` prints the version."""


def main() -> None:
    """Run one command. User errors are printed in one line, without a traceback."""
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has closed the pipe; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def commands_for(arguments: Sequence[str]) -> dict[str, type[Any]]:
    """The type of each command.

    Only the command on the command line gets its flags; the other tasks are stand-ins.
    """
    kinds: dict[str, type[Any]] = {
        name: command_type(command, arguments) if name in arguments[:1] else stand_in(command)
        for name, command in TASKS.items()
    }
    ours = {"study": Study, "list": List, "demo": Demo}
    order = ("diagnose", "study", *kinds, *ours)
    return {name: (kinds | ours)[name] for name in dict.fromkeys(order)}


def _run() -> None:
    if sys.argv[1:] == ["--version"]:
        Console().print(f"neuronscope {__version__}", highlight=False)
        return
    command = tyro.extras.subcommand_cli_from_dict(
        commands_for(sys.argv[1:]),
        prog="neuronscope",
        description=ABOUT,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    try:
        command.run(Console())
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        line = escape(" ".join(str(error).split()))
        Console(stderr=True).print(f"[red]neuronscope:[/red] {line}", soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; run the same command again to resume")
        sys.exit(130)
