"""The rules about snapshots and acceptances: CK404, CK902, CK903, CK904, CK907."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: In report order.
RULES: tuple[Rule, ...] = (
    Rule(
        id="CK902",
        kind="stale-snapshot",
        about="snapshot",
        severity=Severity.ERROR,
        sign="!",
        advice="restore the file, or record the new one with ckpt-compat update and its id",
        meaning="the checkpoint differs from its snapshot",
        what=cleandoc(
            """
            The structure of the checkpoint differs from its snapshot. The message counts the keys that were
            added, removed or changed. Only the structure is compared: keys and their order, shapes, dtypes,
            tied weights and module versions, and at level `resume` the optimizer's state. A file with the
            same structure and other numbers passes.
            """
        ),
        why=cleandoc(
            """
            A released checkpoint should not change, so its snapshot is frozen: `pytest --ckpt-update` does
            not replace it. A file that was overwritten by a new training would otherwise stand for the one
            that users have.
            """
        ),
        example=cleandoc(
            """
            CK902 v1: v1.pt differs from its snapshot ckpt_snapshots/v1.json (keys: 2 changed), head resized
            """
        ),
        mend=cleandoc(
            """
            If the file was overwritten by mistake, restore it. If it was replaced on purpose, record
            the new one by naming it, and commit the snapshot:

            ```sh
            ckpt-compat update classifier-v1
            ```
            """
        ),
        accept="There is nothing to accept: record the new file, as above.",
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
        what=cleandoc(
            """
            The snapshot of a checkpoint remembers which [migrations](migrating.md#registered-migrations)
            made it load, and where each value went. Two things fail. A migration is no longer registered
            (`migrate`), and the checkpoint does not load without it. Or everything loads, and a key of
            the definition gets other values than when the snapshot was recorded: two branches were
            exchanged in the migration, or a joint tensor is divided in another order.

            Keys that the definition no longer has are not compared, since it may have renamed them itself.
            So a migration can be lengthened, split or moved to another module, and nothing is told as long
            as the values go where they went. No numbers are read for it.
            """
        ),
        why=cleandoc(
            """
            Torch cannot see that a value arrives under the wrong key of the right shape: the load succeeds,
            and the model computes something else.
            """
        ),
        example=cleandoc(
            """
            CK404 v1: migration shapes.v1_to_v2 is not as recorded: q.weight gets k.weight, not q.weight
            """
        ),
        mend=cleandoc(
            """
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
        what=cleandoc(
            """
            The definition's `state_dict` is no longer the one in its snapshot, and a checkpoint with
            the recorded structure still loads. A `load_state_dict` hook that renames keys has this
            effect, for example, and so has another dtype.
            """
        ),
        why=cleandoc(
            """
            The change breaks nothing, but the snapshot no longer describes what the code saves, and
            checkpoints saved from now on are not guarded. Under `--against`, a definition that changed on
            this branch and was not recorded is an error. One that already differed at the merge base is
            listed and does not fail.
            """
        ),
        example=cleandoc(
            """
            CK907 v1: loads, the definition differs from its snapshot
            ckpt_snapshots/definitions/models.Net.json (keys: 6 changed; record it: ckpt-compat update), 6
            tensors of another dtype
            """
        ),
        mend=cleandoc(
            """
            Record the definition, and commit the snapshot with the change that caused it:

            ```sh
            ckpt-compat update
            ```
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
        what=cleandoc(
            """
            An accepted break has an `until` date, and that day is over. Its entry no longer covers anything.
            """
        ),
        why=cleandoc(
            """
            The date was a promise to look again. If the break has been repaired in the meantime, or another
            entry covers it, nothing is left to look at: that is CK903, and an update takes the entry out.
            """
        ),
        example=cleandoc(
            """
            CK904 v1: accepted/CK202.v1.caf234ff.toml: the accepted CK202 head.* of v1 (six shapes) expired
            on 2026-05-31
            """
        ),
        mend="Repair the break; ckpt-compat update then takes the entry out.",
        accept=cleandoc(
            """
            If the break has to stay, accept it again, with a reason that is still true and a later date:

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
        meaning="an accepted break that no longer occurs",
        what=cleandoc(
            """
            The entry of an accepted break covers nothing that occurs any more, or belongs to an id that is
            no longer registered. An entry covers exact changes: rule, keys, shapes and dtypes. After
            a further change, such as a head that grows from 6 to 8 classes when 4 to 6 was accepted,
            the old entry is unused and the new break fails.
            """
        ),
        why="Left in, the entry would silently accept the same break if it came back.",
        example=cleandoc(
            """
            CK903 v1: loads, accepted/CK202.v1.caf234ff.toml: the accepted CK202 head.* of v1 (six shapes)
            no longer occurs (ckpt-compat update takes it out)
            """
        ),
        mend=cleandoc(
            """
            The report names the command that takes the entry out: `ckpt-compat update`. Where it takes the
            comparison with a reference to see that nothing needs the entry, as for one of a definition or of
            a retired checkpoint, it is `ckpt-compat update --against REF`.
            """
        ),
        accept="There is nothing to accept: take the entry out.",
    ),
)
