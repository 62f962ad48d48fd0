"""The rules about what a load finds missing, ignores or refuses."""

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

            A key that is tied to one that the checkpoint has is no new layer: it is to be given the same
            tensor. The report names it; a default would be copied into the memory that both share, over
            what was trained:

            ```
            + lm_head.weight   float32[50, 8]   tied to embed.weight
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
)
