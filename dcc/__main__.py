"""Entry point of the command ``dcc``: runs it and turns every error into one line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from dcc.cli.main_group import main_group
from dcc.cli.options import Settings
from dcc.errors import DccError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0: done. 1: ``verify`` found that the module does not hold. 2: an error. 130: interrupted.
    """
    settings = Settings()
    try:
        done = main_group.main(
            args=None if arguments is None else list(arguments),
            prog_name="dcc",
            standalone_mode=False,
            obj=settings,
        )
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx is not None else error.format_message())
        return EXIT_ERROR
    except click.ClickException as error:
        command = (
            error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        )
        hint = f" (see '{command} --help')" if command else ""
        print(f"dcc: error: {_one_line(error.format_message())}{hint}", file=sys.stderr)
        return EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        print("dcc: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`dcc inspect ... | head`); keep Python from saying so
        # at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except Exception as error:
        return _report(error, settings)
    return done if isinstance(done, int) else 0


def _report(error: Exception, settings: Settings) -> int:
    if settings.debug:
        traceback.print_exc()
    if isinstance(error, DccError):
        print(f"dcc: error: {_one_line(str(error))}", file=sys.stderr)
    else:
        text = _one_line(str(error))
        kind = type(error).__name__
        hint = "" if settings.debug else "; --debug shows where"
        print(f"dcc: unexpected {kind}: {text}{hint}", file=sys.stderr)
    return EXIT_ERROR


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "no message"


if __name__ == "__main__":
    sys.exit(main())
