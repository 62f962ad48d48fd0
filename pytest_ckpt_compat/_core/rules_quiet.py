"""The rules about what a load does without an error, and what lies around it: CK203, CK301, CK403, CK405."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: In report order.
RULES: tuple[Rule, ...] = (
    Rule(
        id="CK203",
        kind="retyped",
        about="load",
        severity=Severity.WARNING,
        sign="*",
        phrase="{tensors} of another dtype",
        advice="torch casts it on loading",
        meaning="the same key with another dtype",
        what=cleandoc(
            """
            The checkpoint and the definition have the same key with different dtypes. Torch casts the
            values while it copies them and gives no warning.

            Where the dtypes show what a cast loses, the report names the keys and the loss, as for a number
            with a fraction that goes into an integer buffer:

            ```
            CK203 v1: loads, steps float32 -> int64 cuts off the fraction
            ```

            It is an error if what was trained is lost without a word from torch: the imaginary part of
            complex numbers; the numbers of a quantization (`int8`) that are taken for the weights
            themselves; weights of few bits (`float8_e4m3fn`, `int8`) beside which the checkpoint keeps
            scales that the definition has no place for. A hook that converts them first ends the error: what
            counts is the dtype that torch copies. Whether values overflow shows in no header.
            """
        ),
        why=cleandoc(
            """
            A wider type keeps every value. Where this is all there is to say, the checkpoint is `OK`, in one
            line (`OK v1: 24 tensors load, cast from bfloat16 to float32`). A narrower one, such as `float32`
            to `float16`, rounds values, and large ones overflow.
            """
        ),
        example=cleandoc(
            """
              * layers.*   float32 -> float16   4 tensors
            """
        ),
        mend=cleandoc(
            """
            If the cast is not meant, build the definition in the checkpoint's dtype, or convert it after
            loading. Multiply the numbers of a quantization by their scales while loading.
            """
        ),
    ),
    Rule(
        id="CK301",
        kind="retied",
        about="load",
        severity=Severity.WARNING,
        sign="*",
        phrase="weights {detail}",
        advice="see that both still get the values they need",
        meaning="tied weights came apart, or two became tied",
        what=cleandoc(
            """
            Two keys are one tensor on one side and two tensors on the other. Input and output
            embeddings of a language model are the usual pair.
            """
        ),
        why=cleandoc(
            """
            Neither raises. Where weights are *now tied*, the load copies both into one tensor, and the one
            that is copied last remains. The report names it, and the one that is overwritten: where the two
            differ in the checkpoint, what was trained in that one is lost. A check reads no values, and a
            file may as well hold one tensor twice, as trainers save it that copy each key for itself. A
            checkpoint of which one tensor has both names, as `torch.save` keeps it, is not told. A hook that
            ties them *after the load* loses the checkpoint's own values of one.
            Where they are *no longer tied*, both get the same values and then train apart.
            """
        ),
        example=cleandoc(
            """
            CK301 old.json: loads, weights now tied: the load keeps lm_head.weight, and loses embed.weight if it differs

              * embed.weight = lm_head.weight   now tied: the load keeps lm_head.weight, and loses embed.weight if it differs
            """  # noqa: E501
        ),
        mend=cleandoc(
            """
            Where weights are *now tied*, compare the two in the file, once: `torch.equal(a, b)`. If they are
            equal, nothing is lost. If they differ, the model was trained with two tensors: build it untied
            for this checkpoint. Where they are *no longer tied*, tie them in the constructor if they are to
            stay one.
            """
        ),
    ),
    Rule(
        id="CK405",
        kind="unopenable",
        about="load",
        severity=Severity.WARNING,
        keyless=True,
        sign="*",
        meaning="today's `torch.load` refuses the file, for a class that it names",
        what=cleandoc(
            """
            A file of `torch.save` is a pickle, and a pickle names the class of everything in it that is not
            a tensor: an options object, a NumPy scalar, an `Enum`, the modules of a model that was saved
            whole. Since torch 2.6, `torch.load` has `weights_only=True` as its default and refuses a file
            that names a class which was not allowed before.

            A check imports nothing that a file names. A snapshot keeps the names, so that the rule holds
            where the file is absent, too; one that an earlier version recorded says nothing, until it is
            recorded again by its id.
            """
        ),
        why=cleandoc(
            """
            The weights may fit, and the file does not open. It is a warning, since a check does not see how
            a project opens its files. For a model that was saved whole, a class that cannot be imported is
            an error, since no value of `weights_only` opens the file.
            """
        ),
        example=cleandoc(
            """
              open: make oldopts.Opt importable again, open the file there with weights_only=False, and save
                model.state_dict() alone
            """
        ),
        mend=cleandoc(
            """
            The line `open:` says what helps: the classes to allow, or `weights_only=False`, with which a
            file can run any code, so that it is for files that you trust.

            ```python
            torch.serialization.add_safe_globals([models.Mode])
            ```

            What the project has allowed by the time of the check counts as allowed. Call
            `add_safe_globals` in the package that defines the model, and the warning ends.

            With `weights_only=False`, torch imports the classes. The report names those that cannot be
            imported here. Where one module of the project has a class of the same name, the line `moved?:`
            names it. If it is the same class, it can be allowed under the name in the file:

            ```python
            torch.serialization.add_safe_globals([(newpkg.nets.Detector, "oldpkg.nets.Detector")])
            ```

            For a model that was saved whole, put the class back under its old name, or open the file once
            where that name still exists and save `model.state_dict()` alone, which names no class.
            """
        ),
    ),
    Rule(
        id="CK403",
        kind="optimizer-mismatch",
        about="load",
        severity=Severity.ERROR,
        keyless=True,
        sign="!",
        phrase="the optimizer's state does not fit",
        advice="restore the parameters and their groups, or start the optimizer anew",
        meaning="the optimizer's state does not fit today's parameters (level `resume`)",
        what=cleandoc(
            """
            At level `resume`, the optimizer's state in the checkpoint is loaded into an optimizer over
            today's parameters, and a step is made, all without reading weights. This rule reports what
            would go wrong: another number of parameter groups, or of parameters in a group; state of
            another shape than its parameter; parts of the state that a step needs and the checkpoint
            lacks; and a parameter whose position in the order changed. Where the state is that of another of
            torch's optimizers, by what it keeps for each parameter, that is all that is said.

            What lies beside the optimizer in the same file is looked at, too: the state of a gradient
            scaler is loaded into torch's own; averaged weights (`ema`, `swa`) have to have the tensors of
            the model that they lie beside; a schedule has to have a rate for each parameter group. The
            other settings of a schedule are not loaded, which a note says.
            """
        ),
        why=cleandoc(
            """
            The run cannot be resumed, or goes on with the wrong state. A parameter whose position changed is
            the dangerous one. Torch matches saved state to parameters by their order alone. Two parameters
            of one shape that were swapped go on with each other's momentum, and nothing raises.
            """
        ),
        example=cleandoc(
            """
            CK403 run: the file holds acc_delta, square_avg: another optimizer (Adadelta) than Adam
            """
        ),
        mend=cleandoc(
            """
            Restore the order and the groups, or reorder the saved state before
            `optimizer.load_state_dict`. If the run is not going to be resumed, start the optimizer
            anew and lower the checkpoint's level to `backward`.
            """
        ),
    ),
)
