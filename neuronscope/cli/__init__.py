"""The command line: parses, calls one function, prints. Computes nothing.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

import os
import sys

import tyro
from rich.console import Console
from rich.markup import escape

from neuronscope.cli.attacking import Attack, attack_for
from neuronscope.cli.diagnosing import Convert, Diagnose, Record
from neuronscope.cli.listing import List
from neuronscope.cli.scoring import Score
from neuronscope.cli.studying import Demo, Study
from neuronscope.cli.training import Finetune, Unlearn, unlearn_for

ABOUT = """Was the knowledge erased, or only hidden? Make language models forget, and look inside.

Start with: neuronscope demo"""


def main() -> None:
    """Run one command; what a user did wrong is said in one line, without a traceback."""
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read what is printed has stopped reading; nothing must be flushed there at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _run() -> None:
    commands = (Diagnose, Study, Unlearn, Attack, Score, Finetune, Record, Convert, List, Demo)
    kinds = {kind.__name__.lower(): kind for kind in commands}
    made = {"unlearn": unlearn_for(sys.argv), "attack": attack_for(sys.argv)}
    command = tyro.extras.subcommand_cli_from_dict(
        kinds | made,
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
        Console(stderr=True).print("stopped; the same command goes on from here")
        sys.exit(130)
