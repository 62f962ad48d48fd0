"""The rules about whether the check itself could be made: CK901, CK905, CK906, CK908."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: In report order.
RULES: tuple[Rule, ...] = (
    Rule(
        id="CK905",
        kind="unreadable",
        about="check",
        severity=Severity.INCOMPLETE,
        sign="?",
        meaning="a checkpoint or snapshot is corrupt, hostile or of an unknown format",
        what=cleandoc(
            """
            The checkpoint, its snapshot or a file in `ckpt_snapshots/accepted/` could not be read, so the
            check was not made, or not made in full. The message names the file, what is wrong with it, and
            what to do next.
            """
        ),
        why=cleandoc(
            """
            Nothing is known about compatibility until the file can be read, so the check ends with exit
            code 2 rather than 0. Typical causes are an interrupted download, a Git LFS pointer in place of
            the file where no snapshot is there, a format that is not supported, a snapshot that was edited
            by hand, and an address that cannot be reached.
            """
        ),
        example="CK905 v1: v1.pt: it is a Git LFS pointer, not the file itself; run: git lfs pull",
        mend=cleandoc(
            """
            Restore the file, fetch it again, or save it in a [format that is read](formats.md). A snapshot
            or an accepted break that was edited by hand is restored from git.
            """
        ),
        accept="It cannot be accepted, since it is not known what that would accept.",
    ),
    Rule(
        id="CK906",
        kind="unbuildable",
        about="check",
        severity=Severity.INCOMPLETE,
        sign="?",
        meaning="the definition raised while it was built",
        what=cleandoc(
            """
            The model, or the optimizer at level `resume`, could not be imported or built, so the check
            was not made. The message names the definition, the exception, and the line that raised it.
            When a branch is compared with a git reference, the same rule reports that the earlier code
            could not be run, and that it is therefore unknown which breaks are new. A mistake in a
            checkpoint's registration, such as an unknown option or an id that is given twice, is reported
            under this rule too.
            """
        ),
        why=cleandoc(
            """
            Without the definition there is nothing to load the checkpoint into, and nothing is known about
            it: the check ends with exit code 2. A misspelt `"package.module:attr"`, a required constructor
            argument that `kwargs` does not give, or a dependency that is not installed are the usual causes.
            """
        ),
        example=cleandoc(
            """
            CK906 v1: models:Clasifier: models has no attribute Clasifier; check the spelling
            """
        ),
        mend=cleandoc(
            """
            Correct what the message names. If the constructor needs values from the checkpoint, register a
            factory with a parameter named `checkpoint`: it is given the file's non-tensor values, such as
            its hyper-parameters. The message names the arguments that are lacking, and their values if the
            file holds them. A constructor that needs a GPU is better without it: move the model where it is
            used. One that downloads weights is not needed for a checkpoint that brings them; where it has an
            argument for this (`pretrained`), the message names it. What it downloads in a check, it downloads
            once.
            """
        ),
        accept="It cannot be accepted, since it is not known what that would accept.",
    ),
    Rule(
        id="CK908",
        kind="internal",
        about="check",
        severity=Severity.INCOMPLETE,
        sign="?",
        meaning="something of this plugin's own raised while the checkpoint was checked",
        what=cleandoc(
            """
            The plugin has a bug, and this checkpoint met it. The message names the exception and the
            line of the plugin that raised it.
            """
        ),
        why=cleandoc(
            """
            Nothing is known about this checkpoint, so the check ends with exit code 2 rather than 0.
            The others keep their verdicts, and all reports are written. If only the explanation
            failed, the checkpoint keeps torch's verdict instead, and a note names the exception.
            """
        ),
        example="CK908 v1: IndexError: list index out of range (_check/check.py:88); please report it",
        mend=cleandoc(
            """
            Please report the exception and the line, with the two lists of keys if they are not secret
            (`ckpt-compat show FILE` prints one).
            """
        ),
        accept="It cannot be accepted, since it is not known what that would accept.",
    ),
    Rule(
        id="CK901",
        kind="no-baseline",
        about="snapshot",
        severity=Severity.INCOMPLETE,
        sign="?",
        advice="record one with ckpt-compat update",
        meaning="no snapshot has been recorded, or neither checkpoint nor snapshot is there",
        what=cleandoc(
            """
            There is nothing to compare with. Either no snapshot of the checkpoint or of its definition
            has been recorded yet, or neither the checkpoint nor its snapshot is on this machine. Under
            `--against`, a snapshot that exists at the merge base and belongs to nothing that is
            registered now is reported as well. At level `resume`, the rule also reports a checkpoint or
            snapshot without any optimizer state.
            """
        ),
        why=cleandoc(
            """
            A break is found by comparison. Without a snapshot, a checkpoint is guarded only where its file
            is, and what the code saves today is not guarded at all. A checkpoint that is no longer
            registered is no longer guarded either, so that taking it out must be somebody's decision.
            """
        ),
        example=cleandoc(
            """
            CK901 v1: loads, no snapshot of v1.pt has been recorded; run ckpt-compat update
            """
        ),
        mend=cleandoc(
            """
            Run `ckpt-compat update`, or `pytest --ckpt-update`, and commit the snapshot folder. Where
            the checkpoint is absent too, fetch it first.
            """
        ),
        accept=cleandoc(
            """
            If a registration was removed on purpose, this removes what is left of it and keeps the reason.
            Nothing else under this rule can be accepted.

            ```sh
            ckpt-compat retire ID --reason "..."
            ```
            """
        ),
    ),
)
