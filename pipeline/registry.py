"""Which tasks, families of models and runtimes there are. Adding one is a file or a folder, and a line here.

The settings take their choices from here, so that this module imports nothing: `tasks.load`, `family.family` and
`runtime.runtime` resolve the names.
"""

TRANSCRIBE, ASK = "transcribe", "ask"
# By name. A task is one that settings name (`Settings.task_name`).
TASKS = {
    TRANSCRIBE: "pipeline.tasks.transcribe.kept:transcription",
    ASK: "pipeline.tasks.ask.task:Asking",
}
# A checkpoint is of the first family that matches it.
FAMILIES = {
    "voxtral": "pipeline.models.families.voxtral:FAMILY",
    "voxtral_realtime": "pipeline.models.families.voxtral_realtime:FAMILY",
    "whisper": "pipeline.models.families.whisper:FAMILY",
    "cohere": "pipeline.models.families.cohere:FAMILY",
    "asr": "pipeline.models.families.asr:FAMILY",
    "server": "pipeline.models.families.server:FAMILY",
    "scripted": "pipeline.models.families.scripted:FAMILY",
}
RUNTIMES = {
    "vllm": "pipeline.models.runtimes.vllm:RUNTIME",
    "transformers": "pipeline.models.runtimes.transformers:RUNTIME",
    "server": "pipeline.models.runtimes.server:RUNTIME",
    "scripted": "pipeline.models.runtimes.scripted:RUNTIME",
}
