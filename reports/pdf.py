"""The weekly report as a PDF: A4, typeset, with bookmarks; the charts are vectors.

The same document gives the same bytes: the date of creation is that of the reading, the fonts are those shipped.
"""

import io
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fpdf import FPDF, XPos, YPos
from fpdf.fonts import TTFFont

from domain.window import from_rfc3339
from reports import charts
from reports.charts import CRITICAL, FAINT, GOOD, GRID, MUTED, STRONG, TEXT, Label, Picture
from reports.sections.blocks import Block, Cell, Column, Paragraph, Section, Table
from reports.sections.figures import Figure
from reports.sections.report import Answer, Layout, layout

_FONTS = Path(__file__).parent / "fonts"
_FAMILY = "Inter"
_MARGIN_MM, _TOP_MM, _BOTTOM_MM = 16.0, 16.0, 19.0
_POINT_MM = 25.4 / 72
_TONES = {
    "": TEXT,
    "plain": STRONG,
    "good": GOOD,
    "warning": "#8f5a00",
    "critical": CRITICAL,
    "muted": MUTED,
    "unknown": MUTED,
}
_BARS = {"good": GOOD, "warning": charts.WARNING, "critical": CRITICAL}
_PAD_MM, _GAP_MM, _BAR_MM = 1.5, 4.0, 12.0
_SAID_OTHERWISE = str.maketrans({"→": "to", "≤": "at most ", "≥": "at least ", "\u200b": "", "\n": " ", "\t": " "})


def weekly_pdf(document: Mapping[str, Any]) -> bytes:
    """The report as a PDF.

    Args:
        document: of `reports.weekly.weekly_document`.
    """
    laid_out = layout(document)
    with _Pdf(laid_out.footer) as pdf:
        _write(pdf, laid_out, document)
        pages = pdf.page_no()
    with _Pdf(laid_out.footer, pages) as pdf:  # again, for the foot of the first page says how many there are
        _write(pdf, laid_out, document)
        return bytes(pdf.output())


def _write(pdf: "_Pdf", laid_out: Layout, document: Mapping[str, Any]) -> None:
    pdf.set_title(f"{laid_out.title}, {document['week']}")
    pdf.set_author("Tailsight")
    pdf.set_subject(pdf.shown(laid_out.subtitle))
    pdf.set_creation_date(from_rfc3339(document["read_at"]))
    pdf.add_page()
    _head(pdf, laid_out)
    for section in laid_out.sections:
        _section(pdf, section)


class _Pdf(FPDF):
    """A page with a foot, and text set by size in points and colour."""

    def __init__(self, footer_text: str, pages: int = 0) -> None:
        super().__init__(format="A4", unit="mm")
        self._footer_text = footer_text
        self._pages = pages
        self.add_font(_FAMILY, "", _FONTS / "inter-regular.ttf")
        self.add_font(_FAMILY, "B", _FONTS / "inter-semibold.ttf")
        self._known = {code for font in self.fonts.values() if isinstance(font, TTFFont) for code in font.cmap}
        self.set_margins(_MARGIN_MM, _TOP_MM, _MARGIN_MM)
        self.set_auto_page_break(auto=False, margin=_BOTTOM_MM)
        self.set_lang("en-GB")
        self.c_margin = 0

    def __enter__(self) -> "_Pdf":
        return self

    def __exit__(self, *_: object) -> None:
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()  # fpdf2 leaves the files open

    def shown(self, text: str, width_mm: float = 0.0) -> str:
        """Text in characters that the fonts have, others as a question mark; cut to a width where one is given."""
        plain = "".join(one if ord(one) in self._known else "?" for one in text.translate(_SAID_OTHERWISE))
        if not width_mm or self.get_string_width(plain) <= width_mm:
            return plain
        return f"{plain[: self._fitting(plain, width_mm - self.get_string_width('…'))]}…"

    def _fitting(self, text: str, width_mm: float) -> int:
        """How many of its first letters fit that width; found by halving, for a name may be long."""
        return bisect_right(range(1, len(text) + 1), width_mm, key=lambda count: self.get_string_width(text[:count]))

    def footer(self) -> None:
        """The report's name at the left, the page at the right."""
        self.set_y(-12)
        self.use(8, MUTED)
        self.cell(self.epw - 25, 4, self.shown(self._footer_text, self.epw - 25))
        self.cell(25, 4, f"{self.page_no()} of {self._pages}", align="R")

    def use(self, size: float, colour: str = TEXT, *, is_bold: bool = False) -> None:
        """Set what follows so."""
        self.set_font(_FAMILY, "B" if is_bold else "", size)
        self.set_text_color(colour)

    @property
    def left_mm(self) -> float:
        """What is left of the page, to its bottom margin."""
        return float(self.h - _BOTTOM_MM - self.y)

    def room_for(self, height_mm: float) -> bool:
        """Go to the next page unless so much fits here; whether the page was changed."""
        if self.left_mm >= height_mm or self.y <= _TOP_MM + 1:
            return False
        self.add_page()
        return True

    def lines(self, text: str, width_mm: float) -> list[str]:
        """The text in lines of that width, in the font that is set; a word that is too long is cut."""
        found: list[str] = []
        line = ""
        for word in re.split(r"[ \t\n]+", self.shown(text).strip()):  # not at spaces that do not break
            longer = f"{line} {word}" if line else word
            if self.get_string_width(longer) <= width_mm:
                line = longer
                continue
            if line:
                found.append(line)
            while self.get_string_width(word) > width_mm and len(word) > 1:
                kept = max(1, self._fitting(word, width_mm))
                found.append(word[:kept])
                word = word[kept:]  # noqa: PLW2901 - the rest of it
            line = word
        return [*found, line] if line or not found else found

    def write_lines(
        self, lines: Sequence[str], x: float, y: float, width: float, height: float, align: Literal["L", "R"] = "L"
    ) -> None:
        """Lines one under the other in a box whose corner is at x, y."""
        for number, line in enumerate(lines):
            self.set_xy(x, y + number * height)
            self.cell(width, height, line, align=align)


# -- Head ----------------------------------------------------------------------------------------------------------


def _head(pdf: _Pdf, laid_out: Layout) -> None:
    pdf.use(21, STRONG, is_bold=True)
    pdf.cell(0, 9, laid_out.title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.use(9.5, MUTED)
    for line in pdf.lines(laid_out.subtitle, pdf.epw):
        pdf.cell(0, 5, line, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    if laid_out.notice:
        pdf.ln(1.5)
        pdf.use(9.5, "#8f5a00", is_bold=True)
        pdf.write_lines(pdf.lines(laid_out.notice, pdf.epw), pdf.l_margin, pdf.y, pdf.epw, 5)
        pdf.ln(5)
    pdf.ln(4)
    _rule(pdf, GRID)
    for one in laid_out.answers:
        _answer(pdf, one)
    pdf.ln(5)
    _figures(pdf, laid_out.figures)


def _answer(pdf: _Pdf, one: Answer) -> None:
    wide, question_wide = pdf.epw, 46.0
    pdf.use(9.2)
    details = [
        line
        for text in ([one.detail] if one.detail else []) + list(one.items)
        for line in pdf.lines(text, wide - question_wide)
    ]
    pdf.use(13, _TONES[one.tone], is_bold=True)
    answers = pdf.lines(one.answer, wide - question_wide)
    pdf.room_for(len(answers) * 6 + len(details) * 4.6 + 7)
    y, x = pdf.y + 3, pdf.l_margin + question_wide
    pdf.write_lines(answers, x, y, wide - question_wide, 6)
    y_after = y + len(answers) * 6 + 0.6
    pdf.use(9.2)
    pdf.write_lines(details, x, y_after, wide - question_wide, 4.6)
    pdf.use(9.2, MUTED)
    pdf.write_lines([one.question], pdf.l_margin, y + 0.8, question_wide, 5)
    pdf.set_xy(pdf.l_margin, y_after + len(details) * 4.6 + 3)
    _rule(pdf, GRID)


def _figures(pdf: _Pdf, figures: Sequence[Figure]) -> None:
    height, each = 16.5, pdf.epw / len(figures)
    pdf.room_for(height + 6)
    y = pdf.y
    pdf.set_draw_color(GRID)
    pdf.set_line_width(0.25)
    pdf.rect(pdf.l_margin, y, pdf.epw, height, round_corners=True, corner_radius=2)
    for number, figure in enumerate(figures):
        x = pdf.l_margin + number * each
        if number:
            pdf.line(x, y, x, y + height)
        pdf.use(8, MUTED)
        pdf.set_xy(x + 3, y + 2.6)
        pdf.cell(each - 4, 4, figure.label)
        is_word = figure.tone == "muted"
        pdf.use(10 if is_word else 14, MUTED if is_word else STRONG, is_bold=not is_word)
        pdf.set_xy(x + 3, y + 7.6)
        wide = pdf.get_string_width(pdf.shown(figure.value))
        pdf.cell(wide + 1, 6, pdf.shown(figure.value))
        if figure.moved:
            pdf.use(8, _TONES[figure.tone])
            pdf.set_xy(x + 3 + wide + 1.4, y + 8.3)
            pdf.cell(10, 6, figure.moved)
    pdf.set_xy(pdf.l_margin, y + height + 1)
    pdf.use(7.5, MUTED)
    pdf.cell(0, 4, "Small figures: change since the week before.", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _rule(pdf: _Pdf, colour: str) -> None:
    pdf.set_draw_color(colour)
    pdf.set_line_width(0.2)
    pdf.line(pdf.l_margin, pdf.y, pdf.l_margin + pdf.epw, pdf.y)


# -- Sections ------------------------------------------------------------------------------------------------------


def _section(pdf: _Pdf, section: Section) -> None:
    heading = 20.0
    first = section.blocks[:2] if isinstance(section.blocks[0], Paragraph) else section.blocks[:1]
    if not pdf.room_for(heading + sum(_least_height(pdf, block) for block in first)):
        pdf.ln(8)
    _rule(pdf, GRID)
    pdf.ln(4)
    pdf.start_section(section.title)
    pdf.use(13.5, STRONG, is_bold=True)
    pdf.cell(0, 7, section.title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.ln(1)
    for block in section.blocks:
        _block(pdf, block)


def _least_height(pdf: _Pdf, block: Block) -> float:
    """What must stand on the same page as the heading."""
    if isinstance(block, Picture):
        return _picture_height(pdf, block)
    if isinstance(block, Table):
        return 34.0 if len(block.rows) > _KEPT_WHOLE_ROWS else 16.0 + 10.5 * len(block.rows)
    return 12.0


def _block(pdf: _Pdf, block: Block) -> None:
    if isinstance(block, Table):
        _table(pdf, block)
    elif isinstance(block, Picture):
        _picture(pdf, block)
    elif isinstance(block, Paragraph):
        _paragraph(pdf, block.text, _TONES[block.tone], 9.2)
    else:
        for item in block.items:
            _bullet(pdf, item)


def _paragraph(pdf: _Pdf, text: str, colour: str, size: float) -> None:
    pdf.use(size, colour)
    lines, height = pdf.lines(text, pdf.epw), size * 0.5
    pdf.room_for(min(len(lines), 8) * height + 2)
    pdf.use(size, colour)
    pdf.write_lines(lines, pdf.l_margin, pdf.y + 1, pdf.epw, height)
    pdf.set_xy(pdf.l_margin, pdf.y + height + 1.5)


def _bullet(pdf: _Pdf, text: str) -> None:
    pdf.use(8.4, MUTED)
    lines = pdf.lines(text, pdf.epw - 4)
    pdf.room_for(len(lines) * 4.2 + 1)
    pdf.use(8.4, MUTED)
    y = pdf.y + 0.6
    pdf.write_lines(["•"], pdf.l_margin, y, 4, 4.2)
    pdf.write_lines(lines, pdf.l_margin + 4, y, pdf.epw - 4, 4.2)
    pdf.set_xy(pdf.l_margin, y + len(lines) * 4.2 + 0.4)


# -- Tables --------------------------------------------------------------------------------------------------------

_KEPT_WHOLE_ROWS = 6
_HEAD_SIZE, _ROW_SIZE, _BELOW_SIZE = 8.0, 8.8, 7.6
_HEAD_LINE, _ROW_LINE, _BELOW_LINE = 3.7, 4.2, 3.7


def _table(pdf: _Pdf, table: Table) -> None:
    whole = sum(column.weight for column in table.columns)
    widths = [column.weight / whole * (pdf.epw + _GAP_MM) for column in table.columns]  # after the last is no gap
    heights = [_row_height(pdf, table.columns, widths, row) for row in table.rows]
    title = 9.0 if table.title else 2.0
    first = sum(heights[: 2 if len(heights) > _KEPT_WHOLE_ROWS else len(heights)])
    changed = pdf.room_for(title + _head_height(pdf, table.columns, widths) + first + 2)
    if table.title:
        pdf.ln(0 if changed else 4)
        pdf.use(9.6, STRONG, is_bold=True)
        pdf.write_lines(pdf.lines(table.title, pdf.epw), pdf.l_margin, pdf.y, pdf.epw, 5)
        pdf.set_xy(pdf.l_margin, pdf.y + 5.4)
    _table_head(pdf, table.columns, widths)
    for number, (row, height) in enumerate(zip(table.rows, heights, strict=True)):
        last_with_note = height + (6 if table.note and number + 1 == len(table.rows) else 0)
        if pdf.room_for(last_with_note):
            _table_head(pdf, table.columns, widths)
        _row(pdf, table.columns, widths, row, height)
    if table.note:
        _paragraph(pdf, table.note, MUTED, 7.8)
    pdf.ln(1)


def _head_height(pdf: _Pdf, columns: Sequence[Column], widths: Sequence[float]) -> float:
    pdf.use(_HEAD_SIZE, MUTED)
    most = max(len(pdf.lines(column.title, width - _GAP_MM)) for column, width in zip(columns, widths, strict=True))
    return most * _HEAD_LINE + 2


def _table_head(pdf: _Pdf, columns: Sequence[Column], widths: Sequence[float]) -> None:
    height = _head_height(pdf, columns, widths)
    y, x = pdf.y, pdf.l_margin
    for column, width in zip(columns, widths, strict=True):
        lines = pdf.lines(column.title, width - _GAP_MM)
        down = y + height - 1.2 - len(lines) * _HEAD_LINE
        align: Literal["L", "R"] = "R" if column.is_number else "L"
        pdf.write_lines(lines, x, down, width - _GAP_MM, _HEAD_LINE, align)
        x += width
    pdf.set_xy(pdf.l_margin, y + height)
    _rule(pdf, FAINT)


def _row_height(pdf: _Pdf, columns: Sequence[Column], widths: Sequence[float], row: Sequence[Cell]) -> float:
    return (
        max(
            len(lines) * _ROW_LINE + len(below) * _BELOW_LINE
            for lines, below in (
                _cell_lines(pdf, cell, width) for cell, _, width in zip(row, columns, widths, strict=True)
            )
        )
        + 2 * _PAD_MM
    )


def _cell_lines(pdf: _Pdf, cell: Cell, width: float) -> tuple[list[str], list[str]]:
    pdf.use(_ROW_SIZE, is_bold=cell.is_strong)
    lines = pdf.lines(cell.text, width - _GAP_MM - (_BAR_MM + 2 if cell.bar_ratio is not None else 0))
    pdf.use(_BELOW_SIZE)
    return lines, pdf.lines(cell.below, width - _GAP_MM) if cell.below else []


def _row(pdf: _Pdf, columns: Sequence[Column], widths: Sequence[float], row: Sequence[Cell], height: float) -> None:
    y, x = pdf.y, pdf.l_margin
    for cell, column, width in zip(row, columns, widths, strict=True):
        lines, below = _cell_lines(pdf, cell, width)
        align: Literal["L", "R"] = "R" if column.is_number else "L"
        left, wide = x, width - _GAP_MM
        if cell.bar_ratio is not None:
            _bar(pdf, cell, left, y + _PAD_MM + 1.2)
            left, wide = left + _BAR_MM + 2, wide - _BAR_MM - 2
        pdf.use(_ROW_SIZE, _strong(cell), is_bold=cell.is_strong)
        pdf.write_lines(lines, left, y + _PAD_MM, wide, _ROW_LINE, align)
        if cell.link:
            pdf.link(left, y + _PAD_MM, wide, height - 2 * _PAD_MM, cell.link)
        pdf.use(_BELOW_SIZE, MUTED)
        pdf.write_lines(below, x, y + _PAD_MM + len(lines) * _ROW_LINE, width - _GAP_MM, _BELOW_LINE, align)
        x += width
    pdf.set_xy(pdf.l_margin, y + height)
    _rule(pdf, GRID)


def _strong(cell: Cell) -> str:
    return STRONG if cell.is_strong and not cell.tone else _TONES[cell.tone]


def _bar(pdf: _Pdf, cell: Cell, x: float, y: float) -> None:
    pdf.set_fill_color(GRID)
    pdf.rect(x, y, _BAR_MM, 1.9, style="F", round_corners=True, corner_radius=0.9)
    filled = max(0.0, min(1.0, cell.bar_ratio or 0.0)) * _BAR_MM
    if filled > 0:
        pdf.set_fill_color(_BARS.get(cell.tone, MUTED))
        pdf.rect(x, y, filled, 1.9, style="F", round_corners=filled > 1.9, corner_radius=0.9)


# -- Charts --------------------------------------------------------------------------------------------------------


def _picture_height(pdf: _Pdf, picture: Picture) -> float:
    return picture.height * pdf.epw / picture.width + 12


def _picture(pdf: _Pdf, picture: Picture) -> None:
    """Its shapes as a vector image with its words as alternative text; labels as text, so that they can be found."""
    changed = pdf.room_for(_picture_height(pdf, picture))
    pdf.ln(0 if changed else 4)
    pdf.use(9.6, STRONG, is_bold=True)
    pdf.cell(0, 5, picture.title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.ln(1.5)
    x, y, scale = pdf.l_margin, pdf.y, pdf.epw / picture.width
    drawing = charts.svg(picture, has_words=False).encode()
    told = pdf.shown(f"{picture.title}: {picture.description}")
    pdf.image(io.BytesIO(drawing), x=x, y=y, w=pdf.epw, h=picture.height * scale, alt_text=told)
    for shape in picture.shapes:
        if isinstance(shape, Label):
            pdf.use(shape.size * scale / _POINT_MM, shape.fill, is_bold=shape.is_bold)
            text = pdf.shown(shape.text)
            wide = pdf.get_string_width(text)
            shift = {"start": 0.0, "middle": wide / 2, "end": wide}[shape.anchor]
            pdf.text(x + shape.x * scale - shift, y + shape.y * scale, text)
    pdf.set_xy(pdf.l_margin, y + picture.height * scale + 3)
