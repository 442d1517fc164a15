"""The command ``dcc`` and the order in which its help lists the subcommands."""

from __future__ import annotations

import click

from dcc import __version__
from dcc.cli.benching import bench
from dcc.cli.compiling import compile_
from dcc.cli.compressing import compress, decompress
from dcc.cli.deploying import deploy
from dcc.cli.finetuning import finetune
from dcc.cli.inspecting import inspect, recipes, targets
from dcc.cli.options import common_options
from dcc.cli.reporting import report
from dcc.cli.running import run, verify
from dcc.cli.sensing import sensitivity
from dcc.cli.tuning import tune


class _InOrder(click.Group):
    """Lists commands in the order of use."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dcc")
@common_options
def main_group() -> None:
    """Compress an ONNX model and compile kernels that compute from its compressed weights."""


for _command in (
    compress,
    finetune,
    decompress,
    sensitivity,
    tune,
    compile_,
    deploy,
    run,
    verify,
    inspect,
    bench,
    report,
    recipes,
    targets,
):
    main_group.add_command(_command)
