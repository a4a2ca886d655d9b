"""Settings, exit codes, errors, progress and downloads: what every command shares. Imports no Spark and no torch."""
