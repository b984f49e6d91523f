//! A line for the terminal: pieces of text, each in its style. Control characters are replaced, so traffic cannot move the cursor.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// The style of a piece where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Amber,
    /// The colour of this number in [`OWN`].
    Own(u32),
}

/// Colours of agents, without red, which is for errors, and without black and white.
const OWN: [u8; 10] = [36, 33, 35, 32, 34, 96, 93, 95, 92, 94];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Style, String)>);

impl Style {
    /// The style of an agent, always the same for one name.
    pub(super) fn of(name: &str) -> Self {
        // FNV-1a.
        let mix = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        Style::Own(name.bytes().fold(0x811c_9dc5, mix))
    }

    fn code(self) -> Option<u8> {
        match self {
            Style::Plain => None,
            Style::Bold => Some(1),
            Style::Dim => Some(2),
            Style::Red => Some(31),
            Style::Amber => Some(33),
            Style::Own(number) => OWN.get(number as usize % OWN.len()).copied(),
        }
    }
}

impl Line {
    pub(super) fn add(&mut self, style: Style, text: &str) {
        self.0.push((style, clean(text)));
    }

    /// The line as text of at most `columns` columns, with or without colours.
    pub(super) fn text(&self, columns: Option<usize>, coloured: bool) -> String {
        let mut left = columns.unwrap_or(usize::MAX);
        let mut text = String::new();
        for (style, piece) in &self.0 {
            let (cut, is_whole) = cut(piece, &mut left);
            match style.code().filter(|_| coloured && !cut.is_empty()) {
                // Writing to a string cannot fail.
                Some(code) => {
                    let _ = write!(text, "\x1b[{code}m{cut}\x1b[0m");
                }
                None => text.push_str(cut),
            }
            if !is_whole {
                break;
            }
        }
        text
    }
}

/// The beginning of a text that fits into `left` columns, and whether that is all of it.
fn cut<'t>(text: &'t str, left: &mut usize) -> (&'t str, bool) {
    for (at, character) in text.char_indices() {
        let width = character.width().unwrap_or(1);
        if width > *left {
            return (&text[..at], false);
        }
        *left -= width;
    }
    (text, true)
}

/// A text that does nothing to a terminal. Line ends and tabs become spaces; other controls, those of writing direction included, become
/// the replacement character.
pub(super) fn clean(text: &str) -> String {
    let shown = text.chars().filter_map(|character| match character {
        // Makes the character before it wider, on some terminals.
        '\u{FE0F}' => None,
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
        '\u{200E}'
        | '\u{200F}'
        | '\u{061C}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}' => Some(char::REPLACEMENT_CHARACTER),
        control if control.is_control() => Some(char::REPLACEMENT_CHARACTER),
        other => Some(other),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::{Line, Style, clean};

    #[test]
    fn escape_sequences_and_controls_are_harmless() {
        let evil = "a\x1b[2Jb\x07c\u{9b}31md\r\ne\tf\x7f\u{202e}g\u{0}é日";
        insta::assert_snapshot!(clean(evil), @"a�[2Jb�c�31md  e f��g�é日");
    }

    #[test]
    fn a_line_is_cut_at_its_columns_and_wide_characters_count_twice() {
        let mut line = Line::default();
        line.add(Style::Dim, "└─ ");
        line.add(Style::Plain, "日本語");
        assert_eq!(line.text(Some(6), false), "└─ 日");
        assert_eq!(line.text(Some(7), false), "└─ 日本");
        assert_eq!(line.text(None, false), "└─ 日本語");
    }

    #[test]
    fn a_cut_line_ends_its_colours() {
        let mut line = Line::default();
        line.add(Style::Red, "abc");
        line.add(Style::Bold, "def");
        assert_eq!(line.text(Some(2), true), "\x1b[31mab\x1b[0m");
        assert_eq!(line.text(Some(3), true), "\x1b[31mabc\x1b[0m");
    }

    #[test]
    fn an_agent_keeps_its_colour() {
        let painted = |name: &str| {
            let mut line = Line::default();
            line.add(Style::of(name), "x");
            line.text(None, true)
        };
        assert_eq!(painted("agent.writer"), painted("agent.writer"));
        assert_ne!(painted("agent.writer"), painted("agent.critic"));
    }
}
