"""Speech corpora as they lie about, read into manifests: one small file per layout."""

from __future__ import annotations

from pipeline.sources.datasets import common_voice, fleurs, librispeech
from pipeline.sources.datasets.base import Corpus, Part, Sampling, write_manifest

__all__ = ["CORPORA", "Corpus", "Part", "Sampling", "write_manifest"]

CORPORA: dict[str, Corpus] = {
    "fleurs": fleurs.CORPUS,
    "common-voice": common_voice.CORPUS,
    "mls": librispeech.CORPUS,
}
