"""The rules about what a load finds missing, ignores or refuses: CK101, CK102, CK302, CK401, CK402, CK406."""

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
        what=cleandoc(
            """
            The definition has a parameter or a persistent buffer for which the checkpoint has no
            value, and no tensor of the checkpoint that is left over explains it. As a rule, a layer was
            added.
            """
        ),
        why=cleandoc(
            """
            A strict load raises. Under `strict=False` the load succeeds and the layer keeps its random
            initialisation, which the report says.
            """
        ),
        example=cleandoc(
            """
            CK101 run: 4 of 8 tensors missing

              + layers.{0..3}.bias   float32[4]   4 tensors
            """
        ),
        mend=cleandoc(
            """
            Decide what the layer should be for old checkpoints. If it can start as the identity, give
            it that value in a hook. If the buffer can be computed, register it with
            `persistent=False`, and it leaves the `state_dict`. If old checkpoints are to work without
            the layer, make it optional and register them without it.

            ```python
            def default_norm(module, state_dict, prefix, *_):
                state_dict.setdefault(prefix + "norm.weight", torch.ones_like(module.norm.weight))
                state_dict.setdefault(prefix + "norm.bias", torch.zeros_like(module.norm.bias))
            ```

            A key that is tied to one that the checkpoint has is no new layer: it is to be given the same
            tensor. The report names it; a default would be copied into the memory that both share, over
            what was trained:

            ```
            + lm_head.weight   float32[50, 8]   tied to embed.weight
            ```
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
        what=cleandoc(
            """
            The checkpoint holds a tensor that the definition has no use for, and nothing that is
            missing from the checkpoint explains it. As a rule, a layer or buffer was removed. The
            definition may still have something under the key, outside of its `state_dict`; the row says
            what:

            - `still there, persistent=False, with these values`: a buffer that is no longer saved, and has
              the checkpoint's values anyway. It is safe to drop.
            - `still there, persistent=False, with other values`: such a buffer, and what the checkpoint has
              would be lost.
            - `is None here`: `register_buffer(name, None)`, into which torch loads nothing. Register a tensor
              before the load.
            - `is None here: built without bias`, or `affine`: a layer of torch's that has no such parameter.
              Build it as the checkpoint has it, or lose what was trained in it.
            - `not in the state_dict, set by set_extra_state`: the value belongs into `_extra_state` now.
            - `saved by the definition itself, which cannot load it`: the fault is in the definition's code.

            The numbers of a buffer are compared only if the check had those of both sides.
            """
        ),
        why=cleandoc(
            """
            A strict load raises. Under `strict=False` the load succeeds and the tensor is ignored: if
            outputs depended on it, they change.
            """
        ),
        example=cleandoc(
            """
            CK102 old.json: 1 of 25 tensors unexpected

              - position_ids   int64[1, 197]
            """
        ),
        mend=cleandoc(
            """
            If the tensor is no longer needed, drop it in a hook. If outputs depended on it, put the
            layer back.

            ```python
            def drop_aux_head(module, state_dict, prefix, *_):
                for key in [key for key in state_dict if key.startswith(prefix + "aux_head.")]:
                    del state_dict[key]
            ```
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
        what=cleandoc(
            """
            A module defines `get_extra_state`, and its value is stored in the `state_dict` under
            `_extra_state`. One side has such a key and the other does not: the method was added or
            removed since the checkpoint was saved. Libraries that store settings of low-precision training
            this way add the key to every layer they replace.
            """
        ),
        why="A strict load raises either way, as for a tensor that is missing or unexpected.",
        example=cleandoc(
            """
            CK302 old.json: extra state vanished

              ! fc._extra_state   vanished
            """
        ),
        mend=cleandoc(
            """
            If the state vanished, keep accepting it, or drop the key while loading. If it appeared, old
            checkpoints need a default, which a hook can put under the same key.
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
        what=cleandoc(
            """
            `load_state_dict` raised something other than missing keys, unexpected keys or unequal
            shapes. As a rule, a hook or an override of `load_state_dict` or `_load_from_state_dict`
            raised, or the checkpoint holds something that is not a tensor where a parameter is. The message
            gives the exception and the line in your code.
            """
        ),
        why=cleandoc(
            """
            Users meet the same exception. A hook that is written for a new layout often fails on old
            checkpoints.
            """
        ),
        example=cleandoc(
            """
            CK401 run: KeyError: '0.weight'
            """
        ),
        mend=cleandoc(
            """
            Correct the hook at the line that the message gives. If the checkpoint has no versions of modules
            (`_metadata`) and loads with those of the definition, the report says that they are lost: a
            `state_dict` that is rebuilt by a dict comprehension has none, and a module then takes it for one
            of an old version.
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
        what=cleandoc(
            """
            The load raised nothing and reported no key as missing, and yet it wrote nothing into some
            tensors of the definition. An override of `load_state_dict` that skips keys it cannot use,
            or a hook that takes keys out of torch's list of missing keys, has this effect.

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
            """
        ),
        why="If it is not meant, the model runs with random weights in these layers, and nothing will raise.",
        example=cleandoc(
            """
              * head.*   2 tensors   left as initialised: nothing was loaded into it
            """
        ),
        mend=cleandoc(
            """
            If the layers are meant to be trained anew, there is nothing to do. If not, correct the code that
            skips them.
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
        what=cleandoc(
            """
            The load raised nothing, and yet it wrote no tensor of the checkpoint into any tensor of the
            definition.
            """
        ),
        why=cleandoc(
            """
            Torch does not report it: under `strict=False`, or with an override of `load_state_dict` that
            skips what does not fit, a checkpoint with a prefix on every key loads without an error and
            leaves the model as it was initialised. So it is an error under `strict=False` too.
            """
        ),
        example=cleandoc(
            """
            CK406 run: none of 4 tensors reaches the definition
            """
        ),
        mend=cleandoc(
            """
            Make the keys those of the definition: pass `strip_prefix`, or rename them before the load.
            """
        ),
    ),
)
