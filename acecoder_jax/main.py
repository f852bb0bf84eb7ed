"""The one command: reads a config, prints it and the devices, and runs the stage that it names.

    python -m acecoder_jax.main --config=configs/rl_rule.py:tiny --seed=1 --config.optimizer.learning_rate=1e-4

--config=FILE[:preset[,key=value...]] names a Python file with get_config(argument) -> ConfigDict; the config is locked.
--config.key=value changes one value. A second start with the same --workdir goes on where the first one stopped.
On several hosts the same command is started on each of them (docs/hosts.md).
"""

import errno
import hashlib
import importlib
import itertools
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from acecoder_jax import memory, plugins, presets, store
from acecoder_jax.stops import Stopped

PACKAGE = Path(__file__).parent
NO_CONFIG = "no config named: --config=FILE[:preset[,key=value...]], as in configs/rl_rule.py:tiny"
GOES_ON = "the same command with the same workdir goes on from what is saved there"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_CONFIG = config_flags.DEFINE_config_file("config", help_string="FILE[:preset[,key=value...]], as in configs/")
_WORKDIR = flags.DEFINE_string("workdir", None, "where the run lives; runs/<config>-<preset>-seed<seed> by default")
_SEED = flags.DEFINE_integer("seed", None, "replaces config.seed")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "of a run of several processes: HOST:PORT of the first")
_PROCESSES = flags.DEFINE_integer("processes", None, "how many processes the run has", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", None, "which of them this is, from 0", lower_bound=0)
_ALLOW_CHANGE = flags.DEFINE_bool("allow_config_change", False, "resume although the config is not the one saved")


def main(_: Sequence[str]) -> None:
    """Runs the stage. Errors that a user can mend end in one clear message; any other keeps its traceback."""
    try:
        _start()
    except KeyboardInterrupt:
        _leave(f"interrupted; {GOES_ON}", code=130)
    except Stopped as stopped:
        _leave(f"{stopped}: {GOES_ON}", code=stopped.exit_code)
    except (presets.ConfigError, FileNotFoundError) as error:
        _leave(f"error: {error}")
    except (ValueError, OSError, RuntimeError) as error:
        if getattr(error, "errno", None) in NO_ROOM:
            _leave(f"error: nothing more can be written: {error}. Make room; then {GOES_ON}")
        # One that a `raise` of ours made speaks to the user; any other is a bug and needs its traceback.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        if PACKAGE not in Path(frame.filename).parents or not (frame.line or "").startswith("raise "):
            raise
        _leave(f"error: {error}\n  (raised in {Path(frame.filename).relative_to(PACKAGE.parent)}, line {frame.lineno})")


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses absl's flags; what is wrong with them or with the config ends in one clear line and exit status 2."""
    try:
        return _parse(argv)
    except (presets.ConfigError, flags.Error) as error:
        _leave(f"error: {error}", code=2)


def _parse(argv: Sequence[str]) -> list[str]:
    argument = _config_argument(argv)
    path = argument.partition(":")[0]
    if path and not Path(path).is_file():
        near = sorted(str(file) for file in Path(path).parent.glob("*.py"))
        raise presets.ConfigError(f"no config file {path!r}" + (f"; there are: {', '.join(near)}" if near else ""))
    try:
        rest = flags.FLAGS(argv)
    except (KeyError, AttributeError):
        # A key that the config lacks, as the flags library says it: say it better.
        alone = flags.FlagValues()
        config_flags.DEFINE_config_file("config", flag_values=alone, sys_argv=[])
        alone([argv[0], f"--config={argument}"])
        for arg in argv[1:]:
            if match := re.match(r"--?(?:no)?config\.([^=]+)", arg):
                presets.check_key(alone.config, match[1])
        raise
    except flags.UnrecognizedFlagError:
        if argument:
            raise
        raise presets.ConfigError(NO_CONFIG) from None  # --config.key=value without --config
    if _CONFIG.value is None:
        raise presets.ConfigError(NO_CONFIG)
    if len(rest) > 1:
        raise presets.ConfigError(f"unexpected argument {rest[1]!r}: flags are written --name=value")
    return rest


def _config_argument(argv: Sequence[str]) -> str:
    """The value of --config, written --config=VALUE or --config VALUE; "" where there is none."""
    for arg, following in itertools.pairwise([*argv[1:], ""]):
        if match := re.fullmatch(r"--?config(=(?P<value>.*))?", arg):
            return following if match["value"] is None else match["value"]
    return ""


def _start() -> None:
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # app.run lets libraries tell every step of a checkpoint
    config = _CONFIG.value
    if _SEED.value is not None:
        presets.apply(config, {"seed": _SEED.value})
    for key in ("stage", "seed"):
        presets.check_key(config, key)
    if config.seed < 0:
        raise presets.ConfigError(f"the seed must be at least 0, got {config.seed}")
    stage = find_stage(config.stage)
    workdir = Path(
        _WORKDIR.value or default_workdir(config_flags.get_config_filename(flags.FLAGS["config"]), config.seed)
    )

    import jax  # here, so that a wrong flag is told at once

    from acecoder_jax import distributed

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(store.user_cache() / "xla"))
    distributed.start({"coordinator": _COORDINATOR.value, "processes": _PROCESSES.value, "process": _PROCESS.value})
    if jax.process_count() == 1:
        _run(config, stage, workdir)
        return
    sys.excepthook = distributed.fail_with
    if not getattr(stage, "SEVERAL_PROCESSES", False):
        raise presets.ConfigError(f"the stage {config.stage!r} runs in one process; this run has {jax.process_count()}")
    _check_alike(config, workdir)
    _run(config, stage, workdir)


def _run(config: ConfigDict, stage: ModuleType, workdir: Path) -> None:
    """Writes down the start and runs the stage; of several processes only the first one writes."""
    import jax

    from acecoder_jax import hosts

    devices = jax.devices()
    print(f"config:\n{_indent(config)}")
    several = f", in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    print(f"devices: {len(devices)} x {devices[0].device_kind} ({jax.default_backend()}){several}")
    print(f"workdir: {workdir}", flush=True)
    if not hosts.is_first():
        hosts.barrier("started")
        stage.run(config, workdir)
        hosts.barrier("ended")
        return
    with store.lock(workdir):
        allow = _ALLOW_CHANGE.value or not store.begun(
            workdir
        )  # a first start may have ended in an error of its config
        changed = store.save_config(workdir, config.to_dict(), getattr(stage, "MAY_CHANGE", ()), allow)
        for key, (old, new) in changed.items():
            print(f"changed since the last start: {key}: {old!r} -> {new!r}")
        versions = {
            name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers")
        }
        start = {"time": time.time(), "command": sys.argv, "python": sys.version.split()[0], "versions": versions}
        store.repair_jsonl(workdir / "starts.jsonl")
        store.append_jsonl(workdir / "starts.jsonl", [start | {"devices": [str(device) for device in devices]}])
        hosts.barrier("started")
        stage.run(config, workdir)
        hosts.barrier("ended")


def _check_alike(config: ConfigDict, workdir: Path) -> None:
    """ConfigError where the processes were started with other configs, or do not share one workdir."""
    from acecoder_jax import hosts

    if re.match(r"\w+:/", str(workdir)):
        raise presets.ConfigError(f"the workdir is {workdir}: it has to be a folder; mount the bucket (docs/hosts.md)")
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()
    digests = hosts.exchange("config", digest)
    if odd := [str(process) for process, one in enumerate(digests) if one != digests[0]]:
        raise presets.ConfigError(f"process {', '.join(odd)} was started with another config than process 0")
    token = hosts.from_first("token", lambda: store.write_token(workdir))
    seen = hosts.exchange("token seen", store.sees_token(workdir, token))
    if blind := [str(process) for process, sees in enumerate(seen) if not sees]:
        raise presets.ConfigError(
            f"process {', '.join(blind)} does not see what process 0 writes to the workdir {workdir}: it has to be a "
            "folder that all hosts share (NFS, Filestore, a bucket mounted with GCS FUSE)"
        )


def find_stage(name: str) -> ModuleType:
    """The module acecoder_jax/stages/NAME.py. Raises ConfigError, listing those that exist, for any other name."""
    stages = importlib.import_module("acecoder_jax.stages")
    if name not in (known := plugins.names(stages.__path__)):
        raise presets.ConfigError(f"unknown stage {name!r}; the stages are: {', '.join(known)}")
    return importlib.import_module(f"acecoder_jax.stages.{name}")


def default_workdir(config_argument: str, seed: int) -> str:
    """("configs/rl_rule.py:tiny,learning_rate=1", 0) -> "runs/rl_rule-tiny-seed0"."""
    path, _, argument = config_argument.partition(":")
    first = argument.partition(",")[0]
    preset = f"-{first}" if first and "=" not in first else ""
    return f"runs/{Path(path).stem}{preset}-seed{seed}"


def _indent(config: ConfigDict) -> str:
    return "".join(f"  {line}\n" for line in str(config).splitlines()).rstrip("\n")


def _leave(message: str, code: int = 1) -> NoReturn:
    """Says why and exits; in a run of several processes the others end too."""
    print(message, file=sys.stderr)
    if sys.excepthook is not sys.__excepthook__:
        from acecoder_jax import distributed

        distributed.fail(message.removeprefix("error: "), code)
    sys.exit(code)


if __name__ == "__main__":
    memory.use_huge_pages()
    app.run(main, flags_parser=parse_flags)
