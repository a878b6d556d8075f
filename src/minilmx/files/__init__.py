"""Reading and writing files, whatever they are for."""
