"""The rules about what a load does without an error, and about what else a program does with the file."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: In report order.
RULES: tuple[Rule, ...] = (
    Rule(
        id="CK402",
        kind="partial-load",
        about="load",
        severity=Severity.WARNING,
        sign="*",
        phrase="{tensors} left as initialised",
        consequence="left as initialised: nothing was loaded into it",
        advice="check that this is meant: torch does not report it",
        meaning="the load succeeds and leaves tensors as they were initialised",
        documentation=cleandoc(
            """
            The load raised nothing and reported no key as missing, and yet it wrote nothing into some
            tensors of the definition. An override of `load_state_dict` that skips keys it cannot use,
            or a hook that takes keys out of torch's list of missing keys, has this effect.

            ```
            * head.*   2 tensors   left as initialised: nothing was loaded into it
            ```

            Where the checkpoint has values for them, the line says what became of these. An override that
            keeps only what has the same name and size leaves a head of another size, and a block that was
            renamed; a hook that resets, replaces or overwrites a layer after the load loses what was loaded:

            ```
            CK402 v1: loads, head.* (2 tensors) left as built: the checkpoint's has another size
            CK402 v1: loads, body.* (4 tensors) left as built: the checkpoint has trunk.*
            CK402 v1: loads, head.* (2 tensors) loaded, and then overwritten with other values
            ```

            Seen is what happens until `load_state_dict` returns, and of values only that a tensor is filled
            as a whole. A part of a tensor that is overwritten, values that are changed in place (`mul_`),
            initializers that do nothing without numbers (`trunc_normal_`, `orthogonal_`), and what the
            program does after the load are not seen.

            If the layers are meant to be trained anew, there is nothing to do. If not, the model runs
            with random weights and nothing will raise: correct the code that skips them.
            """
        ),
    ),
    Rule(
        id="CK406",
        kind="nothing-loaded",
        about="load",
        severity=Severity.ERROR,
        keyless=True,
        sign="!",
        advice="rename the keys while loading (migrate=), or correct the prefix: the model is left as built",
        meaning="the load succeeds and no tensor of the checkpoint reaches the definition",
        documentation=cleandoc(
            """
            The load raised nothing, and yet it wrote no tensor of the checkpoint into any tensor of the
            definition. Torch does not report it: under `strict=False`, or with an override of
            `load_state_dict` that skips what does not fit, a checkpoint with a prefix on every key
            loads without an error and leaves the model as it was initialised.

            ```
            CK406 encoder-v1: none of 24 tensors reaches the definition
            ```

            Make the keys those of the definition: pass `strip_prefix`, or rename them before the load.
            It is an error under `strict=False` too. A break of this kind has no keys and is accepted by
            its words: `ckpt-compat accept ID --rule CK406 --reason "..."`.
            """
        ),
    ),
    Rule(
        id="CK203",
        kind="retyped",
        about="load",
        severity=Severity.WARNING,
        sign="*",
        phrase="{tensors} of another dtype",
        advice="torch casts it on loading",
        meaning="the same key with another dtype",
        documentation=cleandoc(
            """
            The checkpoint and the definition have the same key with different dtypes. Torch casts the
            values while it copies them and gives no warning.

            ```
            * layers.*   float32 -> float16   24 tensors
            ```

            A wider type keeps every value. Where this is all there is to say, the checkpoint is `OK`, in one
            line (`OK v1: 24 tensors load, cast from bfloat16 to float32`). A narrower one, such as `float32`
            to `float16`, rounds values, and large ones overflow. If that is not meant, build the
            definition in the checkpoint's dtype, or convert it after loading.

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
    ),
    Rule(
        id="CK301",
        kind="retied",
        about="load",
        severity=Severity.WARNING,
        sign="*",
        phrase="weights {detail}",
        detail_ends=":",
        advice="see that both still get the values they need",
        meaning="tied weights came apart, or two became tied",
        documentation=cleandoc(
            """
            Two keys are one tensor on one side and two tensors on the other. Input and output
            embeddings of a language model are the usual pair:

            ```
            * embed.weight = lm_head.weight   now tied: the load keeps the last value
            ```

            Where weights are *now tied*, the load copies both values into one tensor, and the one that
            is copied last remains; if they differ in the checkpoint, the other is overwritten. A hook that
            ties them *after the load* loses the checkpoint's own values of one. Where they are
            *no longer tied*, both get the same values and then train apart. Neither raises. Make sure
            that this is what you want, and tie the weights in the constructor if it is not.
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
        documentation=cleandoc(
            """
            A file of `torch.save` is a pickle, and a pickle names the class of everything in it that is not
            a tensor: an options object, a NumPy scalar, an `Enum`, the modules of a model that was saved
            whole. Since torch 2.6, `torch.load` has `weights_only=True` as its default and refuses a file
            that names a class which was not allowed before; the weights may fit, and the file does not
            open.

            ```
            CK405 v1: loads, torch.load by default (weights_only=True) refuses it because of models.Mode
            ```

            It is a warning, since a check does not see how a project opens its files. The line `open:`
            says what helps: the classes to allow, or `weights_only=False`, with which a file can run any
            code, so that it is for files that you trust.

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

            For a model that was saved whole, such a class is an error, since no value of `weights_only`
            opens the file. Put the class back under its old name, or open the file once where that name
            still exists and save `model.state_dict()` alone, which names no class.

            A check imports nothing that a file names. A snapshot keeps the names, so that the rule holds
            where the file is absent, too; one that an earlier version recorded says nothing, until it is
            recorded again by its id.
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
        documentation=cleandoc(
            """
            At level `resume`, the optimizer's state in the checkpoint is loaded into an optimizer over
            today's parameters, and a step is made, all without reading weights. This rule reports what
            would go wrong: another number of parameter groups, or of parameters in a group; state of
            another shape than its parameter; parts of the state that a step needs and the checkpoint
            lacks; and a parameter whose position in the order changed.

            Where the state is that of another of torch's optimizers, by what it keeps for each parameter,
            that is all that is said:

            ```
            CK403 run: the file holds acc_delta, square_avg: another optimizer (Adadelta) than Adam
            ```

            What lies beside the optimizer in the same file is looked at, too: the state of a gradient
            scaler is loaded into torch's own; averaged weights (`ema`, `swa`) have to have the tensors of
            the model that they lie beside; a schedule has to have a rate for each parameter group. The
            other settings of a schedule are not loaded, which a note says.

            A parameter whose position changed is the dangerous one. Torch matches saved state to parameters
            by their order alone. Two parameters of one shape that were swapped go on with each other's
            momentum, and nothing raises.

            Restore the order and the groups, or reorder the saved state before
            `optimizer.load_state_dict`. If the run is not going to be resumed, start the optimizer
            anew and lower the checkpoint's level to `backward`.
            """
        ),
    ),
)
