//! Places within texts of the file: where in a pattern or a condition something is wrong.

use std::sync::Arc;

use tollgate_core::node::Span;

/// The place of the character at byte `offset` of `text`, the value that is written at `span`. A value that is not
/// written as it is (escapes, several lines) is shown as a whole.
pub(crate) fn within(span: &Span, text: &str, offset: usize) -> Span {
    let whole = span.narrow(text);
    let written = whole.source.text.get(whole.start..whole.end).unwrap_or_default();
    let (Some(before), Some(rest)) = (text.get(..offset), text.get(offset..)) else { return span.clone() };
    if written != text || text.is_empty() || before.contains('\n') {
        return span.clone();
    }
    let start = whole.start + offset;
    Span {
        source: Arc::clone(&whole.source),
        start,
        end: start + rest.chars().next().map_or(0, char::len_utf8),
        line: whole.line,
        column: whole.column + before.chars().count(),
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::node::Source;

    use super::*;

    fn shown(written: &str, text: &str, offset: usize) -> String {
        let prefix = "when: ";
        let source = Arc::new(Source { name: "x".into(), text: format!("{prefix}{written}") });
        let span = Span { start: prefix.len(), end: source.text.len(), line: 1, column: 7, source };
        let place = within(&span, text, offset);
        format!("{}:{}", place.column, &place.source.text[place.start..place.end])
    }

    #[test]
    fn an_offset_becomes_the_column_of_its_character() {
        assert_eq!(shown("a == é + z", "a == é + z", 5), "12:é");
        assert_eq!(shown("a == é + z", "a == é + z", 7), "13: ");
        assert_eq!(shown("'a {{'", "a {{", 3), "11:{");
        assert_eq!(shown("a", "a", 1), "8:");
    }

    #[test]
    fn what_is_not_written_as_it_is_is_shown_as_a_whole() {
        assert_eq!(shown(r#""a \"b\"""#, "a \"b\"", 2), r#"7:"a \"b\"""#);
        assert_eq!(shown("ab", "ab", 9), "7:ab");
    }
}
