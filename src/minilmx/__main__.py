"""`python -m minilmx` is `mlx`."""

from minilmx.cli import main

if __name__ == "__main__":
    main()
