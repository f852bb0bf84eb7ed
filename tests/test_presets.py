import re

import pytest
from ml_collections import ConfigDict, config_dict

from acecoder_jax import presets

PRESETS = {"tiny": {"learning_rate": 1e-3}, "7b": {}}


def config():
    values = {"steps": 1, "learning_rate": 5e-7, "stop": ("a", "b"), "packed": True, "name": "x", "unset": None}
    branches = {"mesh": {"fsdp": -1, "tensor": 1}, "sandbox": {"workers": 2}}
    return ConfigDict({**values, **branches, "limit": config_dict.placeholder(int)}).lock()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("", ("7b", {})),
        ("tiny", ("tiny", {})),
        ("tiny,steps=3,mesh.fsdp=2", ("tiny", {"steps": "3", "mesh.fsdp": "2"})),
        ("steps=3", ("7b", {"steps": "3"})),
        ("tiny,stop=('a', 'b'),name=x,y,steps=3", ("tiny", {"stop": "('a', 'b')", "name": "x,y", "steps": "3"})),
        ("tiny,name=a=b", ("tiny", {"name": "a=b"})),
    ],
)
def test_parse(argument, expected):
    assert presets.parse(argument, PRESETS, default="7b") == expected


@pytest.mark.parametrize("argument", ["tinny", "tinny,steps=1", "tiny,steps"])
def test_an_unknown_preset_lists_those_known(argument):
    with pytest.raises(presets.ConfigError, match=r"unknown preset .*; the presets are: tiny, 7b"):
        presets.parse(argument, PRESETS, default="7b")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("steps", "30", 30),
        ("learning_rate", "1", 1.0),
        ("stop", "('c',)", ("c",)),
        ("stop", "['c', 'd']", ("c", "d")),
        ("stop", "'c'", ("c",)),
        ("packed", "False", False),
        ("name", "1", "1"),
        ("unset", "some text", "some text"),
        ("unset", "3", 3),
        ("limit", "7", 7),
        ("mesh.fsdp", "4", 4),
    ],
)
def test_texts_become_the_type_of_what_they_replace(key, text, value):
    c = config()
    presets.apply(c, {key: text})
    found = c[key]
    assert found == value and type(found) is type(value)


def test_a_dotted_key_changes_one_value_and_a_dict_replaces_the_branch():
    c = config()
    presets.apply(c, {"learning_rate": 1, "stop": ("z",), "mesh.fsdp": 4, "sandbox": {"seats": 3}})
    assert (c.learning_rate, c.stop, c.mesh.to_dict()) == (1.0, ("z",), {"fsdp": 4, "tensor": 1})
    assert c.sandbox.to_dict() == {"seats": 3}
    presets.apply(c, {"sandbox": "{'workers': 5}"})
    assert c.sandbox.workers == 5 and "seats" not in c.sandbox


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lerning_rate", "1", "unknown config key 'lerning_rate'; did you mean 'learning_rate'?"),
        ("mesh.fdsp", "1", "unknown config key 'mesh.fdsp'; did you mean 'mesh.fsdp'?"),
        ("wrokers", "1", "unknown config key 'wrokers'; did you mean 'sandbox.workers'?"),
        ("mesh.qqqqqq", "1", "unknown config key 'mesh.qqqqqq'; the keys are: mesh.fsdp, mesh.tensor"),
        ("steps", "1.5", "config key 'steps' takes a whole number, not '1.5'"),
        ("steps", 1.5, "config key 'steps' takes a whole number, not 1.5"),
        ("learning_rate", "fast", "config key 'learning_rate' takes a number, not 'fast'"),
        ("packed", "perhaps", "config key 'packed' takes true or false, not 'perhaps'"),
        ("stop", "(", "config key 'stop' takes a tuple, not '('"),
        ("mesh", "3", "config key 'mesh' takes a dict, not '3'"),
    ],
)
def test_errors_name_the_key_and_the_nearest(key, value, message):
    c = config()
    with pytest.raises(presets.ConfigError, match=re.escape(message)):
        presets.apply(c, {key: value})
    assert c == config()
