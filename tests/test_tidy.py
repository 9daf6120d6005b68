from __future__ import annotations

import pytest

from jobs import tidy as job
from pipeline import store, tidy
from pipeline.command_line import load
from pipeline.errors import ConfigurationError
from pipeline.ledger import parts, starts
from pipeline.sources.walk import walk
from tests.ledger.test_parts import BEGUN, TABLES, begin, finish, part, published

LATER = "2026-11-02T00:00:00+00:00"
EARLIER = "2026-11-01T00:00:00+00:00"


def wanted(place: str, *more: str) -> tidy.Tidy:
    return load(["--output", place, "--min-age-hours", "0", *more], tidy.Tidy)


def below(place: str) -> set[str]:
    """What a bare glob reads, and the starts."""
    found = [path for table in (*TABLES, "started") for path, _ in walk(f"{place.rstrip('/')}/{table}")]
    return {path.rpartition("run_id=")[2].partition("/")[0] for path in found if "run_id=" in path} | {
        path.rpartition("/")[2] for path in found if path.endswith(".json")
    }


def test_what_nobody_should_read_goes(place: str) -> None:
    """Rows of a run that a later one has overtaken, and a file that its driver did not live to commit."""
    begin(place, "overtaken", started_at=EARLIER).write(part("a"))
    whole = begin(place, "whole", started_at=LATER)
    whole.write(part("a", "b"))
    store.create(f"{whole.uri}/segments/run_id=whole/part-000001-dead.parquet", b"half a part")
    finish(whole, at=LATER)
    begin(place, "waiting", started_at=LATER, fingerprint="another").write(part("c"))

    assert job.main(["--output", place, "--dry-run"]) == 0
    assert below(place) == {"overtaken", "whole", "waiting", "overtaken.json", "whole.json", "waiting.json"}
    young = tidy.find(load(["--output", place], tidy.Tidy))
    assert not young.left_over
    assert "min-age-hours" in young.kept["overtaken"]

    found = tidy.find(wanted(place))
    assert {(file.run_id, file.why) for file in found.left_over} == {
        ("overtaken", tidy.OVERTAKEN),
        ("whole", tidy.NOT_COMMITTED),
    }
    assert list(found.kept) == ["waiting"]
    assert job.main(["--output", place, "--min-age-hours", "0"]) == 0
    assert below(place) == {"whole", "waiting", "whole.json", "waiting.json"}
    assert published(place) == ["a", "b"]
    for report in parts.reports(place):
        for table in TABLES:
            assert all(len(parts.read_part(place, name)) for name in report[table] if table != "segments")
    assert not tidy.find(wanted(place)).left_over


def test_a_stopped_run_is_given_up_by_name_alone(place: str) -> None:
    assert starts.claim(place, 0, BEGUN, "waiting") == "waiting"
    waiting = begin(place, "waiting", started_at=EARLIER)
    waiting.write(part("c"))
    waiting.write(part("d"))
    assert not tidy.find(wanted(place)).left_over
    named = [file.uri.rpartition("/")[2] for file in tidy.find(wanted(place, "--run-id", "waiting")).left_over]
    assert named[0].endswith(".0.claim"), "nobody joins it any more"
    assert named[1:3] == ["part-000001.parquet", "part-000000.parquet"], "what is left is of one piece"
    assert named[-1] == "waiting.json"
    assert job.main(["--output", place, "--min-age-hours", "0", "--run-id", "waiting"]) == 0
    assert not below(place)
    assert starts.claim(place, 0, BEGUN, "anew") == "anew"


def test_runs_that_cannot_be_given_up_are_named(place: str) -> None:
    finish(begin(place, "done", started_at=EARLIER))
    with pytest.raises(ConfigurationError, match="published"):
        tidy.find(wanted(place, "--run-id", "done"))
    with pytest.raises(ConfigurationError, match=r"unexpected argument out/ \(did you mean --output out/\?\)"):
        load(["out/"], tidy.Tidy)
    with pytest.raises(ConfigurationError, match="no such run"):
        tidy.find(wanted(place, "--run-id", "never"))
