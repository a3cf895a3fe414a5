"""The output formats that the command line and the configuration take; neither loads the other."""

FORMATS = ("full", "concise", "json", "github", "sarif")
