"""The demo checkpoint's training sees the ids that a server makes, and computes what the engine will."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.training import skills, vocabulary
from demo.training.forest import Tree, pack
from demo.training.measure import of_tree
from demo.training.model import SmallVoxtral
from demo.training.prompts import Prompts
from demo.training.recorded import Recording


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    return Prompts(tmp_path_factory.mktemp("tokenizer"))


def test_the_committed_tokenizer_is_the_one_of_the_training_code(tmp_path: Path) -> None:
    vocabulary.write(tmp_path)
    committed = Path(__file__).parents[2] / "demo/model/tekken.json"
    assert (tmp_path / "tekken.json").read_text() == committed.read_text()


def test_every_piece_of_a_question_is_one_token(prompts: Prompts) -> None:
    for text in skills.texts():
        assert len(prompts.text(text)) == len(vocabulary.cut(text)), text


@pytest.mark.parametrize(
    ("turns", "chunks", "names"),
    [
        (["How many digits?"], (1,), ()),
        (["Connect me."], (2,), ("extension", "dial")),
        (
            [skills.TWO.format(first="calls/1.wav", second="0f3ab3", question="Do both say the same number?")],
            (2, 1),
            (),
        ),
        (["How many digits?", "4", "And dial it."], (1,), ("dial",)),
        ([skills.TRANSCRIPT.format(text="one sept", question="Answer as JSON.")], (), ()),
    ],
)
def test_prompts_are_those_of_a_server(
    prompts: Prompts, turns: Sequence[str], chunks: tuple[int, ...], names: tuple[str, ...]
) -> None:
    made = prompts.start()
    for at, turn in enumerate(turns):
        last = at == len(turns) - 1
        made += prompts.said(turn) if at % 2 else prompts.user(turn, () if at else chunks, names if last else ())
    assert made == prompts.whole(turns, chunks, names)


def test_a_system_prompt_comes_first(prompts: Prompts) -> None:
    made = prompts.start() + prompts.system("Be brief.") + prompts.user("How many digits?")
    assert made == prompts.whole(["How many digits?"], system="Be brief.")


def test_packed_trees_give_what_each_path_gives_alone(prompts: Prompts) -> None:
    torch.manual_seed(0)
    model = SmallVoxtral().eval()
    noise = np.random.default_rng(0).standard_normal(96_000, dtype=np.float32) / 10
    tree = Tree(recordings=[Recording(noise, 1, ("one", "two"), "en")])
    for question, answer in (("How many digits?", "2"), ("How many digits are there?", "2"), ("Write it.", "12")):
        ids = prompts.start() + prompts.user(question, (1,))
        said = prompts.said(answer)
        tree.add(ids + said, [0], [(0, len(ids), len(ids) + len(said))])
    rows = pack([[tree, tree]], 400)
    with torch.no_grad():
        audio = model.listen(torch.from_numpy(noise)[None])[0]
        together = model.states(
            torch.cat([audio, audio]), *map(torch.from_numpy, (rows.ids, rows.positions, rows.mask))
        )[-1]
        for (row, _, nodes), example in zip(rows.answers, of_tree(tree) * 2, strict=True):
            alone = model.states(audio, torch.tensor([[*example.ids, *example.answer]]))[-1]
            expected = alone[0, len(example.ids) - 1 : -1]
            torch.testing.assert_close(together[row, nodes], expected, rtol=1e-3, atol=1e-3)
