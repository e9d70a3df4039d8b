"""What there is of each stage of one run, on disk and in its code."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline.code_digest import code_digests
from pipeline.contexts import Contexts
from pipeline.graph import up_to
from pipeline.observe import Sight, observe
from pipeline.records import StageRecord
from pipeline.stage import BeginsEarly, Stage, StageContext


class Survey:
    """Looks at the `stages` of one run; whether edited code counts is up to `reruns_on_code_change` and each stage."""

    def __init__(self, stages: Sequence[Stage], contexts: Contexts, *, reruns_on_code_change: bool) -> None:
        self._stages = stages
        self._contexts = contexts
        self._reruns_on_code_change = reruns_on_code_change

    def sight(self, stage: Stage, context: StageContext, *, forced: Collection[str] = ()) -> Sight:
        """Return what there is of a stage, verified."""
        return observe(
            stage,
            context,
            is_forced=stage.name in forced,
            reruns_on_code_change=self._reruns_on_code_change or stage.reruns_on_code_change,
            code=self.code(stage),
            cache=self._contexts.cache,
        )

    def code(self, stage: Stage) -> dict[str, str]:
        """Return the digests of the functions of a stage as they are today."""
        configs = [before.config for before in up_to(self._stages, stage.name)]
        return code_digests(stage, configs=configs, cache=self._contexts.cache)

    def reachable(self, *, has_early: bool) -> list[tuple[Stage, StageContext]]:
        """Return the stages whose upstream stages have records, with their contexts.

        With `has_early` also those that may have begun before, while their upstream stage was at work.
        """
        records: dict[str, StageRecord] = {}
        reachable = []
        for stage in self._stages:
            missing = [name for name in stage.inputs if name not in records]
            early = stage.begins_early_on if has_early and isinstance(stage, BeginsEarly) else ()
            if not missing or (len(missing) == 1 and missing[0] in early):
                context = self._contexts.of(stage, records, pending="".join(missing))
                reachable.append((stage, context))
                if record := self.sight(stage, context).record:
                    records[stage.name] = record
        return reachable
