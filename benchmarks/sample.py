"""`mlx compare --sample` on a file of 10,000,000 texts: time and memory.

    python benchmarks/sample.py SIDE SIDE [--rows N]

The sides are as in `mlx compare`. The texts are the package's own sentences, numbered, in Parquet.
docs/how-to/compare-anything.md has the figures.
"""

import argparse
import tempfile
from itertools import cycle, islice
from pathlib import Path

import pyarrow
from command import mlx
from pyarrow import parquet

from minilmx.eval.datasets.pairs import BUNDLED, load_pairs

SAMPLE, GROUP = 10_000, 100_000


def main() -> None:
    """Write the file, and compare the sides on a sample of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sides", nargs=2)
    parser.add_argument("--rows", type=int, default=10_000_000)
    given = parser.parse_args()
    numbered = enumerate(islice(cycle(load_pairs(BUNDLED).texts), given.rows))
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "texts.parquet"
        with parquet.ParquetWriter(path, pyarrow.schema({"text": pyarrow.string()})) as writer:
            while texts := [f"{number}: {text}" for number, text in islice(numbered, GROUP)]:
                writer.write_table(pyarrow.table({"text": texts}))
        mlx("compare", *given.sides, "--texts", str(path), "--sample", str(SAMPLE), may_differ=True)


if __name__ == "__main__":
    main()
