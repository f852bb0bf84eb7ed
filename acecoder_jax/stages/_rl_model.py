"""What train_rl does with a reward model: asks it, keeps its scores, makes rewards of them, watches over both.

WORKDIR/scores/000003.json has the scores of rollout 3 as the model gave them, by the ids of the completions. It is
written before an update uses them, and read again only for the same texts and the same model.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from acecoder_jax import hosts, parallel, prompts, store
from acecoder_jax.reward_models import checkpoint, scorer, texts
from acecoder_jax.reward_models.normalise import Moments, Scale
from acecoder_jax.reward_models.scorer import RewardModel
from acecoder_jax.sampling import rollout as rollouts
from acecoder_jax.sampling.noise import stable_hash
from acecoder_jax.sampling.rollout import Scored
from acecoder_jax.stages._reward_model import finite
from acecoder_jax.stages._rl_alarm import Alarm, Point
from acecoder_jax.stages._rl_rows import model_and_rule, passing
from acecoder_jax.types import Completion, Problem

TEXTS = ("reply", "program")
OF_THE_RUN = ("model", "clip", "normalise", "text", "devices")  # of config.reward_model; the rest is RewardModel's


@dataclasses.dataclass(frozen=True)
class Seen:
    """What rewards and alarm remember of the rollouts before: it is saved with each checkpoint.

    of: the name of the judge that gave the scores, "" before the first.
    """

    moments: Moments = dataclasses.field(default_factory=Moments)
    history: tuple[Point, ...] = ()
    of: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `from_json` takes it back, bit for bit."""
        return {
            "moments": dataclasses.asdict(self.moments),
            "history": [list(dataclasses.astuple(p)) for p in self.history],
            "of": self.of,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(Moments(**row["moments"]), tuple(Point(*point) for point in row["history"]), row.get("of", ""))


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the reward model said of the completions of a rollout, in their order: None where it left a text out.

    truncated: of how many texts the question lost its beginning.
    """

    scores: list[float | None]
    truncated: int


@dataclasses.dataclass(frozen=True)
class Judge:
    """A reward model and how a run uses it. mesh: where it scores. rules: the knobs that decide what it says of a text.

    text: "reply", the whole of it (in the style "r1" the answer block), or "program": only the program in it, in a
    block of its own, as the model's pairs have it.
    """

    model: RewardModel
    mesh: Mesh
    folder: Path
    rules: Mapping[str, Any]
    scale: Scale
    alarm: Alarm
    style: str
    text: str

    @property
    def name(self) -> str:
        """All that its scores and their scale depend on, in words."""
        rules = ", ".join(f"{key} {value}" for key, value in self.rules.items())
        return f"{self.model.name} ({rules}, text {self.text}, clip {self.scale.clip})"

    def ask(self, rollout: int, problems: Sequence[Problem], completions: Sequence[Completion]) -> Asked:
        """The scores of a rollout, from the disk or made now. On several hosts every process calls this."""
        questions = {problem.id: problem.question for problem in problems}
        pairs = [(questions[one.problem_id], self.reads(one)) for one in completions]
        ids, path = [one.id for one in completions], self.folder / f"{rollout:06d}.json"
        of = stable_hash(json.dumps([self.model.name, dict(self.rules), self.scale.clip, ids, pairs])).hex()
        kept = hosts.from_first("kept scores", lambda: _kept(path, of))
        if kept is not None:
            return Asked([kept["scores"][name] for name in ids], kept["truncated"])
        asked = self._ask(pairs, ids)
        if hosts.is_first():
            scores = dict(zip(ids, asked.scores, strict=True))
            store.write_json(path, {"of": of, "truncated": asked.truncated, "scores": scores})
        return asked

    def reads(self, completion: Completion) -> str:
        """What the reward model reads of a completion as the assistant's turn."""
        if self.text == "program":
            program = rollouts.program_of(completion.text, self.style)
            return prompts.program_reply(program) if program.strip() else ""
        return prompts.extract_answer(completion.text) if self.style == "r1" else completion.text

    def _ask(self, pairs: Sequence[tuple[str, str]], ids: Sequence[str]) -> Asked:
        """A reply with nothing in it has the lowest score that counts, -clip: the model has nothing to read."""
        written = [i for i, (_, text) in enumerate(pairs) if text.strip()]
        before = self.model.counts["truncated"]
        with jax.set_mesh(self.mesh):
            found = self.model.score([pairs[i] for i in written])
        scores: list[float | None] = [-self.scale.clip] * len(pairs)
        for i, score in zip(written, found, strict=True):
            scores[i] = finite(score, ids[i])
        return Asked(scores, self.model.counts["truncated"] - before)

    def weigh(self, scored: Sequence[Scored], asked: Asked, seen: Seen) -> tuple[list[Scored], Seen, dict[str, float]]:
        """The completions with their scores on the run's scale, what is remembered from now on, and a row of metrics.

        seen: what is remembered of the rollouts before this one.
        """
        raw = [dataclasses.replace(one, score=score) for one, score in zip(scored, asked.scores, strict=True)]
        scaled, moments = self.scale(asked.scores, seen.moments)
        row = model_and_rule(raw) | {"model_truncated_share": asked.truncated / len(raw)}
        history = self.alarm.kept(seen.history, Point(row["model_score_mean"], row["model_score_std"], passing(raw)))
        row["hacking_alarm"] = float(bool(self.alarm.said(history)))
        weighed = [dataclasses.replace(one, score=score) for one, score in zip(raw, scaled, strict=True)]
        return weighed, Seen(moments, history, self.name), row


def remembered(about: Mapping[str, Any], judge: Judge | None) -> Seen:
    """What was known at a checkpoint; nothing of another judge. about: what was said at its save."""
    seen = Seen.from_json(about["seen"]) if "seen" in about else Seen()
    if judge is None or seen.of in ("", judge.name):
        return seen
    print(f"the reward model was {seen.of} and is {judge.name}: the scale of its scores and the alarm begin anew")
    return Seen()


def _kept(path: Path, of: str) -> dict[str, Any] | None:
    """What an earlier start wrote of the same texts and model; None where there is no such file, or it is damaged."""
    try:
        row = store.read_json(path)
        return row if row["of"] == of else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def check(config: ConfigDict) -> None:
    """ValueError for settings of a reward model that could not work; reads no weights."""
    if "reward_model" not in config:
        if config.reward == "model":
            raise ValueError("config.reward is 'model', but this config has no reward model: use configs/rl_rm.py")
        return
    wanted = config.reward_model
    if not wanted.model and "rm" not in config:
        raise ValueError(
            "config.reward_model.model is empty, and this preset makes no reward model of its own: name a directory or "
            "hub id, such as TIGER-Lab/AceCodeRM-7B"
        )
    if wanted.text not in TEXTS:
        raise ValueError(f"reward_model.text is {wanted.text!r}: it is one of {', '.join(TEXTS)}")
    scale_of(config)
    Alarm(**config.alarm)
    if wanted.devices and jax.process_count() > 1:
        raise ValueError("reward_model.devices is for one process: several score on the trainer's mesh, with 0")
    if not 0 <= wanted.devices <= jax.device_count():
        raise ValueError(f"reward_model.devices is {wanted.devices}: there are {jax.device_count()}")
    if wanted.model and not checkpoint.has_head(wanted.model):
        raise ValueError(
            f"reward_model.model: {wanted.model} is no reward model: it has no head. Train one from it with "
            "configs/rm.py, or name another"
        )
    knobs = knobs_of(config)
    if wanted.model:
        knobs["read"] = checkpoint.find_read(wanted.model, wanted.read)
    elif wanted.read == checkpoint.AUTO:
        knobs["read"] = texts.READS[0]
    scorer.fit(mesh_of(wanted.devices, parallel.make_mesh(**config.mesh)), **knobs, of="reward_model.")


def knobs_of(config: ConfigDict) -> dict[str, Any]:
    """Those that RewardModel takes."""
    return {name: value for name, value in config.reward_model.to_dict().items() if name not in OF_THE_RUN}


def scale_of(config: ConfigDict) -> Scale:
    """How scores become rewards."""
    return Scale(config.reward_model.clip, config.reward_model.normalise)


def open_judge(config: ConfigDict, workdir: Path, directory: str | Path, mesh: Mesh) -> Judge:
    """The reward model of a directory or hub id, its parameters split over its mesh. mesh: the trainer's.

    Of `reward_model.devices` devices, where that is not 0, it takes the first ones for a mesh of its own.
    """
    wanted = config.reward_model
    there = mesh_of(wanted.devices, mesh)
    with jax.set_mesh(there):
        model = RewardModel.load(directory, mesh=there, **knobs_of(config))
    if hosts.is_first():
        store.remove_half_written(workdir / "scores")
    print(f"reward model: {model.name}, over {there.size} of {jax.device_count()} devices")
    rules = model.rules | {"dtype": wanted.dtype}
    alarm = Alarm(**config.alarm)
    return Judge(model, there, workdir / "scores", rules, scale_of(config), alarm, config.style, wanted.text)


def mesh_of(devices: int, mesh: Mesh) -> Mesh:
    """Where a reward model scores: the trainer's mesh, or the first so many devices."""
    return parallel.make_mesh(fsdp=-1, devices=jax.devices()[:devices]) if devices else mesh
