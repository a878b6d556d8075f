"""Scripts for the schedulers of the sites that have GroqCards: one job builds, and another runs.

Nothing here starts anything. Every value from outside is quoted for the shell, and none is in a directive
or a comment.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from minilmx.arguments import require_choice

PBS, SLURM = "pbs", "slurm"
SCHEDULERS = (PBS, SLURM)

_TIME = "# How long it may take is minilmx's guess: a build takes about ten minutes."
_PBS = f"""\
#PBS -l select=1,place=excl
#PBS -l walltime=01:10:00
# A whole node: PBS at the ALCF AI Testbed reserves no less, and its login nodes have no cards.
# Source: argonne-lcf/user-guides, docs/ai-testbed/groq.
{_TIME}
set -eu
cd "$PBS_O_WORKDIR"
"""
_SLURM = f"""\
#SBATCH {{resource}}
#SBATCH --time=01:10:00
# {{why}}
{_TIME}
set -eu
cd "$SLURM_SUBMIT_DIR"
"""
_SLURM_BUILD = ("--mem=32G", "A build needs 32 GB of memory and no card. Source: groqflow's README.")
_SLURM_RUN = ("--gres=groq:card:1", "One card, as on ORNL's ExCL. Source: the pages of ORNL ExCL.")
_PACKAGES = """\
# Packages in ~/.local would hide those of the environment.
# Source: argonne-lcf/user-guides, docs/ai-testbed/groq.
export PYTHONNOUSERSITE=1
# The Python that wrote this script, with minilmx.
"""


def build_job(scheduler: str, artifact: Path, bundle: Path, graph: str) -> str:
    """A script that builds an artifact and writes its bundle, for PBS or Slurm."""
    words = ["groq", "build", "--graph", graph, "--bundle", bundle, "--", artifact]
    return _script(scheduler, _SLURM_BUILD, words)


def run_job(
    scheduler: str, artifact: Path, bundle: Path, texts: str, embeddings: Path, column: str | None, graph: str
) -> str:
    """A script that embeds a file of texts with a bundle on the card's node, for PBS or Slurm."""
    words = ["run", "--runner", "groq", "--graph", graph, "--bundle", bundle, "--output", embeddings]
    words += [] if column is None else [f"--column={column}"]
    return _script(scheduler, _SLURM_RUN, [*words, "--", artifact, texts])


def _script(scheduler: str, slurm: tuple[str, str], words: Sequence[object]) -> str:
    require_choice("scheduler", scheduler, SCHEDULERS)
    resource, why = slurm
    head = _PBS if scheduler == PBS else _SLURM.format(resource=resource, why=why)
    command = shlex.join([sys.executable, "-m", "minilmx", *map(str, words)])
    return f"#!/bin/bash\n{head}{_PACKAGES}{command}\n"
