"""The rules about the check itself, its snapshots and its acceptances: CK9xx."""

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
        documentation=cleandoc(
            """
            The checkpoint, its snapshot or `accepted.toml` could not be read, so the check was not
            made, or not made in full. The message names the file, what is wrong with it, and what to
            do next. Typical causes are an interrupted download, a Git LFS pointer in place of the file
            where no snapshot is there, a format that is not supported, a snapshot that was edited by
            hand, and an address that cannot be reached.

            ```
            CK905 v1: checkpoints/v1.pt: it is a Git LFS pointer, not the file itself; run: git lfs pull
            ```

            Nothing is known about compatibility until the file can be read. For this reason the check
            ends with exit code 2 rather than 0, and the result cannot be accepted: restore the file,
            fetch it again, or save it in a format that is read.
            """
        ),
    ),
    Rule(
        id="CK906",
        kind="unbuildable",
        about="check",
        severity=Severity.INCOMPLETE,
        sign="?",
        meaning="the definition raised while it was built",
        documentation=cleandoc(
            """
            The model, or the optimizer at level `resume`, could not be imported or built, so the check
            was not made. The message names the definition, the exception, and the line that raised it.
            When a branch is compared with a git reference, the same rule reports that the earlier code
            could not be run, and that it is therefore unknown which breaks are new.

            ```
            CK906 classifier-v1: models:Clasifier: models has no attribute Clasifier; check the spelling
            ```

            A mistake in a checkpoint's registration, such as an unknown option or an id that is given
            twice, is reported under this rule too.

            A misspelt `"package.module:attr"`, a required constructor argument that `kwargs` does not
            give, or a dependency that is not installed are the usual causes. If the constructor needs
            values from the checkpoint, register a factory with a parameter named `checkpoint`: it is
            given the file's non-tensor values, such as its hyper-parameters. The message names the
            arguments that are lacking, and their values if the file holds them. A constructor that needs a
            GPU is better without it: move the model where it is used. One that downloads weights is not
            needed for a checkpoint that brings them; where it has an argument for this (`pretrained`), the
            message names it. What it downloads in a check, it downloads once.
            """
        ),
    ),
    Rule(
        id="CK908",
        kind="internal",
        about="check",
        severity=Severity.INCOMPLETE,
        sign="?",
        meaning="something of this plugin's own raised while the checkpoint was checked",
        documentation=cleandoc(
            """
            The plugin has a bug, and this checkpoint met it. The message names the exception and the
            line of the plugin that raised it; please report both, with the two lists of keys if they
            are not secret (`ckpt-compat show FILE` prints one).

            ```
            CK908 classifier-v1: IndexError: list index out of range (_check/check.py:88); please report it
            ```

            Nothing is known about this checkpoint, so the check ends with exit code 2 rather than 0.
            The others keep their verdicts, and all reports are written. If only the explanation
            failed, the checkpoint keeps torch's verdict instead, and a note names the exception.
            """
        ),
    ),
    Rule(
        id="CK901",
        kind="no-baseline",
        about="snapshot",
        severity=Severity.INCOMPLETE,
        sign="?",
        advice="record one with pytest --ckpt-update",
        meaning="no snapshot has been recorded, or neither checkpoint nor snapshot is there",
        documentation=cleandoc(
            """
            There is nothing to compare with. Either no snapshot of the checkpoint or of its definition
            has been recorded yet, or neither the checkpoint nor its snapshot is on this machine. Under
            `--against`, a snapshot that exists at the merge base and belongs to nothing that is
            registered now is reported as well: a checkpoint that is no longer registered is no longer
            guarded. At level `resume`, the rule also reports a checkpoint or snapshot without any
            optimizer state.

            ```
            CK901 classifier-v1: no snapshot of checkpoints/v1.pt has been recorded; run pytest --ckpt-update
            ```

            Run `pytest --ckpt-update`, or `ckpt-compat update`, and commit the snapshot folder. Where
            the checkpoint is absent too, fetch it first. If a registration was removed on purpose,
            `ckpt-compat retire ID --reason "..."` removes what is left of it, and keeps the reason.
            """
        ),
    ),
    Rule(
        id="CK902",
        kind="stale-snapshot",
        about="snapshot",
        severity=Severity.ERROR,
        sign="!",
        advice="restore the file, or record the new one with ckpt-compat update and its id",
        meaning="the checkpoint differs from its snapshot",
        documentation=cleandoc(
            """
            The structure of the checkpoint differs from its snapshot. A released checkpoint should not
            change, so its snapshot is frozen: `pytest --ckpt-update` does not replace it. The message
            counts the keys that were added, removed or changed.

            Only the structure is compared: keys and their order, shapes, dtypes, tied weights and
            module versions, and at level `resume` the optimizer's state. A file with the same structure
            and other numbers passes.

            If the file was overwritten by mistake, restore it. If it was replaced on purpose, record
            the new one by naming it, and commit the snapshot:

            ```sh
            ckpt-compat update classifier-v1
            ```
            """
        ),
    ),
    Rule(
        id="CK404",
        kind="migration-needed",
        about="snapshot",
        severity=Severity.ERROR,
        keyless=True,
        firm=True,
        sign="!",
        advice="register the migration as it was (migrate=), or record what it does today with its id",
        meaning="a migration that a checkpoint needs was removed, or puts its values elsewhere",
        documentation=cleandoc(
            """
            The snapshot of a checkpoint remembers which [migrations](migrating.md#registered-migrations)
            made it load, and where each value went. Two things fail. A migration is no longer registered
            (`migrate`), and the checkpoint does not load without it. Or everything loads, and a key of
            the definition gets other values than when the snapshot was recorded: two branches were
            exchanged in the migration, or a joint tensor is divided in another order.

            ```
            CK404 v1: migration shapes.v1_to_v2 is not as recorded: q.weight gets k.weight, not q.weight
            ```

            Keys that the definition no longer has are not compared, since it may have renamed them itself.
            So a migration can be lengthened, split or moved to another module, and nothing is told as long
            as the values go where they went. No numbers are read for it.

            Restore the migration. If the old file is not to be loaded any more, take its registration out,
            and its snapshot with it. If today's way is right, record it by the id:

            ```sh
            ckpt-compat update v1
            ```
            """
        ),
    ),
    Rule(
        id="CK907",
        kind="definition-changed",
        about="snapshot",
        severity=Severity.WARNING,
        sign="*",
        phrase="{detail}",
        advice="it loads what it saved: record it, and commit its snapshot with the change",
        meaning="the definition differs from its own snapshot, yet loads what it saved",
        documentation=cleandoc(
            """
            The definition's `state_dict` is no longer the one in its snapshot, and a checkpoint with
            the recorded structure still loads. A `load_state_dict` hook that renames keys has this
            effect, for example, and so has another dtype.

            The change breaks nothing, but the snapshot no longer describes what the code saves, and
            checkpoints saved from now on are not guarded. Record the definition, and commit the
            snapshot with the change that caused it:

            ```sh
            ckpt-compat update
            ```

            Under `--against`, a definition that changed on this branch and was not recorded is an
            error. One that already differed at the merge base is listed and does not fail.
            """
        ),
    ),
    Rule(
        id="CK904",
        kind="expired-acceptance",
        about="acceptance",
        severity=Severity.ERROR,
        sign="!",
        detail_ends=";",
        meaning="the date until which a break was accepted has passed",
        documentation=cleandoc(
            """
            An entry in `accepted.toml` has an `until` date, and that day is over. The entry no longer
            covers anything, and the check fails even if the break has been repaired in the meantime:
            the date was a promise to look again.

            ```
            CK904 v1: accepted.toml: the accepted CK202 head.* of v1 (retrain by May) expired on 2026-05-31
            ```

            Repair the break and take the entry out. If the break has to stay, accept it again, with a
            reason that is still true and a later date:

            ```sh
            ckpt-compat accept v1 --rule CK202 --key "head.*" --reason "..." --until 2026-09-30
            ```
            """
        ),
    ),
    Rule(
        id="CK903",
        kind="unused-acceptance",
        about="acceptance",
        severity=Severity.WARNING,
        sign="*",
        detail_ends=";",
        meaning="an accepted break that no longer occurs",
        documentation=cleandoc(
            """
            An entry in `accepted.toml` covers a break that no longer occurs, or belongs to an id that
            is no longer registered. An entry covers exact changes: rule, keys, shapes and dtypes. After
            a further change, such as a head that grows from 6 to 8 classes when 4 to 6 was accepted,
            the old entry is unused and the new break fails.

            `pytest --ckpt-prune`, in a run of all tests, and `ckpt-compat update` take the entry out. Left
            in, it would silently accept the same break if it came back.

            ```
            CK903 v1: loads, accepted.toml: the accepted CK202 head.* of v1 (six shapes) no longer occurs
            (--ckpt-prune takes it out)
            ```
            """
        ),
    ),
)
