"""The rules about tensors that both sides have, under other keys or in other shapes: CK103-107, CK20x."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: In report order.
RULES: tuple[Rule, ...] = (
    Rule(
        id="CK108",
        kind="unmerged",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        phrase="{tensors} of an adapter that is not merged",
        advice="load it with peft, or merge it: save the state_dict of model.merge_and_unload()",
        meaning="the checkpoint has the weights of a LoRA adapter, and the definition is a plain model",
        documentation=cleandoc(
            """
            The checkpoint was saved from a model that peft had wrapped, or it is an adapter alone. Beside
            the weights of the model, which peft has put under `base_layer`, there are those of the adapter
            (`lora_A`, `lora_B`), and the definition has a place for neither:

            ```
            ~ base_model.model.q.base_layer.* -> q.*             2 tensors
            ~ base_model.model.q.{lora_A,lora_B}.default.weight   2 tensors
            ```

            To rename the first and to drop the second gives the model as it was before it was fine-tuned.
            Merge the adapter once, and register the merged checkpoint:

            ```python
            merged = peft_model.merge_and_unload()
            torch.save(merged.state_dict(), "merged.pt")
            ```

            Or keep it an adapter. Save it with `peft_model.save_pretrained("adapter")` and register this
            directory, which holds `adapter_config.json`, with the plain model: it is then loaded
            [as peft does](your_library.md#peft). A checkpoint of the whole wrapped model loads into a
            definition that is one, too: a factory that returns `get_peft_model(...)`.
            """
        ),
    ),
    Rule(
        id="CK107",
        kind="prefixed",
        about="load",
        severity=Severity.ERROR,
        meaning="every key carries a prefix that the other side does not have",
        documentation=cleandoc(
            """
            Every key on one side begins with a prefix that the other side lacks. Wrappers do this:
            `DataParallel` and `DistributedDataParallel` put `module.` before each key, `torch.compile`
            puts `_orig_mod.`, and a LightningModule puts the attribute that holds the network, often
            `model.`. The row of the prefix stands for the keys that differ in nothing else. A key that
            was also renamed or resized is in another row, as the checkpoint has it:

            ```
            CK107 classifier-v1: every key begins with module., 6 of 44 tensors renamed

              ~ module.* -> *              38 of 44 tensors
              ~ module.stem.* -> entry.*   6 tensors

              CK103: rename the keys while loading (migrate=), or rename the attribute back
              fix:    save model.module.state_dict(), or take "module." off where the program loads the keys
              then:   register it with strip_prefix="module.", as the program loads it
            ```

            Mend the program first: `strip_prefix` in the registration makes the check pass, and the program
            would go on failing. Where the checkpoint has the prefix, save `model.module.state_dict()` in
            future, or take the prefix off where the program loads the keys, and then register the checkpoint
            with `strip_prefix`. Where the definition has it, load into the module in the wrapper, and
            register that. A wrapper in the middle of the keys is [CK103](#ck103).
            """
        ),
    ),
    Rule(
        id="CK103",
        kind="renamed",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        phrase="{tensors} renamed",
        advice="rename the keys while loading (migrate=), or rename the attribute back",
        meaning="the same tensor under another key",
        documentation=cleandoc(
            """
            A tensor of the checkpoint has another key in the definition, most often because an
            attribute was renamed or a module moved. Torch reports the same fact as one missing and one
            unexpected key per tensor. Keys that follow one pattern share a row:

            ```
            ~ blocks.* -> stages.*   36 tensors
            ```

            The explanation is inferred from names, order and shapes. A row that is not certain says
            `likely`, or `ambiguous` with another key that would explain it as well; check such a row
            before relying on it.

            Rename the attribute back, or translate old keys. If a function of yours does that before the
            load, register it as [`migrate`](registering.md): the check applies it, too. A hook of the module
            needs no option:

            ```python
            def rename_blocks(module, state_dict, prefix, *_):
                for key in [key for key in state_dict if key.startswith(prefix + "blocks.")]:
                    state_dict[prefix + "stages." + key[len(prefix + "blocks.") :]] = state_dict.pop(key)


            class Classifier(nn.Module):
                def __init__(self):
                    ...
                    self.register_load_state_dict_pre_hook(rename_blocks)
            ```

            Where the keys differ in nothing but the name under which a wrapper keeps its module
            (`_orig_mod`, `_fsdp_wrapped_module`, `_checkpoint_wrapped_module`, `base_layer`, `module`),
            the row says which wrapper that is:

            ```
            ~ encoder._orig_mod.* -> encoder.*   8 tensors   wrapped by torch.compile in the checkpoint
            ```

            The check runs the hook, so the break disappears once the hook is right. Under
            `strict=False` the load does not raise, and the renamed layers silently stay at their
            random initialisation.
            """
        ),
    ),
    Rule(
        id="CK104",
        kind="split",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        phrase="{tensors} split",
        advice="split it while loading (migrate=)",
        meaning="one tensor became several",
        documentation=cleandoc(
            """
            One tensor of the checkpoint corresponds to several in the definition. The usual case is an
            attention layer whose joint projection became three:

            ```
            ~ blocks.{0..11}.attn.qkv.weight -> blocks.{0..11}.attn.{q,k,v}.weight   12 tensors   split in 3
            ```

            Only names and shapes are known here, not the numbers. The order of the parts, and whether
            heads are interleaved, are for you to know. Split the tensor in a function registered as
            [`migrate`](registering.md), or in a hook of the module that owns it:

            ```python
            def split_qkv(module, state_dict, prefix, *_):
                joint = state_dict.pop(prefix + "qkv.weight", None)
                if joint is not None:
                    for name, part in zip("qkv", joint.chunk(3)):
                        state_dict[f"{prefix}{name}.weight"] = part
            ```

            Register it with `self.register_load_state_dict_pre_hook(split_qkv)`.
            """
        ),
    ),
    Rule(
        id="CK105",
        kind="fused",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        phrase="{tensors} fused",
        advice="concatenate them while loading (migrate=)",
        meaning="several tensors became one",
        documentation=cleandoc(
            """
            Several tensors of the checkpoint correspond to one in the definition, as when the query,
            key and value projections of an attention layer became a joint one. Their order within the
            joint tensor cannot be read off the shapes; it is in the code of the new layer.

            Concatenate them in a hook of the module that owns the joint tensor:

            ```python
            def fuse_qkv(module, state_dict, prefix, *_):
                keys = [f"{prefix}{name}.weight" for name in "qkv"]
                if all(key in state_dict for key in keys):
                    state_dict[prefix + "qkv.weight"] = torch.cat([state_dict.pop(key) for key in keys])
            ```

            Register it with `self.register_load_state_dict_pre_hook(fuse_qkv)`.
            """
        ),
    ),
    Rule(
        id="CK106",
        kind="reparametrized",
        about="load",
        severity=Severity.ERROR,
        lenient=Severity.WARNING,
        phrase="{tensors} reparametrized",
        advice="convert it while loading (migrate=)",
        meaning="the same weight in another parametrization",
        documentation=cleandoc(
            """
            The weight is stored in other terms. Weight normalisation, for example, keeps a magnitude
            and a direction in place of the weight: as `weight_g` and `weight_v` when it was applied
            with `torch.nn.utils.weight_norm`, and as `parametrizations.weight.original0` and
            `original1` when it was applied with `torch.nn.utils.parametrizations.weight_norm`.

            Between those two forms the numbers are equal, and torch converts old checkpoints itself
            when the new form is loaded. In the other cases, convert in a hook: the weight of a
            weight-normed layer is `weight_v * (weight_g / norm(weight_v))`, with the norm over every
            dimension but the first (`torch._weight_norm(weight_v, weight_g, 0)`). In the other
            direction, apply the normalisation after the plain weight has been loaded.

            The same holds for the other ways in which torch stores a parameter:

            - `torch.nn.utils.spectral_norm` keeps `weight_orig`, and the buffers `weight_u` and `weight_v`;
            - `torch.nn.utils.parametrizations.spectral_norm` keeps `parametrizations.weight.original`, and
              the buffers `parametrizations.weight.0._u` and `0._v`;
            - `torch.nn.utils.prune` keeps `weight_orig`, and the buffer `weight_mask`;
            - any other parametrization keeps `parametrizations.weight.original`, and what it needs itself.

            Torch converts none of these while loading. From one form of spectral norm to the other, rename
            the keys. For a plain layer, the weight is `weight_orig * weight_mask` if it was pruned, and
            `weight_orig / torch.dot(weight_u, weight_orig.flatten(1) @ weight_v)` if it was normalised by
            its first dimension, as a `Linear` or a convolution is. Or call `torch.nn.utils.prune.remove`
            or `torch.nn.utils.remove_spectral_norm` on the old model, and save it again.
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
        documentation=cleandoc(
            """
            The tensor has as many elements as before and the same sizes in another arrangement, apart
            from sizes of 1. A GPT-2 style `Conv1D` that became a `Linear` transposes its weight; a
            pointwise convolution that became a `Linear` drops its last two dimensions:

            ```
            ~ conv.weight -> proj.weight   float32[64, 32, 1, 1] -> float32[64, 32]
            ```

            Whether the numbers were permuted or only reshaped follows from the code of the two layers.
            Convert them in a hook with `.t()`, `.permute()` or `.reshape()`. The load raises under
            `strict=False`, too.
            """
        ),
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
        documentation=cleandoc(
            """
            The layer that gives the model's outputs has another number of them, and everything else
            about it is the same. A layer counts as a head if it comes last in the `state_dict`, or if
            its name says so (`head`, `classifier`, `logits`, or `fc` at the top level).

            ```
            ! head.weight   float32[1000, 512] -> float32[10, 512]   outputs 1000 -> 10
            ! head.bias     float32[1000] -> float32[10]   outputs 1000 -> 10
            ```

            This is often intended: a model is fine-tuned for another task. It still means that the old
            checkpoint does not load as it is, also under `strict=False`. Accept it for this checkpoint,
            with the reason, and drop the two keys before you load the rest. Otherwise, give the number
            of outputs in the registration's `kwargs`.
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
        documentation=cleandoc(
            """
            The checkpoint and the definition have the same key with different shapes. Torch raises on
            this, whether or not the load is strict. Typical causes are a default that changed, such as
            the width of a hidden layer, and a constructor argument that the registration does not give.

            ```
            ! layers.0.weight   float32[64, 3] -> float32[128, 3]
            ```

            Where an argument of the constructor has a size that the checkpoint has otherwise, the check
            builds the model once more with the checkpoint's, without weights. If the checkpoint then
            loads, the report says so; the same is tried for a number of layers, and for a switch whose
            name is in the keys that one side lacks (`bias`, `aux`). The advice is then `it loads with
            width=64: build the model so, and give this in kwargs`.

            If the size is an argument of the constructor, pass the old value in the registration's
            `kwargs`, or take it from the checkpoint in a factory with a parameter named `checkpoint`.
            If the new size is meant, old weights need a conversion of their own, for example an
            interpolation of position embeddings in a hook.
            """
        ),
    ),
)
