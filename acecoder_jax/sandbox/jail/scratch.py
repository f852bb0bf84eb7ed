"""The scratch directory of the library profile: emptied after each program, by the zygote, which owns what is in it."""

import contextlib
import os
import stat

WORK = "work"  # where programs begin


def enter(path: str) -> None:
    """Begin a program in an empty directory of its own."""
    work = f"{path}/{WORK}"
    os.mkdir(work)
    os.chdir(work)


def wipe(path: str) -> None:
    """Remove everything in a directory, whatever a program that has ended left there. Raises OSError.

    No link is followed. Directories within directories are moved up before they are removed, so that it does not matter
    how deep they lie: neither their paths nor their descriptors come to more than a few.
    """
    with contextlib.suppress(PermissionError):  # it is root's own where the user was dropped
        os.chmod(path, 0o1777)
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        moved, token = 0, os.urandom(8).hex()  # names that no program can have taken
        while names := os.listdir(top):
            for name in names:
                inner = _open(name, top)
                if inner is None:
                    os.unlink(name, dir_fd=top)
                    continue
                try:
                    for one in os.listdir(inner):
                        if _is_directory(one, inner):
                            moved += 1
                            os.rename(one, f"{token}{moved}", src_dir_fd=inner, dst_dir_fd=top)
                        else:
                            os.unlink(one, dir_fd=inner)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _open(name: str, folder: int) -> int | None:
    """A directory in a folder, opened; None for anything else."""
    if not _is_directory(name, folder):
        return None
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)


def _is_directory(name: str, folder: int) -> bool:
    """Whether it is one. One that is gets the rights that it takes to empty and to move it."""
    found = stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    if found:
        os.chmod(name, 0o700, dir_fd=folder)
    return found
