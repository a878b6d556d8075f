"""The frame of a report page: one file that loads nothing and runs no script."""

from html import escape
from importlib import resources

# The page may load nothing at all: what is in a sentence stays text.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_page(title: str, body: str, version: str) -> str:
    """The page, in the style of report.css; `version` is the minilmx that made the numbers."""
    style = (resources.files(__package__) / "report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n<footer>minilmx {escape(version)}. Rendered from the result alone; "
        "the numbers there are not rounded.</footer>\n</body>\n</html>\n"
    )
