"""Plans of runs on devices that are not there: compiled for a topology; bytes, operations, collectives, time."""
