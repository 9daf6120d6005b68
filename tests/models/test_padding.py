from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np

from pipeline.models.padding import PadOnce, padded
from pipeline.models.protocol import Clip, Request


def test_all_requests_for_a_window_share_one_padded_array() -> None:
    pad = PadOnce(lambda samples: padded(samples, 6.0))
    window = Request(np.full(16_000, 16384, np.int16))
    audio = pad(window)
    assert audio[0] == 0.5
    assert pad(replace(window, language="en")) is audio
    assert pad(Request(np.zeros(16_000, np.int16)))[0] == 0.0
    assert Clip(np.zeros(16_000, np.int16)).audio_id != Request(np.zeros(16_000, np.int16)).audio_id
    held = weakref.ref(audio)
    del audio
    assert held() is None, "it goes with the last request that holds it"
