"""The lines of code that do what rules say: the table of renames, and a block for each operation."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_ckpt_compat._migrate import python, series
from pytest_ckpt_compat._migrate.rules import Joint, Rename, Rule, Rules
from pytest_ckpt_compat._migrate.steps import COPY, DROP, MOVE, Op
from pytest_ckpt_compat._migrate.templates import Template


@dataclass(frozen=True)
class Doubtful:
    """A rule that is written as a comment: it is likely, and the user has not accepted it.

    Attributes:
        rule: the rule.
        evidence: why it is believed.
        hints: what ``--choose`` is given, each, to accept it.
    """

    rule: Rule
    evidence: tuple[str, ...]
    hints: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """What is to be written as code.

    Attributes:
        rules: the rules that are certain.
        doubtful: those that are written as comments.
        decisions: remarks on what is open, a line each.
        unproven: rule -> why it is not proven.
        title: what the code does, a line.
        metadata: whether versions of modules have to be given the new names.
        marker: an old key that shows a checkpoint from before, or "" if the code needs none.
        version: the version of the module that a hook asks for, or 0.
        owner: the class of the module that a hook belongs to.
        cautions: rule -> what it rests on that nothing proves.
        doubts: the same of tensors that no rule is for, a line each.
    """

    rules: Rules
    doubtful: tuple[Doubtful, ...] = ()
    decisions: tuple[str, ...] = ()
    unproven: Mapping[Rule, str] = field(default_factory=dict)
    title: str = ""
    metadata: bool = False
    marker: str = ""
    version: int = 0
    owner: str = ""
    cautions: Mapping[Rule, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def computes(self) -> bool:
        """Whether the code calls functions of torch."""
        return any(each.op.name in _CALLS for each in self.rules.joints)

    @property
    def renames(self) -> bool:
        """Whether there is a table of renames."""
        return bool(self.rules.renames) or any(isinstance(each.rule, Rename) for each in self.doubtful)

    @property
    def matches(self) -> bool:
        """Whether the code looks for keys that match patterns, or may once a comment in it is code."""
        return bool(self.rules.joints) or any(isinstance(each.rule, Joint) for each in self.doubtful)


#: Operations whose code calls functions of torch; those of others are methods.
_CALLS = ("cat", "stack", "weight_norm", "norm_and_direction", "unspectral")
_WHAT = {
    "chunk": "Split in equal parts.",
    "split": "Split in parts.",
    "unstack": "Take apart.",
    "cat": "Join.",
    "stack": "Stack.",
    "permute": "Transpose.",
    "squeeze": "Take dimensions of size 1 away.",
    "unsqueeze": "Add dimensions of size 1.",
    "weight_norm": "Take weight norm off.",
    "norm_and_direction": "Divide into magnitude and direction.",
    "unspectral": "Take spectral norm off.",
    "masked": "Apply the mask of a pruned weight.",
    "copy": "Give a tied tensor its other name, too.",
    "drop": "Leave these out.",
}


def helpers(written: Written) -> list[str]:
    """The table of renames and the functions that the code needs, each after two empty lines."""
    lines: list[str] = []
    if written.renames:
        lines += ["", *_table(written), "", "", "def rename(key):"]
        lines += ['    """Replaces the first of the patterns that is found in a key."""']
        lines += ["    for old, new in RENAMES:", "        renamed, found = re.subn(old, new, key, count=1)"]
        lines += ["        if found:", "            return renamed", "    return key"]
    if written.matches:
        lines += ["", "", "def matches(pattern, keys):", '    """Matches the pattern with whole keys."""']
        lines += ["    found = [re.fullmatch(pattern, key) for key in keys]"]
        lines += ["    return [each for each in found if each]"]
    return lines


def imports(written: Written, *others: str) -> list[str]:
    """The imports that the code needs, in the order of isort."""
    standard = ["import re"] if written.renames or written.matches else []
    standard += [each for each in others if each.startswith("from collections")]
    torch = ["import torch"] if written.computes else []
    return [*standard, *([""] if standard and torch else []), *torch]


def _table(written: Written) -> Iterator[str]:
    yield "RENAMES = ["
    for rename in written.rules.renames:
        yield from remarks(written, rename, 4)
        yield from _row(rename)
    previous: list[str] = []
    for each in written.doubtful:
        if isinstance(each.rule, Rename):
            reasons = list(likely(each, 4))
            yield from reasons if reasons != previous else []
            previous = reasons
            yield from python.commented(_row(each.rule), 4)
    yield "]"


def _row(rename: Rename) -> list[str]:
    return python.pair(python.raw(rename.pattern), python.replacement(rename.new), 4)


def remarks(written: Written, rule: Rule, indent: int) -> Iterator[str]:
    """What a rule rests on that nothing proves, and why it is not proven."""
    if rule in written.cautions:
        yield from python.comment(f"in doubt: {written.cautions[rule]}", indent)
    if rule in written.unproven:
        yield from python.comment(f"not proven: {written.unproven[rule]}", indent)


def likely(each: Doubtful, indent: int) -> Iterator[str]:
    """Why a rule is believed, and how it is accepted."""
    yield from python.comment(f"likely: {'; '.join(each.evidence)}", indent)
    options = " ".join(f"--choose {shlex.quote(hint)}" for hint in each.hints)
    yield from python.comment(f"to accept it: {options}", indent)


def decisions(written: Written) -> Iterator[str]:
    """What is open, and what is in doubt of tensors that no rule is for, a comment each."""
    for each in written.decisions:
        yield from python.comment(f"decide: {each}")
    for each in written.doubts:
        yield from python.comment(f"in doubt: {each}")


def blocks(written: Written, indent: int) -> Iterator[str]:
    """The operations, which take tensors from ``old`` and put others into ``new``."""
    pad = " " * indent
    for joint in written.rules.joints:
        yield f"{pad}# {_WHAT[joint.op.name]}"
        yield from remarks(written, joint, indent)
        yield from _block(joint, indent)
    for each in written.doubtful:
        if isinstance(each.rule, Joint):
            yield f"{pad}# {_WHAT[each.rule.op.name]}"
            yield from likely(each, indent)
            torch = each.rule.op.name in _CALLS and not written.computes
            lines = [*([f"{pad}import torch"] if torch else []), *_block(each.rule, indent)]
            yield from python.commented(lines, indent)


def _block(joint: Joint, indent: int) -> list[str]:
    pad, inner = " " * indent, " " * (indent + 4)
    pattern = python.raw(joint.pattern)
    line = f"{pad}for found in matches({pattern}, old):"
    if len(line) <= python.WIDTH:
        lines = [line]
    else:
        named = python.assigned("pattern", pattern, indent)
        lines = [*named, f"{pad}for found in matches(pattern, old):"]
    return lines + [f"{inner}{each}" for each in _statements(joint, indent + 4)]


def _statements(joint: Joint, indent: int) -> list[str]:
    """The statements for one match, without their indentation."""
    op = joint.op
    if op == DROP:
        return ["del old[found[0]]"]
    if op in (COPY, MOVE):
        value = "old[found[0]]" if op == COPY else "old.pop(found[0])"
        return [*_name("name", joint.new[0], indent), f"new[name] = {value}"]
    if len(joint.new) > 1:
        return _dividing(joint, indent)
    lines = _name("name", joint.new[0], indent)
    if not joint.others:
        return [*lines, f"new[name] = old.pop(found[0]){_method(op)}"]
    if op.name in ("cat", "stack"):
        counted = series.of_parts(joint)
        names = _counted(counted, indent) if counted else _names(("found[0]",), joint.others, indent)
        return [*names, *lines, *_joining(op)]
    variables = {"weight_norm": ("g", "v"), "unspectral": ("w", "u", "v"), "masked": ("w", "mask")}[op.name]
    taken = _names(("found[0]",), joint.others, indent)
    return [
        *taken,
        *lines,
        f"{', '.join(variables)} = [old.pop(each) for each in names]",
        f"new[name] = {_formula(op)}",
    ]


def _name(variable: str, template: Template, indent: int) -> list[str]:
    lines = python.assigned(variable, python.formatted(template), indent)
    return [line[indent:] for line in lines]


def _names(first: Sequence[str], templates: Sequence[Template], indent: int) -> list[str]:
    """The list ``names``, one a line."""
    return [
        line[indent:] for line in python.listed("names", [*first, *map(python.formatted, templates)], indent)
    ]


def _counted(found: series.Series, indent: int) -> list[str]:
    """The list ``names`` of keys that differ in a number, as a comprehension."""
    templates, number = found
    texts = [python.formatted(each) for each in templates]
    line = f"names = [{texts[0]} for i in range({number})]"
    if len(texts) == 1 and indent + len(line) <= python.WIDTH:
        return [line]
    if len(texts) == 1:
        return ["names = [", f"    {texts[0]}", f"    for i in range({number})", "]"]
    inner = [f"        {text}," for text in texts]
    return [
        "names = [",
        "    name",
        f"    for i in range({number})",
        "    for name in (",
        *inner,
        "    )",
        "]",
    ]


def _dividing(joint: Joint, indent: int) -> list[str]:
    op, numbers = joint.op, joint.op.numbers
    taken = "old.pop(found[0])"
    if op.name == "norm_and_direction":
        lines = _names((), joint.new, indent)
        lines += [f"weight = {taken}", f"parts = [torch.norm_except_dim(weight, 2, {numbers[0]}), weight]"]
        return [*lines, "new.update(zip(names, parts))"]
    counted = series.of_results(joint)
    lines = _counted(counted, indent) if counted else _names((), joint.new, indent)
    along = f", dim={numbers[0]}" if numbers[0] else ""
    if op.name == "chunk":
        lines.append(f"parts = {taken}.chunk({len(joint.new)}{along})")
    elif op.name == "split":
        sizes = ", ".join(map(str, numbers[1:]))
        lines.append(f"parts = {taken}.split([{sizes}]{along})")
    elif numbers[1] == 1:
        lines.append(f"parts = {taken}.unbind({numbers[0]})")
    else:
        lines += [f"slices = {taken}.unbind({numbers[0]})"]
        lines += [f"parts = [part for each in slices for part in each.chunk({numbers[1]}, dim={numbers[2]})]"]
    return [*lines, "new.update(zip(names, parts))"]


def _joining(op: Op) -> list[str]:
    along = f", dim={op.numbers[0]}" if op.numbers[0] else ""
    parts = "parts = [old.pop(each) for each in names]"
    if op.name == "cat":
        return [parts, f"new[name] = torch.cat(parts{along})"]
    each, inner = op.numbers[1:]
    if each == 1:
        return [parts, f"new[name] = torch.stack(parts{along})"]
    groups = f"pairs = [parts[i : i + {each}] for i in range(0, len(parts), {each})]"
    joints = f"new[name] = torch.stack([torch.cat(each, dim={inner}) for each in pairs])"
    return [parts, groups, joints]


def _method(op: Op) -> str:
    if op.name == "permute":
        return ".t()" if op.numbers == (1, 0) else f".permute({', '.join(map(str, op.numbers))})"
    return "".join(f".{op.name}({dim})" for dim in op.numbers)


def _formula(op: Op) -> str:
    if op.name == "weight_norm":
        return f"torch._weight_norm(v, g, {op.numbers[0]})"
    if op.name == "unspectral":
        first = f".movedim({op.numbers[0]}, 0)" if op.numbers else ""
        return f"w / torch.dot(u, w{first}.flatten(1) @ v)"
    return "w * mask"


def texts(items: Iterable[str]) -> str:
    """Lines as text with a line end each."""
    return "".join(f"{item}\n" for item in items)
