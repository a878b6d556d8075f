"""`mlx`, and `python -m minilmx`."""

import sys
from typing import NoReturn

from minilmx.runners.groq.pythonpath import drop_runtime, explain_missing


def main() -> NoReturn:
    """Run `mlx` and exit with its documented code."""
    drop_runtime()  # first: what lies beside Groq's runtime hides the packages that the command line imports
    try:
        from minilmx.cli import main as run
    except ModuleNotFoundError as error:
        if (why := explain_missing(error)) is None:
            raise
        print(f"Error: {why}", file=sys.stderr)
        sys.exit(3)
    run()


if __name__ == "__main__":
    main()
