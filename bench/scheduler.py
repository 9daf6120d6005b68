"""vLLM's scheduler, counted. A module of its own: it imports vLLM, whose log level is read at its first import."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput

from bench.counting import COUNTS, Counts


class CountingScheduler(AsyncScheduler):
    """What vLLM uses by default; writes bench.counting.Counts into the file that COUNTS names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counts = Counts()

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        output = super().schedule(throttle_prefills)
        if new := output.scheduled_new_reqs:
            self._counts.requests += len(new)
            self._counts.cached_tokens += sum(request.num_computed_tokens for request in new)
        self._counts.encoder_runs += sum(map(len, output.scheduled_encoder_inputs.values()))
        if new or output.scheduled_encoder_inputs:
            Path(os.environ[COUNTS]).write_text(json.dumps(asdict(self._counts)), "utf-8")
        return output
