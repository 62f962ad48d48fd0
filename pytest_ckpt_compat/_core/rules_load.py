"""The rules about what a load finds missing, ignores, refuses, or does without an error."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: In report order.
RULES: tuple[Rule, ...] = (
    Rule(
        id="CK101",
        kind="missing",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        sign="+",
        phrase="{tensors} missing",
        consequence="stays at random initialisation",
        advice="give it a default in a load_state_dict pre-hook, or take the layer out",
        meaning="the definition needs it, the checkpoint lacks it",
        documentation=cleandoc(
            """
            The definition has a parameter or a persistent buffer for which the checkpoint has no
            value, and no tensor of the checkpoint that is left over explains it. A layer was added:

            ```
            + norm.*   float32[16]   2 tensors
            ```

            Decide what the layer should be for old checkpoints. If it can start as the identity, give
            it that value in a hook. If the buffer can be computed, register it with
            `persistent=False`, and it leaves the `state_dict`. If old checkpoints are to work without
            the layer, make it optional and register them without it.

            ```python
            def default_norm(module, state_dict, prefix, *_):
                state_dict.setdefault(prefix + "norm.weight", torch.ones_like(module.norm.weight))
                state_dict.setdefault(prefix + "norm.bias", torch.zeros_like(module.norm.bias))
            ```

            Under `strict=False` the load succeeds and the layer keeps its random initialisation, which
            the report says.
            """
        ),
    ),
    Rule(
        id="CK102",
        kind="unexpected",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        sign="-",
        phrase="{tensors} unexpected",
        consequence="is thrown away",
        advice="drop it in a load_state_dict pre-hook, or put the layer back",
        meaning="the checkpoint has it, the definition dropped it",
        documentation=cleandoc(
            """
            The checkpoint holds a tensor that the definition has no use for, and nothing that is
            missing from the checkpoint explains it. A layer or buffer was removed:

            ```
            - aux_head.*   4 tensors
            ```

            If the tensor is no longer needed, drop it in a hook. If outputs depended on it, put the
            layer back. The definition may still have something under the key, outside of its
            `state_dict`; the row says what:

            - `still there, persistent=False, with these values`: a buffer that is no longer saved, and has
              the checkpoint's values anyway. It is safe to drop.
            - `still there, persistent=False, with other values`: such a buffer, and what the checkpoint has
              would be lost.
            - `is None here`: `register_buffer(name, None)`, into which torch loads nothing. Register a tensor
              before the load.
            - `not in the state_dict, set by set_extra_state`: the value belongs into `_extra_state` now.
            - `saved by the definition itself, which cannot load it`: the fault is in the definition's code.

            The numbers of a buffer are compared only if the check had those of both sides.

            ```python
            def drop_aux_head(module, state_dict, prefix, *_):
                for key in [key for key in state_dict if key.startswith(prefix + "aux_head.")]:
                    del state_dict[key]
            ```

            Under `strict=False` the load succeeds and the tensor is ignored.
            """
        ),
    ),
    Rule(
        id="CK302",
        kind="extra-state",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        sign="!",
        phrase="extra state {detail}",
        advice="in a load_state_dict pre-hook, drop the key if it vanished, or add a default if it appeared",
        meaning="get_extra_state appeared or vanished",
        documentation=cleandoc(
            """
            A module defines `get_extra_state`, and its value is stored in the `state_dict` under
            `_extra_state`. One side has such a key and the other does not: the method was added or
            removed since the checkpoint was saved. A strict load raises either way.

            ```
            ! fc._extra_state   vanished
            ```

            If the state vanished, keep accepting it, or drop the key while loading. If it appeared, old
            checkpoints need a default, which a hook can put under the same key. Libraries that store
            settings of low-precision training this way add the key to every layer they replace.
            """
        ),
    ),
    Rule(
        id="CK401",
        kind="load-raises",
        about="load",
        severity=Severity.ERROR,
        keyless=True,
        sign="!",
        meaning="the real load failed for a cause that no other rule names",
        documentation=cleandoc(
            """
            `load_state_dict` raised something other than missing keys, unexpected keys or unequal
            shapes. As a rule, a hook or an override of `load_state_dict` or `_load_from_state_dict`
            raised, or the checkpoint holds something that is not a tensor where a parameter is.

            ```
            CK401 classifier-v1: KeyError: 'pos_embed' (models/net.py:41)
            ```

            If the checkpoint has no versions of modules (`_metadata`) and loads with those of the
            definition, the report says that they are lost: a `state_dict` that is rebuilt by a dict
            comprehension has none, and a module then takes it for one of an old version.

            The message gives the exception and the line in your code. Correct the hook there; one that
            is written for a new layout often fails on old checkpoints. A break of this kind has no
            keys and is accepted by its words: `ckpt-compat accept ID --rule CK401 --reason "..."`.
            """
        ),
    ),
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
            to `float16` or to an integer type, rounds values, and large ones overflow. If that is not meant,
            build the definition in the checkpoint's dtype, or convert it after loading.
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
            is copied last remains; if they differ in the checkpoint, the other is overwritten. Where they are
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
