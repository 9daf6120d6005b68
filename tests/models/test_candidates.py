from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.candidates import Candidates


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=5))
def test_the_questions_follow_every_string_to_its_end(strings: list[list[int]]) -> None:
    named = {str(ids): [*ids, 9] for ids in strings}  # 9 ends each: none is the beginning of another
    candidates = Candidates(named)
    answers = {question.prefix: dict.fromkeys(question.following, -1.0) for question in candidates.questions}
    shared = min(len(os.path.commonprefix(list(named.values()))), min(map(len, named.values())) - 1)  # noqa: RUF071
    assert candidates.logprobs(answers) == {name: -(len(ids) - shared) for name, ids in named.items()}
