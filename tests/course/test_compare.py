"""Two notebooks are compared by what they mean: words and counts exactly, numbers as far as their
digits say something, and in a cell with a tolerance of its own by that.
"""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from gnivo_edu.course.build import BuildError, build
from gnivo_edu.course.compare import differences, output_changes, text_change
from gnivo_edu.course.release import release


def both_ways(was, now, **options):
    changes = [text_change(was, now, **options), text_change(now, was, **options)]
    assert (changes[0] is None) == (changes[1] is None), "a comparison has no direction"
    return changes[0]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("spread 3.6e-14", "spread 1.4e-14"),
        ("error 2e-16", "error -7.1e-12"),
        ("error 0.0", "error 3e-13"),
        ("error 0", "error 1e-17"),
        ("-0.0", "0.0"),
        ("[-0.   0.25]", "[0.   0.25]"),
        ("[ 0.5 -0. ]", "[0.5 0. ]"),
        ("0.00", "-0.01"),
        ("credit 0.12", "credit 0.13"),
        ("2.3456", "2.3457"),
        ("1.0e-03", "9.9e-04"),
        ("9e-04", "1e-03"),
        ("-1.234567", "-1.234012"),
        ("0.30000000000000004", "0.3"),
        ("1", "0.999"),  # 0.9995, a little more and a little less, with three digits
        ("2", "1.999999999"),
        ("[1. 2.]", "[1.       1.9999999]"),
        ("1,234.56", "1,234.57"),
        ("\u22120.50", "-0.50"),
        ("+0.25", "0.25"),
        ("a  1.0   b\n------\n", "a 1.0 b\n--------\n"),
        ("in 3-4 of 5 steps.", "in 3-4 of 5 steps."),
    ],
)
def test_texts_that_mean_the_same(was, now):
    assert both_ways(was, now) is None


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("credit 0.25", "credit -0.25"),
        ("0.1", "-0.1"),
        ("1.5e-9", "-1.5e-9"),
        ("1e-3", "-1e-3"),
        ("0.1234", "0.1244"),
        ("9.990", "9.980"),
        ("1.000", "1.010"),
        ("-45.61", "-45.71"),
        ("1.234e-05", "1.244e-05"),
        ("1.0e-12", "1.0e-08"),
        ("0.30", "0.38"),
        ("0.3", "0.38"),
        ("1e-3", "1e-4"),
        ("4 of 5", "3 of 5"),
        ("4,096 leaves", "4,097 leaves"),
        ("100000 leaves", "100001 leaves"),
        ("step 3", "step -3"),
        ("0", "1"),
        ("the policy wins", "the policy loses"),
        ("the policy", "thepolicy"),
        ("E5", "E6"),
        ("step_1.5", "step_1.6"),
        ("version 1.16.0", "version 1.16.1"),
        ("steps 3-4", "steps 3-5"),
        ("inf", "-inf"),
        ("nan", "0.5"),
        ("True", "False"),
        ("Correct. 1.0", "1.0"),
        ("1.0 2.0", "1.0 2.0 3.0"),
        ("1.0 2.0", "2.0 1.0"),
        ("(0.5)", "[0.5]"),
        ("a - 0.5", "a + 0.5"),
        ("5 %", "5"),
        ("", "0.0"),
        ("background:#a1b2c3", "background:#a1b2c4"),
    ],
)
def test_texts_that_do_not(was, now):
    assert both_ways(was, now) is not None


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        ('<b style="background:#a1b2c3">', '<b style="background:#a2b1c3">', True),
        ('<b style="background:#a1b2c3">', '<b style="background:#a4b2c3">', False),
        ("<style>td {color: #0f1011}</style>", "<style>td {color: #101011}</style>", True),
        ('<i style="color:rgb(10, 20, 30)">', '<i style="color:rgb(10, 21, 30)">', True),
        ('<i style="color:rgb(10, 20, 30)">', '<i style="color:rgb(10, 25, 30)">', False),
        ('<i style="width:31.4%">', '<i style="width:31.5%">', True),
        ('<i style="width:31.4%">', '<i style="height:31.4%">', False),
        ('<path d="M12.51,3L-7-2.0z"/>', '<path d="M12.52,3L-7-2.01z"/>', True),
        ('<path d="M12.51,3L7-2z"/>', '<path d="M12.51,3L7,2z"/>', False),
        ('<path d="M12.51,3L7-2z"/>', '<path d="M19.51,3L7-2z"/>', False),
        ('<path d="M12.51,3z"/>', '<path d="L12.51,3z"/>', False),
        ('<circle cx="14" r="3"/>', '<circle cx="15" r="3"/>', True),
        ('<circle cx="14" r="3"/>', '<circle cx="17" r="3"/>', False),
        ("<svg><text x='1'>up 0.25</text></svg>", "<svg><text x='1'>down 0.25</text></svg>", False),
        ("<td>0.25</td>", "<td>-0.25</td>", False),
        ("<td>-0.0</td>", "<td>0.0</td>", True),
        ("<td>12</td>", "<td>13</td>", False),
        ('<td colspan="2">', '<td colspan="3">', False),
        ("<h2>", "<h3>", False),
    ],
)
def test_pages_and_their_drawings(was, now, same):
    assert (both_ways(was, now, markup=True) is None) == same


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        ("reward 0.52, 31 of 40 right", "reward 0.61, 27 of 40 right", True),
        ("reward 0.52", "reward 0.79", False),
        ("reward 0.52", "reward -0.52", False),
        ("31 right", "14 right", False),
        ("0 right", "1 right", True),
        ("0 right", "2 right", False),
        ("0.52 is better", "0.52 is worse", False),
        ("0.02", "0.03", True),
    ],
)
def test_the_tolerance_of_a_cell(was, now, same):
    assert (both_ways(was, now, tolerance=0.3) is None) == same


def test_the_lines_where_two_texts_part():
    assert text_change("one 1.5\ntwo 2.5\nthree", "one 1.5\n  two 3.5\nthree") == (
        "two 2.5", "two 3.5",
    )  # fmt: skip
    assert text_change("one\ntwo\n", "one\n") == ("two", "one")


# --- cells and notebooks --------------------------------------------------------------------------


def printed(text):
    return new_output("stream", name="stdout", text=text)


def cell(*outputs, tags=()):
    metadata = {"tags": list(tags)} if tags else {}
    outputs = [printed(output) if isinstance(output, str) else output for output in outputs]
    return new_code_cell("train()", outputs=outputs, execution_count=1, metadata=metadata)


def shown(**data):
    return new_output("display_data", {kind.replace("_", "/"): text for kind, text in data.items()})


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (cell("0.52"), cell("0.61"), False),
        (cell("0.52", tags=["tolerance=0.3"]), cell("0.61", tags=["tolerance=0.3"]), True),
        (cell(shown(text_plain="0.1234")), cell(shown(text_plain="0.1235")), True),
        (cell(shown(text_plain="0.1234")), cell(shown(text_plain="0.1254")), False),
        (cell(shown(text_html="<i r='3'>")), cell(shown(text_html="<i r='4'>")), True),
        (cell(shown(text_plain="<i r='3'>")), cell(shown(text_plain="<i r='4'>")), False),
        (cell(shown(text_html="0.5")), cell(shown(text_plain="0.5")), False),
        (cell("0.5"), cell(shown(text_plain="0.5")), False),
        (cell("0.5"), cell(), False),
        (cell(new_output("error", ename="E", evalue="by 2e-16")),
         cell(new_output("error", ename="E", evalue="by 4e-16")), True),
        (cell(new_output("error", ename="E", evalue="")),
         cell(new_output("error", ename="F", evalue="")), False),
    ],
)  # fmt: skip
def test_outputs_of_cells(before, after, same):
    assert (output_changes(before, after) == []) == same


def notebook_of(path, *cells):
    for index, one in enumerate(cells):
        one.id = f"cell-{index}"
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def test_a_tolerance_widens_only_its_cell_and_a_missing_cell_is_missed(tmp_path):
    tag = ["tolerance=0.3"]
    old = notebook_of(tmp_path / "nb.ipynb", cell("0.52", tags=tag), cell("0.52"))
    new = notebook_of(tmp_path / "new.ipynb", cell("0.61", tags=tag), cell("0.61"))
    assert differences(old, new) == ["nb, cell 2 (train()): the stdout output '0.52' is now '0.61'"]
    fewer = notebook_of(tmp_path / "fewer.ipynb", cell("0.61", tags=tag))
    assert differences(old, fewer) == ["nb: 2 cells are committed, the source builds 1"]
    untagged = notebook_of(tmp_path / "untagged.ipynb", cell("0.52"), cell("0.52"))
    assert differences(old, untagged) == ["nb, cell 1 (train()): its id or metadata changed"]
    prose = notebook_of(tmp_path / "prose.ipynb", new_markdown_cell("0.52"))
    words = notebook_of(tmp_path / "words.ipynb", new_markdown_cell("0.53"))
    assert len(differences(prose, words)) == 1, "what an author wrote is compared to the letter"


def test_the_tag_comes_through_the_builder_and_into_a_students_copy(tmp_path):
    source = tmp_path / "nb.py"
    source.write_text('# %% tags=["hide-input", "tolerance=0.3"]\nprint(0.5)\n', encoding="utf-8")
    full = build(source, tmp_path / "nb.ipynb", execute=False)
    copy = release(source, tmp_path / "copy.ipynb", "student", execute=False)
    for path in (full, copy):
        only = nbformat.read(path, as_version=4).cells[0]
        assert only.metadata.tags == ["hide-input", "tolerance=0.3"]


@pytest.mark.parametrize(
    "tags",
    [["tolerance"], ["tolerance=much"], ["tolerance=0"], ["tolerance=-0.1"], ["tolerance=1.5"],
     ["tolerance: 0.3"], ["Tolerance=0.3"], ["tolerance=0.3", "tolerance=0.4"]],
)  # fmt: skip
def test_a_tolerance_that_cannot_be_read_is_refused_in_one_line(tmp_path, tags):
    source, out = tmp_path / "nb.py", tmp_path / "nb.ipynb"
    listed = ", ".join(f'"{tag}"' for tag in tags)
    source.write_text(f"# %% tags=[{listed}]\nprint(0.5)\n", encoding="utf-8")
    with pytest.raises(BuildError, match=r"^nb, cell 1 \(print\(0.5\)\): the tag .*, such as"):
        build(source, out, execute=False)
    assert not out.exists()
    with pytest.raises(BuildError, match="is not one tolerance"):
        output_changes(cell("0.5"), cell("0.5", tags=tags))
