"""The rules about what a definition computes with the tensors that it loads: CK50x."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: In report order.
RULES: tuple[Rule, ...] = (
    Rule(
        id="CK501",
        kind="output-drift",
        about="load",
        severity=Severity.WARNING,
        keyless=True,
        sign="*",
        meaning="everything loads, and the definition computes something else than its snapshot says",
        what=cleandoc(
            """
            The option `inputs` of a registration names a function that gives the inputs of one forward.
            The definition is then filled with values that are drawn from its keys, run once, and
            compared with what its snapshot recorded. The report names the first module, in the order of
            execution, that gives something else. If that module is already given something else, the cause
            lies in the `forward` around it, and the report names its class. How it works, and what it does
            not see, is in [Outputs](outputs.md).
            """
        ),
        why=cleandoc(
            """
            This finds what no key and no setting shows: two branches swapped, the order of a residual,
            another scale of the attention, a rename that pairs the wrong layers. Old weights load and give
            other results.
            """
        ),
        example=cleandoc(
            """
            CK501 net-v1: loads, computes something else before head, in forward of models.Net; the output
            differs by 0.95
            """
        ),
        mend=cleandoc(
            """
            If the change is not meant, restore what was computed. If it is, record the definition with
            `pytest --ckpt-update`.
            """
        ),
        accept=cleandoc(
            """
            It is a warning, which fails nothing unless the project makes it an error (`severity` in its
            settings). Until it is recorded, or for a comparison with `--against`, accept it:

            ```sh
            ckpt-compat accept v1 --rule CK501 --reason "trained anew with this activation"
            ```
            """
        ),
    ),
    Rule(
        id="CK502",
        kind="settings-changed",
        about="load",
        severity=Severity.WARNING,
        sign="*",
        phrase="{settings}",
        meaning="a module has another class or other settings than in the snapshot, with the same tensors",
        what=cleandoc(
            """
            The tensors fit, so the checkpoint loads, and the definition computes something else with
            them: an epsilon, a stride or an activation is another than when the definition's snapshot
            was recorded. The snapshot keeps the class and the settings of each module as data, and both
            sides are compared; nothing is run for it. Modules that were renamed are compared through the
            renames.

            A report says `computes` of a layer of torch's own and `may compute` of other classes, whose
            attributes may decide nothing. Dropout, the momentum of a batch norm and the like act in
            training only, and the report says so. A class or a function that the code now calls by
            another name is not another one, and neither is one that was moved to another file. What is
            a setting, and what is never told, is in [Snapshots](snapshots.md#settings-of-modules).
            """
        ),
        why=cleandoc(
            """
            No load shows this, since a `state_dict` holds none of it: the old weights load without a word,
            and the model's results change.
            """
        ),
        example=cleandoc(
            """
              * layers.{0..11}.norm   eps 1e-12 -> 1e-06   12 modules   computes something else
              * layers.{0..11}.act    torch.nn.GELU -> torch.nn.ReLU   12 modules   computes something else
              * head.drop             p 0.1 -> 0.3   computes something else in training
            """
        ),
        mend=cleandoc(
            """
            If the change is not meant, restore the setting. If it is, record the definition with
            `pytest --ckpt-update`: the pull request then shows the line that changed.
            """
        ),
        accept=cleandoc(
            """
            It is a warning, which fails nothing unless the project makes it an error (`severity` in its
            settings). Until it is recorded, or for a comparison with `--against`, accept it:

            ```sh
            ckpt-compat accept v1 --rule CK502 --key "encoder.*" --reason "trained anew with this epsilon"
            ```
            """
        ),
    ),
)
