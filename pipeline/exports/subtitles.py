"""Captions as files: SubRip and WebVTT."""

from __future__ import annotations

import html

import pysubs2

from pipeline.exports.captions import Caption, captions
from pipeline.exports.spoken import Row, channel_alone, is_conversation, label


def srt(row: Row) -> str:
    """SubRip, in plain text: `SPEAKER_00: ` before a caption where several speak, or `[channel] `."""
    subtitles = pysubs2.SSAFile()
    named = label if is_conversation(row) else channel_alone
    for caption in captions(row["segments"], row.get("words"), named):
        _add(subtitles, caption, caption.text.replace("-->", "→"))
    return subtitles.to_string("srt", keep_ssa_tags=True)


def vtt(row: Row) -> str:
    """WebVTT, with a voice tag (`<v SPEAKER_00>`) before a caption whose speaker is known."""
    return _vtt(row, with_times=False)


def vtt_words(row: Row) -> str:
    """WebVTT with the time of each word that has one (`<00:00:01.200>`), for players that mark the words said."""
    return _vtt(row, with_times=True)


def _vtt(row: Row, with_times: bool) -> str:
    subtitles = pysubs2.SSAFile()
    for caption in captions(row["segments"], row.get("words"), channel_alone):
        text = _timed(caption) if with_times else html.escape(caption.text, quote=False)
        voice = html.escape(" ".join((caption.speaker or "").split()), quote=False)
        _add(subtitles, caption, f"<v {voice}>{text}" if voice else text)
    return subtitles.to_string("vtt", keep_ssa_tags=True)


def _timed(caption: Caption) -> str:
    """A caption's text, escaped, with times before words. They must lie within the caption, and grow."""
    line, done = caption.text, ""
    last_ms, end_ms = round(caption.start_s * 1000), round(caption.end_s * 1000)
    at = len(channel_alone(caption.speaker, caption.channel))
    for word in caption.words:
        while line[at].isspace():
            at += 1
        start_ms = round(word.start_s * 1000)
        if word.is_timed and last_ms < start_ms < end_ms:
            done += (
                html.escape(line[:at], quote=False)
                + f"<{pysubs2.formats.webvtt.WebVTTFormat.ms_to_timestamp(start_ms)}>"
            )
            line, at, last_ms = line[at:], 0, start_ms
        for character in word.text:  # a line may end within a word, behind a hyphen
            while line[at] != character:
                at += 1
            at += 1
    return done + html.escape(line, quote=False)


def _add(subtitles: pysubs2.SSAFile, caption: Caption, text: str) -> None:
    event = pysubs2.SSAEvent(start=round(caption.start_s * 1000), end=round(caption.end_s * 1000))
    event.plaintext = text.replace("\\", "\N{FULLWIDTH REVERSE SOLIDUS}")  # \N and \h mean something here
    subtitles.append(event)
