"""`mlx`, and `python -m minilmx`."""

from typing import NoReturn

from minilmx.runners.groq.pythonpath import drop_runtime


def main() -> NoReturn:
    """Run `mlx` and exit with its documented code."""
    drop_runtime()  # first: what lies beside Groq's runtime hides the packages that the command line imports
    from minilmx.cli import main as run

    run()


if __name__ == "__main__":
    main()
