"""A dataset of AceCode-87K's or AceCodePair-300K's schema: look at it, convert it, publish it.

    python -m acecoder_jax.main --config=configs/data.py:inspect --config.input=runs/sample/dataset.jsonl
    python -m acecoder_jax.main --config=configs/data.py:convert --config.input=IN.jsonl --config.output=OUT.parquet
    python -m acecoder_jax.main --config=configs/data.py:convert --config.input=IN.jsonl \\
        --config.output=datasets --config.format=tfds
    HF_TOKEN=... python -m acecoder_jax.main --config=configs/data.py:publish --config.input=IN.jsonl \\
        --config.push_to=OWNER/NAME --config.licence=mit --config.dry_run=False

The input is a .jsonl, .jsonl.gz or .parquet file, a folder of them, a TFDS folder, or, with no input, the published
dataset of that `kind` from the hub. CPU only; rows are streamed, so it need not fit in memory. docs/data.md.
"""

from ml_collections import ConfigDict

from acecoder_jax import presets

PRESETS = {"inspect": {"task": "inspect"}, "convert": {"task": "convert"}, "publish": {"task": "publish"}}


def get_config(argument: str = "") -> ConfigDict:
    preset, overrides = presets.parse(argument, PRESETS, default="inspect")
    config = ConfigDict(
        {
            "stage": "data",
            "seed": 0,
            "task": "inspect",  # or convert, publish: the preset says which
            "input": "",  # a file or a folder; "": the hub
            "hub_id": "",  # a dataset of the hub in place of the published one
            "split": "train",
            "kind": "",  # acecode_87k or acecode_pair_300k; "": told by the columns
            "skip_malformed": False,  # false: a malformed row is an error of convert and publish
            "show_rows": 3,  # inspect: rows to print
            "tokenizer": "",  # a directory or hub id: lengths in tokens too, not only in characters
            # ---- convert
            "output": "",  # OUT.jsonl, OUT.jsonl.gz, OUT.parquet; with format=tfds the data_dir of TFDS
            "format": "",  # jsonl, parquet or tfds; "": by the ending of the output
            # ---- publish: WORKDIR/dataset, and from there to the hub
            "title": "",  # of the card; "": the name of the input
            "licence": "",  # of the dataset as a whole, as the hub names it: mit, apache-2.0, ...
            "shard_bytes": 500_000_000,  # of JSON in a Parquet file
            "push_to": "",  # OWNER/NAME; "": the folder is all
            "private": True,  # a repository that the push makes can be seen by its owner only
            "dry_run": True,  # true: say what would be pushed, and push nothing
            "message": "A dataset made with acecoder_jax",  # of the commit
        }
    )
    presets.apply(config, PRESETS[preset])
    presets.apply(config, overrides)
    return config.lock()
