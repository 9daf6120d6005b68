from __future__ import annotations

from pipeline import identity


def test_a_place_outlives_its_content() -> None:
    assert identity.place("s3://b/a.wav", None, None) == "s3://b/a.wav"
    assert identity.place("s3://b/a.wav", 30.0, 60.25) == "s3://b/a.wav#t=30,60.25"
    assert identity.place("s3://b/a.wav", None, 5.0) == "s3://b/a.wav#t=0,5"
    assert identity.place("s3://b/a.wav", 5.0, None) == "s3://b/a.wav#t=5"
    assert identity.place("s3://b/a.wav", 5.0, None, "mine") == "id:mine"
