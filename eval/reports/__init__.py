"""Results as text, HTML, Markdown, JUnit XML and mteb's JSON."""
