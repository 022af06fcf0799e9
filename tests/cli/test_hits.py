from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from biencoder.cli.hits import hit_lines
from biencoder.records import Hit


def lines(hit: Hit, *, query: str = "cancer", width: int = 60) -> list[str]:
    return list(hit_lines(query, [hit], width=width))


def test_without_a_title_the_first_sentence_leads() -> None:
    assert lines(Hit(1, "d", 0.5, "", "Aspirin is old. It is cheap. It helps against cancer.")) == [
        "  1  0.5000  Aspirin is old.  [d]",
        "             It helps against cancer.",
    ]


def test_a_short_document_takes_one_line() -> None:
    assert lines(Hit(12, "d", -0.25, "", "Aspirin")) == [" 12  -0.250  Aspirin  [d]"]


def test_scores_of_every_kind_take_six_columns() -> None:
    for score, shown in ((0.5, "0.5000"), (-3.25, "-3.250"), (12.5, "  12.5"), (-12.5, " -12.5"), (250.0, " 250.0")):
        (line,) = lines(Hit(1, "d", score, "", "Aspirin"))
        assert line == f"  1  {shown}  Aspirin  [d]"


def test_long_lines_are_cut() -> None:
    assert lines(Hit(1, "d", 0.5, "word " * 40, "letters " * 40), width=40) == [
        "  1  0.5000  word word word word…  [d]",
        "             letters letters letters le…",
    ]


def test_a_long_id_leaves_room_for_the_title() -> None:
    (line,) = lines(Hit(1, "path/" * 20, 0.5, "Title"), width=40)
    assert line == "  1  0.5000  Title  [path/path…"


def test_control_characters_do_not_reach_the_terminal() -> None:
    (line,) = lines(Hit(1, "d\x1b[2J", 12.5, "red\x1b[31m\r\nline\t2"))
    assert line == "  1    12.5  red [31m line 2  [d [2J]"


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=60), st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal(title: str, text: str, identifier: str, width: int) -> None:
    for line in lines(Hit(1, identifier, 0.5, title, text), query=text[:20], width=width):
        assert cell_len(line) <= width
        assert line.isprintable()
