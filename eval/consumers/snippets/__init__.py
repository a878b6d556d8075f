"""The few lines that use an artifact, in each library and server: templates, and what fills them."""
