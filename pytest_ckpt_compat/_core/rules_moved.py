"""The rules about tensors that both sides have, under other keys: CK103-105, CK107, CK108."""

from __future__ import annotations

from inspect import cleandoc

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.rule import Rule

#: What to do where nobody but the user can say what became of the tensors.
_CHOICE = "what is ambiguous needs your choice: ckpt-compat migrate asks, or takes --choose OLD=NEW"

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
        what=cleandoc(
            """
            The checkpoint was saved from a model that peft had wrapped, or it is an adapter alone. Beside
            the weights of the model, which peft has put under `base_layer`, there are those of the adapter
            (`lora_A`, `lora_B`), and the definition has a place for neither.
            """
        ),
        why=cleandoc(
            """
            A strict load raises. To rename the weights under `base_layer` and to drop those of the adapter
            gives the model as it was before it was fine-tuned.
            """
        ),
        example=cleandoc(
            """
              ~ base_model.model.layers.{0,1}.q_proj.base_layer.* -> layers.{0,1}.q_proj.*   4 tensors
              ~ base_model.model.layers.{0,1}.q_proj.{lora_A,lora_B}.default.weight   4 tensors
            """
        ),
        mend=cleandoc(
            """
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
        what=cleandoc(
            """
            Every key on one side begins with a prefix that the other side lacks. Wrappers do this:
            `DataParallel` and `DistributedDataParallel` put `module.` before each key, `torch.compile`
            puts `_orig_mod.`, and a LightningModule puts the attribute that holds the network, often
            `model.`. The row of the prefix stands for the keys that differ in nothing else. A key that
            was also renamed or resized is in another row, as the checkpoint has it. A wrapper in the middle
            of the keys is [CK103](#ck103).
            """
        ),
        why=cleandoc(
            """
            A strict load raises, and no key fits. Under `strict=False` nothing at all is loaded, and nothing
            raises; that is [CK406](#ck406).
            """
        ),
        example=cleandoc(
            """
            CK107 run: every key begins with _orig_mod.

              run.pt[model] -> models.Net (models.py:7)

              ~ _orig_mod.* -> *   4 tensors

              fix:    save model._orig_mod.state_dict(), or take "_orig_mod." off where the program loads the keys
              then:   register it with strip_prefix="_orig_mod.", as the program loads it
            """  # noqa: E501
        ),
        mend=cleandoc(
            """
            Mend the program first: `strip_prefix` in the registration makes the check pass, and the program
            would go on failing. Where the checkpoint has the prefix, save `model.module.state_dict()` in
            future, or take the prefix off where the program loads the keys, and then register the checkpoint
            with `strip_prefix`. Where the definition has it, load into the module in the wrapper, and
            register that.
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
        choice=_CHOICE,
        meaning="the same tensor under another key",
        what=cleandoc(
            """
            A tensor of the checkpoint has another key in the definition, most often because an
            attribute was renamed or a module moved. Torch reports the same fact as one missing and one
            unexpected key per tensor. Keys that follow one pattern share a row.

            The explanation is inferred from names, order and shapes. A row that is not certain says
            `likely`, or `ambiguous` with another key that would explain it as well; check such a row
            before relying on it.

            Where the keys differ in nothing but the name under which a wrapper keeps its module
            (`_orig_mod`, `_fsdp_wrapped_module`, `_checkpoint_wrapped_module`, `base_layer`, `module`),
            the row says which wrapper that is:

            ```
            ~ encoder._orig_mod.* -> encoder.*   8 tensors   wrapped by torch.compile in the checkpoint
            ```
            """
        ),
        why=cleandoc(
            """
            A strict load raises. Under `strict=False` the load does not raise, and the renamed layers
            silently stay at their random initialisation.
            """
        ),
        example=cleandoc(
            """
            CK103 old.json: 108 of 116 tensors renamed

              ~ blocks.{0..11}.norm{1,2}.* -> layers.{0..11}.norm{1,2}.*   48 tensors
              ~ blocks.{0..11}.attn.* -> layers.{0..11}.attn.*             36 tensors
              ~ blocks.{0..11}.mlp.fc{1,2}.weight -> layers.{0..11}.ffn.linear{1,2}.weight   24 tensors
            """
        ),
        mend=cleandoc(
            """
            Rename the attribute back, or translate old keys. `ckpt-compat migrate ID` writes the code. If a
            function of yours does that before the load, register it as [`migrate`](registering.md): the
            check applies it, too. A hook of the module needs no option, and the check runs it:

            ```python
            def rename_blocks(module, state_dict, prefix, *_):
                for key in [key for key in state_dict if key.startswith(prefix + "blocks.")]:
                    state_dict[prefix + "stages." + key[len(prefix + "blocks.") :]] = state_dict.pop(key)


            class Classifier(nn.Module):
                def __init__(self):
                    ...
                    self.register_load_state_dict_pre_hook(rename_blocks)
            ```
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
        choice=_CHOICE,
        meaning="one tensor became several",
        what=cleandoc(
            """
            One tensor of the checkpoint corresponds to several in the definition. The usual case is an
            attention layer whose joint projection became three.
            """
        ),
        why=cleandoc(
            """
            A strict load raises, and under `strict=False` the parts stay at random initialisation. Only
            names and shapes are known here, not the numbers. The order of the parts, and whether heads are
            interleaved, are for you to know.
            """
        ),
        example=cleandoc(
            """
            CK104 run: 6 of 12 tensors split

              ~ blocks.{0..2}.qkv.* -> blocks.{0..2}.{q,k,v}.*   6 tensors   split in 3
            """
        ),
        mend=cleandoc(
            """
            Split the tensor in a function registered as [`migrate`](registering.md), or in a hook of the
            module that owns it:

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
        choice=_CHOICE,
        meaning="several tensors became one",
        what=cleandoc(
            """
            Several tensors of the checkpoint correspond to one in the definition, as when the query,
            key and value projections of an attention layer became a joint one.
            """
        ),
        why=cleandoc(
            """
            A strict load raises, and under `strict=False` the joint tensor stays at random initialisation.
            The order of the parts within the joint tensor cannot be read off the shapes; it is in the code
            of the new layer.
            """
        ),
        example=cleandoc(
            """
            CK105 old.json: 72 of 164 tensors fused

              ~ blocks.{0..11}.attn.{q_proj,k_proj,v_proj}.* -> blocks.{0..11}.attn.qkv.*   24 tensors   3 fused into one
            """  # noqa: E501
        ),
        mend=cleandoc(
            """
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
)
