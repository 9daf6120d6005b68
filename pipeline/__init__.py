"""Batch speech processing with Voxtral: a bucket of recordings in, tables out. From Python, start at api.py."""

import os

__version__ = "0.2.0"

# What these libraries report to their makers of every process, unless they are told not to. They are told here, before
# any of them is imported; what the user has set stays. See SECURITY.md.
REPORTS_OFF = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
for _name, _value in REPORTS_OFF.items():
    os.environ.setdefault(_name, _value)
