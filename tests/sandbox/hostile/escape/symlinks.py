"""Symlinks, hard links, renames."""

import os


def solve(x):
    for call, arguments in (
        (os.symlink, ('/etc/passwd', '/tmp/acecoder_hostile')),
        (os.link, (os.__file__, '/tmp/acecoder_hostile')),
        (os.rename, ('/tmp', '/tmp_acecoder_hostile')),
        (os.unlink, (os.__file__,)),
        (os.chmod, ('/tmp', 0)),
    ):
        try:
            call(*arguments)
            return 9731
        except OSError:
            pass
    return 0
