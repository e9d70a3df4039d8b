"""The contexts of the stages of one run: what each is given to work with, made of the records of those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.config import RuntimeOptions
from pipeline.events import Reporter
from pipeline.fingerprint import config_hash, digest_json
from pipeline.interrupts import StopFlag
from pipeline.observe import digest_inputs
from pipeline.records import StageRecord, promise, run_key
from pipeline.stage import BeginsEarly, Stage, StageContext
from pipeline.stat_cache import CACHE_NAME, StatCache
from pipeline.workspace import Workspace


class Contexts:
    """Makes the contexts of `stages`.

    Attributes:
        hashes: the config hash of each stage, by its name.
        run_name: `<profile>-<hash8>` of all of them.
        cache: what is remembered of the files of this run.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        workspace: Workspace,
        profile: str,
        runtime: RuntimeOptions,
        reporter: Reporter,
        stop: StopFlag,
    ) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._workspace = workspace
        self._profile = profile
        self._runtime = runtime
        self._reporter = reporter
        self._stop = stop
        self.hashes = {
            stage.name: config_hash(stage=stage.name, version=stage.version, config=stage.config) for stage in stages
        }
        self.run_name = f"{profile}-{digest_json(self.hashes)[:8]}"
        self.cache = StatCache(workspace.checkpoints / CACHE_NAME, run=self.run_name)

    def of(self, stage: Stage, records: Mapping[str, StageRecord], *, pending: str = "") -> StageContext:
        """Return the context of a stage whose upstream stages have `records`; `pending` names one still at work."""
        early = stage.begins_early_on if isinstance(stage, BeginsEarly) else ()
        promises = {name: self._promise(name, records) for name in stage.inputs if name in early}
        kept = {name: digest for name, digest in promises.items() if name == pending}
        digests = digest_inputs(stage, records, workspace=self._workspace, cache=self.cache, promises=kept)
        return StageContext(
            stage=stage.name,
            run=self.run_name,
            profile=self._profile,
            workspace=self._workspace,
            config_hash=self.hashes[stage.name],
            input_digests=digests,
            inputs={name: records[name] for name in stage.inputs if name != pending},
            settings={name: each.config.model_dump(mode="json") for name, each in self._stages.items()},
            runtime=self._runtime,
            reporter=self._reporter,
            stop=self._stop,
            promised_digest=digest_json({**digests, **promises}) if promises else "",
        )

    def has_other_work(self, stage: Stage, records: Mapping[str, StageRecord], *, pending: str) -> bool:
        """Return whether there is anything of this stage and its config but what began while `pending` was at work."""
        context = self.of(stage, records, pending=pending)
        own = run_key(context.config_hash, context.inputs_digest)
        folder = self._workspace.checkpoints / stage.name
        return any(not path.name.startswith(own) for path in folder.glob(f"{context.config_hash}*"))

    def _promise(self, name: str, records: Mapping[str, StageRecord]) -> str:
        """Return a digest of all that determines the outputs of the stage `name`, which stands for theirs."""
        inputs = digest_inputs(self._stages[name], records, workspace=self._workspace, cache=self.cache)
        return promise(name, self.hashes[name], inputs)
