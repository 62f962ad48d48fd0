"""Where a training run keeps its fingerprint, and how a registered path names runs of MLflow and W&B."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The file in each run, the same in every tracker.
FILE = "ckpt_compat/fingerprint.json"
#: The tag of a run of MLflow that has one, and the key in the summary of a run of W&B.
TAG, SUMMARY = "ckpt_compat.fingerprint", "ckpt_compat_fingerprint"
#: How many runs of an experiment are checked unless ``last`` says otherwise.
LAST = 10
#: Where options begin: a name may have a question mark, and a filter an ampersand.
_OPTIONS = re.compile(r"\?(?=[a-z]+=)")
_NEXT = re.compile(r"&(?=(?:last|where|tag)=)")
_RUN = re.compile(r"runs:/+(?P<run>[^/?]+)(?:/(?P<file>[^?]+))?")
_MODEL = re.compile(r"models:/+(?P<model>[^/]+?)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))?")
_EXPERIMENT = re.compile(r"mlflow:(?P<experiment>.+)", re.DOTALL)
_WANDB = re.compile(r"wandb:(?P<project>[^/?]+/[^/?]+)(?:/(?P<run>[^/?]+))?")
_KINDS = {"mlflow": ("last", "where"), "models": ("last",), "wandb": ("last", "tag"), "runs": ()}


@dataclass(frozen=True)
class Runs:
    """The runs that an address names.

    Attributes:
        kind: what the address begins with: ``runs``, ``models`` or ``mlflow``, of MLflow, or ``wandb``.
        name: of the experiment, the registered model, or the project with its entity; "" for ``runs``.
        run: id of the one run, or "".
        version: of a registered model, or "".
        alias: of a registered model, or "".
        file: of the fingerprint in the run.
        last: how many of several runs, the newest first.
        where: filter of MLflow, or a tag of W&B; "" for all runs that have logged a fingerprint.
    """

    kind: str
    name: str = ""
    run: str = ""
    version: str = ""
    alias: str = ""
    file: str = FILE
    last: int = LAST
    where: str = ""

    @property
    def several(self) -> bool:
        """Whether it names a list of runs, that of one as well."""
        return not (self.run or self.version or self.alias)


@dataclass(frozen=True)
class LoggedRun:
    """A run that has logged a fingerprint.

    Attributes:
        address: that of the run.
        name: names it among the others of its list.
    """

    address: str
    name: str


def is_training_run(text: str) -> bool:
    """Whether a path names runs of a tracker: ``runs:/``, ``models:/``, ``mlflow:`` or ``wandb:``."""
    return text.startswith(("runs:/", "models:/", "mlflow:", "wandb:"))


def parsed(text: str) -> Runs:
    """The runs that an address names. Names and values of options are taken as they are written.

    Raises:
        ValueError: it is not one; says what is wrong.
    """
    where, *options_text = _OPTIONS.split(text, maxsplit=1)
    query = "".join(options_text)
    kind = where.partition(":")[0]
    pattern = {"runs": _RUN, "models": _MODEL, "mlflow": _EXPERIMENT, "wandb": _WANDB}[kind]
    found = pattern.fullmatch(where)
    if found is None:
        forms = "runs:/RUN_ID, models:/NAME@ALIAS, models:/NAME/VERSION, models:/NAME, mlflow:EXPERIMENT, "
        raise ValueError(f"it is none of {forms}wandb:ENTITY/PROJECT and wandb:ENTITY/PROJECT/RUN_ID")
    parts = {name: value or "" for name, value in found.groupdict().items()}
    options = {name: value for name, _, value in (each.partition("=") for each in _NEXT.split(query)) if name}
    unknown = next((name for name in options if name not in _KINDS[kind]), None)
    if unknown is not None:
        raise ValueError(f"it has the option {unknown!r}, and {kind}: takes {_listed(_KINDS[kind])}")
    last = options.get("last", str(LAST))
    if not re.fullmatch(r"[1-9][0-9]{0,5}", last):
        raise ValueError(f"its option last is {last!r}, not a number of runs")
    runs = Runs(
        kind=kind,
        name=parts.get("experiment") or parts.get("model") or parts.get("project") or "",
        run=parts.get("run", ""),
        version=parts.get("version", ""),
        alias=parts.get("alias", ""),
        file=parts.get("file") or FILE,
        last=int(last),
        where=options.get("where") or options.get("tag") or "",
    )
    if query and not runs.several:
        raise ValueError("it names one run and has options, which are for several")
    if not runs.file.endswith(".json"):
        raise ValueError(f"it names {runs.file}, and a fingerprint is a .json file: weights are not read")
    return runs


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names) or "none"
