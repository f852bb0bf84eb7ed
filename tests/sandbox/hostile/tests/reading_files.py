"""The host's files read."""

assert open('/etc/passwd').read()
