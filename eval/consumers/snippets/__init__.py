"""The snippets, a few lines each that use an artifact in a library or server, and their templates."""
