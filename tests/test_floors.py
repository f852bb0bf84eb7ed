"""The house of acecoder_jax: what may import what, read from the sources."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [  # a module imports from floors below its own, or from its own package
    {"types", "presets", "prompts", "tokenizer", "curate", "store", "metrics", "parallel", "chips", "stops"}
    | {"hosts", "distributed", "decontaminate", "ledger", "plugins", "scoring", "memory"},
    {"sandbox", "data", "models", "cluster"},
    {"sampling", "training", "imagined", "publishing"},
    {"reward_models"},
    {"algorithms", "rewards", "benchmarks", "writers"},
    {"planning", "serving", "report"},
    {"stages"},
    {"main"},
]
PLUG_INS = {"data", "cluster", "algorithms", "rewards", "benchmarks", "writers"}
READS_CONFIG_DICT = {"stages", "main", "presets"}


def sources() -> dict[str, str]:
    """{"acecoder_jax.data.mbpp": text, ...}; a package has the name of its folder."""
    files = sorted((ROOT / "acecoder_jax").rglob("*.py"))
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file.read_text()
        for file in files
    }


def imports(module: str, text: str, modules: Mapping[str, str], top_level: bool = False) -> Iterator[str]:
    """The modules that a source imports, `from package import module` included; `top_level`: not in functions."""
    tree = ast.parse(text)
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = ".".join([*_relative_to(module, node.level, modules), *([node.module] if node.module else [])])
            full = [f"{source}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else source for name in full)


def _relative_to(module: str, level: int, modules: Mapping[str, str]) -> list[str]:
    """What the dots of `from .. import x` stand for; [] where there are none."""
    is_package = any(name.startswith(f"{module}.") for name in modules)
    return module.split(".")[: 1 - level - (not is_package) or None] if level else []


def room(module: str) -> str:
    """acecoder_jax.data.toy.families -> data."""
    return module.split(".")[1] if "." in module else ""


def floor(module: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if room(module) in rooms]
    assert found, f"{module} is in no floor of the design"
    return found[0]


def complaints(modules: Mapping[str, str]) -> list[str]:
    """What breaks the rules, one line each."""
    found = []
    for module, text in modules.items():
        if module == "acecoder_jax":
            continue
        for name in imports(module, text, modules):
            if name.partition(".")[0] == "ml_collections" and room(module) not in READS_CONFIG_DICT:
                found.append(f"{module} sees a ConfigDict")
            if name.partition(".")[0] != "acecoder_jax":
                continue
            same_room = room(name) == room(module) or floor(name) == floor(module) == 0
            if not same_room and floor(name) >= floor(module):
                found.append(f"{module} imports {name}, which is not below it")
            if room(module) in PLUG_INS and room(name) == room(module):
                mine, other = (part.split(".")[2:3] for part in (module, name))
                if mine and other and mine != other and not other[0].startswith("_"):
                    found.append(f"{module} imports {name}, another plug-in")
    return found


def test_the_house():
    assert complaints(sources()) == []


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("acecoder_jax.models.decoder", "from acecoder_jax.training import loss", "not below it"),
        ("acecoder_jax.models.decoder", "def f():\n    import acecoder_jax.main", "not below it"),
        ("acecoder_jax.training.loss", "from acecoder_jax.sampling.engine import Engine", "not below it"),
        ("acecoder_jax.types", "from acecoder_jax.data import load", "not below it"),
        ("acecoder_jax.algorithms.grpo", "from acecoder_jax.algorithms.rloo import x", "another plug-in"),
        ("acecoder_jax.algorithms.grpo", "from acecoder_jax.algorithms import rloo", "another plug-in"),
        ("acecoder_jax.algorithms.grpo", "from . import rloo", "another plug-in"),
        ("acecoder_jax.models.decoder", "from ..training.loss import f", "not below it"),
        ("acecoder_jax.training.loss", "from ml_collections import ConfigDict", "sees a ConfigDict"),
        ("acecoder_jax.training.loss", "import ml_collections.config_dict as c", "sees a ConfigDict"),
    ],
)
def test_a_broken_rule_is_seen(module, line, complaint):
    modules = {"acecoder_jax.algorithms.rloo": "", "acecoder_jax.training.loss": "", module: line}
    (found,) = complaints(modules)
    assert complaint in found and found.startswith(module)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("acecoder_jax.stages.train_rl", "from ml_collections import ConfigDict\nfrom acecoder_jax import store"),
        (
            "acecoder_jax.training.update",
            "from acecoder_jax.training import loss\nfrom acecoder_jax.models import decoder",
        ),
        ("acecoder_jax.metrics", "from acecoder_jax import store"),
        ("acecoder_jax.data.mbpp", "from acecoder_jax.data._rows import rows\nfrom acecoder_jax.types import Problem"),
        ("acecoder_jax.data.toy.build", "from acecoder_jax.data.toy.families import FAMILIES"),
        ("acecoder_jax.data.toy.build", "from .families import FAMILIES"),
        ("acecoder_jax.training", "from .loss import f"),
        ("acecoder_jax.algorithms.grpo", "from acecoder_jax.algorithms import Algorithm"),
    ],
)
def test_what_the_rules_allow(module, line):
    modules = dict.fromkeys(["acecoder_jax.store", "acecoder_jax.training.loss", "acecoder_jax.models.decoder"], "")
    assert complaints(modules | {module: line}) == []


def test_every_import_is_required():
    """At the top of a file: from requirements.txt. In a function: from there or from an extra of pyproject.toml."""

    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines if re.match(r"\w", line)}

    core = names((ROOT / "requirements.txt").read_text().splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name for lines in project["optional-dependencies"].values() for name in names(lines)}
    distributions = packages_distributions()
    modules = sources()
    missing = []
    for module, text in modules.items():
        at_top = set(imports(module, text, modules, top_level=True))
        for name in imports(module, text, modules):
            package = name.partition(".")[0]
            if package in sys.stdlib_module_names or package == "acecoder_jax":
                continue
            owners = {owner.lower().replace("_", "-") for owner in distributions.get(package, [package])}
            if not owners & (core if name in at_top else core | extras):
                missing.append(f"{module} imports {name}, which nothing requires")
    assert missing == []
