"""The stages: flat scripts that read from top to bottom, each with run(config, workdir)."""
