"""The rules about tensors that both sides have, in other shapes or terms: CK106, CK201, CK202, CK204."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: In report order.
RULES: tuple[Rule, ...] = (
    Rule(
        id="CK106",
        kind="reparametrized",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        phrase="{tensors} reparametrized",
        advice="convert it while loading (migrate=)",
        meaning="the same weight in another parametrization",
        what=cleandoc(
            """
            The weight is stored in other terms. Weight normalisation, for example, keeps a magnitude
            and a direction in place of the weight: as `weight_g` and `weight_v` when it was applied
            with `torch.nn.utils.weight_norm`, and as `parametrizations.weight.original0` and
            `original1` when it was applied with `torch.nn.utils.parametrizations.weight_norm`. The same
            holds for the other ways in which torch stores a parameter:

            - `torch.nn.utils.spectral_norm` keeps `weight_orig`, and the buffers `weight_u` and `weight_v`;
            - `torch.nn.utils.parametrizations.spectral_norm` keeps `parametrizations.weight.original`, and
              the buffers `parametrizations.weight.0._u` and `0._v`;
            - `torch.nn.utils.prune` keeps `weight_orig`, and the buffer `weight_mask`;
            - any other parametrization keeps `parametrizations.weight.original`, and what it needs itself.
            """
        ),
        why=cleandoc(
            """
            A strict load raises. A rename alone would load `weight_orig` or `weight_v` as if it were the
            weight, and the model would compute something else.
            """
        ),
        example=cleandoc(
            """
            CK106 old.json: 3 of 6 tensors reparametrized

              ~ 0.{weight_orig,weight_u,weight_v} -> 0.weight   the same weight in another parametrization

              CK106: divide weight_orig by u . (W v), with the file's weight_u and weight_v (migrate=), not by its exact spectral norm; or remove_spectral_norm after the load
            """  # noqa: E501
        ),
        mend=cleandoc(
            """
            Between the two forms of weight normalisation the numbers are equal, and torch converts old
            checkpoints itself when the new form is loaded. In the other cases, convert in a hook: the weight
            of a weight-normed layer is `weight_v * (weight_g / norm(weight_v))`, with the norm over every
            dimension but the first (`torch._weight_norm(weight_v, weight_g, 0)`). In the other direction,
            apply the normalisation after the plain weight has been loaded.

            Torch converts none of the others while loading. From one form of spectral norm to the other,
            rename the keys. For a plain layer, the weight is `weight_orig * weight_mask` if it was pruned,
            and `weight_orig / torch.dot(weight_u, weight_orig.flatten(1) @ weight_v)` if it was normalised by
            its first dimension, as a `Linear` or a convolution is; that of a transposed convolution is
            `weight_orig.movedim(1, 0)` in the product. That number, and not the exact spectral norm, is what
            the layer divided by in `eval()`: the vectors in the file have come near to it only. Or call
            `torch.nn.utils.prune.remove` or `torch.nn.utils.remove_spectral_norm` on the old model, and save
            it again. `remove_parametrizations` leaves another weight in training mode, in which it takes one
            more step towards the exact norm: call `eval()` before it.
            """
        ),
    ),
    Rule(
        id="CK204",
        kind="transposed",
        about="load",
        severity=Severity.ERROR,
        phrase="{tensors} transposed",
        advice="permute or reshape them while loading (migrate=)",
        meaning="the same numbers, permuted or reshaped",
        what=cleandoc(
            """
            The tensor has as many elements as before and the same sizes in another arrangement, apart
            from sizes of 1. A GPT-2 style `Conv1D` that became a `Linear` transposes its weight; a
            pointwise convolution that became a `Linear` drops its last two dimensions.
            """
        ),
        why=cleandoc(
            """
            The load raises, under `strict=False`, too. Whether the numbers were permuted or only reshaped
            follows from the code of the two layers, not from the shapes.
            """
        ),
        example=cleandoc(
            """
            CK204 old.json: 6 of 18 tensors transposed

              ~ h.{0..2}.c_attn.weight   float32[64, 192] -> float32[192, 64]   3 tensors
              ~ h.{0..2}.c_fc.weight     float32[64, 256] -> float32[256, 64]   3 tensors
            """
        ),
        mend="Convert them in a hook with `.t()`, `.permute()` or `.reshape()`.",
    ),
    Rule(
        id="CK202",
        kind="head-resized",
        about="load",
        severity=Severity.ERROR,
        sign="!",
        phrase="head resized",
        advice="build it with the file's outputs, load, then replace the head; or leave it out of the load",
        meaning="an output head has another number of outputs",
        what=cleandoc(
            """
            The layer that gives the model's outputs has another number of them, and everything else
            about it is the same. A layer counts as a head if it comes last in the `state_dict`, or if
            its name says so (`head`, `classifier`, `logits`, or `fc` at the top level).
            """
        ),
        why=cleandoc(
            """
            This is often intended: a model is fine-tuned for another task. It still means that the old
            checkpoint does not load as it is, also under `strict=False`.
            """
        ),
        example=cleandoc(
            """
            CK202 old.json: head resized

              ! head.weight   float32[1000, 64] -> float32[10, 64]   outputs 1000 -> 10
              ! head.bias     float32[1000] -> float32[10]   outputs 1000 -> 10
            """
        ),
        mend=cleandoc(
            """
            If the old number is meant for this checkpoint, give it in the registration's `kwargs`. If the new
            one is, drop the two keys before you load the rest.
            """
        ),
        accept=cleandoc(
            """
            Where the new number is meant, accept it for this checkpoint, with the reason:

            ```sh
            ckpt-compat accept ID --rule CK202 --key "head.*" --reason "the new task has 10 classes"
            ```
            """
        ),
    ),
    Rule(
        id="CK201",
        kind="resized",
        about="load",
        severity=Severity.ERROR,
        sign="!",
        phrase="{tensors} resized",
        advice="restore the size",
        meaning="the same key with another shape",
        what=cleandoc(
            """
            The checkpoint and the definition have the same key with different shapes. Typical causes are a
            default that changed, such as the width of a hidden layer, and a constructor argument that the
            registration does not give.

            Where an argument of the constructor has a size that the checkpoint has otherwise, the check
            builds the model once more with the checkpoint's, without weights. If the checkpoint then
            loads, the report says so; the same is tried for a number of layers, and for a switch whose
            name is in the keys that one side lacks (`bias`, `aux`).
            """
        ),
        why="Torch raises on this, whether or not the load is strict.",
        example=cleandoc(
            """
            CK201 run: 1 of 6 tensors resized

              ! conv_in.weight   float32[8, 3, 3, 3] -> float32[8, 4, 3, 3]

              CK201: it loads with channels=3: build the model so, and give this in kwargs
            """
        ),
        mend=cleandoc(
            """
            If the size is an argument of the constructor, pass the old value in the registration's
            `kwargs`, or take it from the checkpoint in a factory with a parameter named `checkpoint`.
            If the new size is meant, old weights need a conversion of their own, for example an
            interpolation of position embeddings in a hook.
            """
        ),
    ),
)
