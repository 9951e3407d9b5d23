//! HTML and SVG by construction: every element that is opened is closed, every text and attribute is escaped.
//!
//! Invariant: the only markup that is not built here is the style sheet and the script of this crate ([`Element::fixed`]).

use std::fmt::{self, Display, Write};

/// Elements without content, which HTML does not close.
const VOID: [&str; 3] = ["meta", "br", "wbr"];

/// An element with what is in it.
#[derive(Debug, Clone)]
pub(super) struct Element {
    tag: &'static str,
    attributes: String,
    body: String,
}

/// An element without attributes and content.
pub(super) fn el(tag: &'static str) -> Element {
    Element { tag, attributes: String::new(), body: String::new() }
}

/// An element that holds a text.
pub(super) fn text(tag: &'static str, text: impl Display) -> Element {
    el(tag).text(text)
}

impl Element {
    /// With an attribute.
    pub(super) fn attr(mut self, name: &'static str, value: impl Display) -> Element {
        let _ = write!(self.attributes, " {name}=\"");
        escape(&mut self.attributes, &value.to_string());
        self.attributes.push('"');
        self
    }

    /// With a class, or several.
    pub(super) fn class(self, names: impl Display) -> Element {
        self.attr("class", names)
    }

    /// With a text behind what is in it.
    pub(super) fn text(mut self, text: impl Display) -> Element {
        escape(&mut self.body, &text.to_string());
        self
    }

    /// With an element behind what is in it.
    pub(super) fn add(mut self, inner: Element) -> Element {
        let _ = write!(self.body, "{inner}");
        self
    }

    /// With elements behind what is in it.
    pub(super) fn all(self, inner: impl IntoIterator<Item = Element>) -> Element {
        inner.into_iter().fold(self, Element::add)
    }

    /// With text of this crate behind what is in it, as it is.
    pub(super) fn fixed(mut self, text: &'static str) -> Element {
        self.body.push_str(text);
        self
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Element { tag, attributes, body } = self;
        if VOID.contains(tag) {
            write!(f, "<{tag}{attributes}>")
        } else {
            write!(f, "<{tag}{attributes}>{body}</{tag}>")
        }
    }
}

/// A text that no browser reads as markup. Control characters, which HTML does not allow, become the replacement character.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// A table: the names of its columns, each with a class for its cells, and its rows. A class of `n` is for figures.
pub(super) fn table(columns: &[(&'static str, &'static str)], rows: impl IntoIterator<Item = Vec<Element>>) -> Element {
    let head = columns.iter().map(|(name, class)| text("th", name).class(class));
    let row = |cells: Vec<Element>| {
        el("tr").all(cells.into_iter().zip(columns).map(|(cell, (_, class))| el("td").class(class).add(cell)))
    };
    let table = el("table").add(el("thead").add(el("tr").all(head))).add(el("tbody").all(rows.into_iter().map(row)));
    el("div").class("scroll").add(table)
}

/// A cell of text.
pub(super) fn cell(content: impl Display) -> Element {
    text("span", content)
}

/// A path, which may break behind its dots only.
pub(super) fn path(tag: &'static str, path: &str) -> Element {
    let mut parts = path.split_inclusive('.');
    let first = text(tag, parts.next().unwrap_or_default());
    parts.fold(first, |all, part| all.add(el("wbr")).text(part))
}

/// A list of texts, folded away behind a line that says what it holds.
pub(super) fn folded(summary: impl Display, content: Element) -> Element {
    el("details").add(text("summary", summary)).add(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_attributes_cannot_become_markup() {
        let hostile = "</td><script>alert('1')&\"\u{0}";
        let shown = text("td", hostile).attr("title", hostile).to_string();
        let safe = "&lt;/td&gt;&lt;script&gt;alert(&#39;1&#39;)&amp;&quot;\u{fffd}";
        assert_eq!(shown, format!("<td title=\"{safe}\">{safe}</td>"));
        assert_eq!(path("i", "a.b").to_string(), "<i>a.<wbr>b</i>");
        assert_eq!(el("p").text("a").add(el("br")).text("b").to_string(), "<p>a<br>b</p>");
    }
}
