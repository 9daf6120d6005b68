"""Multilingual LibriSpeech (Pratap et al., arXiv 2012.03411) as it is downloaded and unpacked.

`mls_{language}/{split}/transcripts.txt` (id, tab, text) and `mls_{language}/{split}/audio/{speaker}/{book}/{id}.flac`
(`.opus` in the smaller edition `mls_{language}_opus`).
"""

from __future__ import annotations

import re

from pipeline.errors import ConfigurationError
from pipeline.sources.datasets.base import Corpus, Part, Utterance, open_root, uri_of

LANGUAGES = {
    "dutch": "nl",
    "english": "en",
    "french": "fr",
    "german": "de",
    "italian": "it",
    "polish": "pl",
    "portuguese": "pt",
    "spanish": "es",
}
_ID = re.compile(r"^(\d+)_(\d+)_\d+$")  # speaker, book, number


def read(root: str, config: str, split: str, reference: str) -> Part:
    """One language's split. The clips are transcribed where they lie.

    Raises:
        ConfigurationError: it is not there.
    """
    files, path = open_root(root)
    if config not in LANGUAGES:
        raise ConfigurationError(f"--configs {config}: MLS has {', '.join(LANGUAGES)}")
    editions = {f"mls_{config}": "flac", f"mls_{config}_opus": "opus"}
    folder = next((name for name in editions if files.exists(f"{path}/{name}/{split}/transcripts.txt")), None)
    if folder is None or uri_of(root, path) is None:
        raise ConfigurationError(f"--input {root}: no mls_{config}/{split}/transcripts.txt there")
    base, extension = f"{path}/{folder}/{split}", editions[folder]
    part = Part(config, split, LANGUAGES[config], [])
    data = files.cat_file(f"{base}/transcripts.txt")
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        name, _, text = line.rstrip("\r").partition("\t")
        match = _ID.match(name)
        if match and text.strip() and "\ufffd" not in text:
            uri = uri_of(root, f"{base}/audio/{match[1]}/{match[2]}/{name}.{extension}")
            part.utterances.append(Utterance(f"{name}.{extension}", text, name, uri))
        elif line.strip():
            part.problems.append(f"{folder}/{split}/transcripts.txt line {number}: left out, not id and text")
    return part


CORPUS = Corpus(read, "transcript", "mls")
