"""The styles of a migration's code that differ from a plain function: how each is written, run and proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._check.compare import fits
from pytest_ckpt_compat._check.migration_writer import Proof, Sides, Writer, compared
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._definition.operations import by_rules
from pytest_ckpt_compat._definition.transformers_loading import by_conversions
from pytest_ckpt_compat._migrate import generate, toml_file, transformers
from pytest_ckpt_compat._migrate.body import Written
from pytest_ckpt_compat._migrate.owner import Owner, owner_of
from pytest_ckpt_compat._migrate.rules import Rule, Rules, RulesError
from pytest_ckpt_compat._migrate.steps import COPY, MOVE, Plan

#: A tensor that BatchNorm has had since version 2: where it is there, its version does not matter.
_COUNTER = "num_batches_tracked"


class _Timm(Writer):
    style = "timm"
    meets_new_ones = True

    def anew(self, key: str) -> str:
        return f"new[{key!r}] = model.state_dict()[{key!r}] above the last return"

    def function(self, source: str) -> proof.Migration:
        run: Callable[..., Mapping[str, Any]] = proof.compiled(source, "checkpoint_filter_fn")
        return lambda state_dict: run(state_dict, None)


class _Lightning(Writer):
    style = "lightning"
    meets_new_ones = True

    def anew(self, key: str) -> str:
        return f"checkpoint['state_dict'].setdefault({key!r}, self.state_dict()[{key!r}])"

    def written(self, unproven: Mapping[Rule, str]) -> Written:
        return replace(super().written(unproven), owner=self.sides.verdict.new_label.partition(" (")[0])

    def function(self, source: str) -> proof.Migration:
        run: Callable[..., Any] = proof.compiled(source, "on_load_checkpoint")

        def migrate(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
            checkpoint: dict[str, Any] = {"state_dict": state_dict}
            run(None, checkpoint)
            found: Mapping[str, Any] = checkpoint["state_dict"]
            return found

        return migrate


class _RulesFile(Writer):
    style = "rules"

    def anew(self, key: str) -> str:
        return f"{super().anew(key)}, in a function: --style function"

    def source(self, written: Written) -> str:
        return toml_file.text_of(written)

    def function(self, source: str) -> proof.Migration:
        return by_rules(toml_file.rules_in(source))


class _Transformers(Writer):
    style = "transformers"

    def source(self, written: Written) -> str:
        return transformers.text_of(written, self.plan.live, list(self.sides.old.tensors))

    def function(self, source: str) -> proof.Migration:
        """What transformers sets of a model's parameters; RulesError where it refuses a pattern."""
        try:
            conversions = proof.compiled(source, "CONVERSIONS")
        except ValueError as error:
            raise RulesError(str(error)) from error
        except ImportError as error:
            problem = f"cannot be proven here ({error})"
            advice = "install transformers 5 or later, or choose another style"
            raise UsageError("--style transformers", problem, advice) from error
        return by_conversions(conversions, self.sides.new)

    def prove(self, source: str) -> Proof:
        """Loads with transformers' own functions, which ignore what no key of the model is for."""
        function = self.function(source)
        traced = proof.traced(function, self.plan.live, self.sides.old)
        copied = {key for step in self.plan.live if step.op == COPY for key in step.new}
        made = {key for step in self.plan.live for key in step.new}
        old, new = self.sides.old.tensors, self.sides.new.tensors
        # A tensor of another size is not set, and is left to decide.
        known = {key for key in new if key in made or (key in old and fits(old[key], new[key]))}
        wanted = {key: origin for key, origin in traced.wanted.items() if key in known - copied}
        given = {key: origin for key, origin in traced.given.items() if key not in copied}
        unproven, problems = compared(replace(traced, wanted=wanted, given=given))
        if problems:
            return Proof(unproven, {}, problems)

        def tied(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
            found = dict(function(state_dict))
            return found | {s.new[0]: state_dict[s.old[0]] for s in self.plan.live if s.op == COPY}

        return self.shown(unproven, (), self.loaded(tied))


class _Hook(Writer):
    style = "hook"
    meets_new_ones = True

    def _rules(self) -> Rules:
        # Versions are kept by the paths of the whole: only the outermost module's hook sees them.
        together = () if self._moves_versions() else (*self.plan.live, *self.plan.doubtful)
        self.owner: Owner = owner_of(together, self.plan.live, self.sides.old, self.sides.new)
        try:
            return generate.rules_for(self.owner.steps, list(self.owner.keys))
        except RulesError:
            self.owner = owner_of((), self.plan.live, self.sides.old, self.sides.new)
            return generate.rules_for(self.owner.steps, list(self.owner.keys))

    def absolute(self, key: str) -> list[str]:
        return self.owner.absolute(key)

    def anew(self, key: str) -> str:
        """The hook is called for checkpoints of today, too, which have the tensor."""
        within = (path for path in self.owner.paths if not path or key.startswith(f"{path}."))
        path = next(within, None)
        where = " (in a hook of the module that has it)" if path is None else ""
        name = key.removeprefix(f"{path}.") if path else key
        return f"state_dict.setdefault(prefix + {name!r}, module.state_dict()[{name!r}]){where}"

    def written(self, unproven: Mapping[Rule, str]) -> Written:
        owner = self.owner
        relative = replace(self.plan, live=owner.steps, doubtful=owner.relative(self.plan.doubtful))
        new = dict.fromkeys(owner.new_keys)
        marker = self.marker(self.rules, owner.steps, new)
        needs_version = not marker and not generate.leaves_alone(self.rules, list(new))
        name = owner.name or self.sides.verdict.new_label.partition(" (")[0]
        return Written(
            self.rules,
            generate.doubtful_rules(relative, list(owner.keys)),
            self.remarks(),
            unproven,
            self.title(),
            owner.paths == ("",) and self._moves_versions(),
            marker,
            self._next_version() if needs_version else 0,
            name,
        )

    def _moves_versions(self) -> bool:
        """Whether a module whose version a load may ask for has another path in the model."""
        old = self.sides.old
        asked = [name for name in old.versions or {} if name and f"{name}.{_COUNTER}" not in old.tensors]
        moved = {
            step.old[0].rpartition(".")[0]
            for step in self.plan.live
            if step.op == MOVE and step.old[0].rpartition(".")[0] != step.new[0].rpartition(".")[0]
        }
        return any(f"{module}.".startswith(f"{name}.") for module in moved for name in asked)

    def _next_version(self) -> int:
        versions = (self.sides.old.versions or {}, self.sides.new.versions or {})
        return 1 + max(each.get(path, 1) for each in versions for path in self.owner.paths)

    def prove(self, source: str) -> Proof:
        upgrade = proof.compiled(source, "upgrade")
        definition = self.sides.definition
        version = self.written({}).version
        if definition is None:
            return self._prove_alone(upgrade)
        hooked = proof.with_hooks(definition, upgrade, self.owner.paths, version)
        unproven, problems = compared(proof.traced_load(definition, hooked, self.plan.live, self.sides.old))
        verdict = check_structure(self.sides.old, hooked, self.sides.policy)
        today = self.sides.new
        if version:
            versions = {**(today.versions or {}), **dict.fromkeys(self.owner.paths, version)}
            today = replace(today, versions=versions)
        again, more = compared(proof.traced_load(definition, hooked, (), today))
        if again or more:
            problems = (*problems, "with the hook, a checkpoint of today is read in another way")
        return self.shown(unproven, problems, verdict)

    def _prove_alone(self, upgrade: Any) -> Proof:
        """Where no definition is known: the hook as that of the outermost module, on the two key lists."""

        def migrate(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
            for path in self.owner.paths:
                upgrade(None, state_dict, f"{path}." if path else "", {}, True, [], [], [])
            return state_dict

        unproven, problems = compared(proof.traced(migrate, self.plan.live, self.sides.old))
        return self.shown(unproven, problems, self.loaded(migrate))


#: Style -> what writes and proves it.
WRITERS: Mapping[str, Callable[[Sides, Plan], Writer]] = {
    "function": Writer,
    "hook": _Hook,
    "transformers": _Transformers,
    "timm": _Timm,
    "lightning": _Lightning,
    "rules": _RulesFile,
}
