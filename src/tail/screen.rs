//! The output of traces: lines of plain text, or a terminal with a width and colours, on which the last trace can be redrawn.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use rustix::termios::tcgetwinsize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::line::Line;
use crate::cli::Color;

pub(super) struct Screen<W> {
    output: W,
    is_terminal: bool,
    coloured: bool,
    last: Option<DrawnTrace>,
}

/// The trace right above the cursor.
struct DrawnTrace {
    trace_id: String,
    rows: usize,
    columns: usize,
}

impl<W: AsyncWrite + Unpin> Screen<W> {
    /// `output` has to write to standard output, whose terminal is asked for its size.
    pub(super) fn new(output: W, color: Color) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let coloured = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                is_terminal
                    && is_set("NO_COLOR").is_none()
                    && is_set("TERM").is_some_and(|term| term != "dumb")
            }
        };
        Screen {
            output,
            is_terminal,
            coloured,
            last: None,
        }
    }

    /// Prints a trace. It replaces the same trace where that is the last output on a terminal.
    pub(super) async fn draw(&mut self, trace_id: &str, lines: &[Line]) -> io::Result<()> {
        let size = self.size();
        let columns = size.map(|(columns, _)| columns);
        let mut text = String::new();
        if let (Some(last), Some((columns, rows))) = (&self.last, size)
            && last.trace_id == trace_id
            && last.columns == columns
            && last.rows < rows
        {
            text = format!("\x1b[{}F\x1b[J", last.rows);
        }
        for line in lines {
            text.push_str(&line.text(columns, self.coloured));
            text.push('\n');
        }
        self.write(text.as_bytes()).await?;
        self.last = columns.map(|columns| DrawnTrace {
            trace_id: trace_id.to_owned(),
            rows: lines.len(),
            columns,
        });
        Ok(())
    }

    /// Prints a trace as JSON on one line.
    pub(super) async fn json(&mut self, json: &str) -> io::Result<()> {
        let mut line = one_line(json);
        line.push('\n');
        self.write(line.as_bytes()).await
    }

    /// Prevents a redraw, since another text was written to the terminal.
    pub(super) fn was_disturbed(&mut self) {
        self.last = None;
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes).await?;
        self.output.flush().await
    }

    /// Columns and rows of the terminal; none without a terminal.
    fn size(&self) -> Option<(usize, usize)> {
        let size = tcgetwinsize(io::stdout()).ok();
        let size = size.filter(|size| self.is_terminal && size.ws_col > 0);
        size.map(|size| (size.ws_col.into(), size.ws_row.into()))
    }
}

/// JSON on one line. Line ends and tabs stand only between its tokens; other controls stand only in strings, and are escaped.
fn one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.trim().chars() {
        match character {
            '\n' | '\r' | '\t' => line.push(' '),
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(control));
            }
            other => line.push(other),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;
    use serde_json::Value;

    #[test]
    fn json_on_one_line_means_the_same_and_holds_no_control() {
        let json = "{\n\t\"a\":\"\u{9b}2J\u{7f}\\n\",\r\n\"b\":[1, 2]}\n";
        let line = one_line(json);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let [was, is] = [json, &line].map(|json| serde_json::from_str::<Value>(json).unwrap());
        assert_eq!(was, is);
    }
}
