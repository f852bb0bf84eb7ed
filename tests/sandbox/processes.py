"""What tests ask of the machine's processes."""

import pathlib


def children(pid):
    """Those that a process has started, by whatever thread."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in task.read_text().split()]
        except OSError:
            continue  # it has ended
    return found


def below(pid):
    """Children, their children, and so on."""
    return [one for child in children(pid) for one in (child, *below(child))]


def alive(pid):
    """Whether it runs: a zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
