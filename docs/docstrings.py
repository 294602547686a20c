"""The package's docstrings are plain text with equations; this makes reStructuredText of them."""

import re
from itertools import groupby

SECTION = re.compile(r"(Args|Arguments|Attributes|Raises|Returns|Yields):$")
NAMES = re.compile(r" +\w+(, \w+)*,$")
CODE = re.compile(r"`([^`]+)`")
# A bullet stays; elsewhere a star, a bar or a trailing underscore would be markup.
MARKUP = re.compile(r"(^\s*[*-] )|([*|]|_(?=\W|$))", re.MULTILINE)


def to_rst(lines: list[str]) -> list[str]:
    """Indented blocks become literal, `names` become code, and what RST would read is escaped."""
    out: list[str] = []
    for kind, block in groupby(_kinds(_whole_names(lines)), key=lambda pair: pair[0]):
        text = [line for _, line in block]
        if kind == "literal":
            text = ["::", "", *text, ""]
        elif kind == "text":
            text = _escape("\n".join(text)).split("\n")
        out += text
    return out


def _whole_names(lines: list[str]) -> list[str]:
    """Names of arguments that share a description, in one line, as napoleon wants them."""
    out: list[str] = []
    for line in lines:
        if out and NAMES.match(out[-1]):
            out[-1] += f" {line.strip()}"
        else:
            out.append(line)
    return out


def _kinds(lines: list[str]) -> list[tuple[str, str]]:
    """Each line as "text", "blank" or "literal": an indented block that is no part of a section."""
    kinds, section, kind = [], False, "blank"
    for line in lines:
        text, indented = line.strip(), line.startswith(" ")
        if text and not indented:
            section, kind = bool(SECTION.match(text)), "text"
        elif text and kind == "blank" and not section:
            kind = "literal"
        elif text and kind == "blank":
            kind = "text"
        elif not text and kind == "text":
            kind = "blank"
        kinds.append((kind, line))
    return kinds


def _escape(text: str) -> str:
    """One paragraph; code may go on in the next line."""
    parts = CODE.split(text)
    for i, part in enumerate(parts):
        if i % 2:
            # RST wants no letter beside code: a backslash and a blank part them, and vanish.
            before = "\\ " if parts[i - 1][-1:].isalnum() else ""
            after = "\\ " if parts[i + 1][:1].isalnum() else ""
            parts[i] = f"{before}``{part}``{after}"
        else:
            parts[i] = MARKUP.sub(lambda m: m[1] or "\\" + m[2], part)
    return "".join(parts)
