//! Templates of a stream's chunks. Chunks that add to a text differ in that text alone, and in padding: after one was read as JSON, the
//! others need not be.
//!
//! A template is the bytes of a chunk with gaps for strings. A chunk with the same bytes around its own strings has the same members, but for
//! the strings in the gaps.

use std::borrow::Cow;
use std::ops::Range;

use super::Chunk;
use crate::openai::json;

/// Limit of a template in bytes: OpenAI's chunks have some 300.
const MAX_CHUNK: usize = 4 << 10;

/// A chunk that added to the content of one choice and to nothing else.
#[derive(Debug, Default)]
pub(crate) struct ChunkTemplate {
    /// The index of the choice, if the chunk has one.
    pub(crate) index: Option<u64>,
    data: String,
    /// The strings that may differ, in their order; one of them is the content.
    gaps: Vec<Gap>,
}

#[derive(Debug)]
struct Gap {
    range: Range<usize>,
    is_content: bool,
}

impl ChunkTemplate {
    /// The template of `chunk`, read from `data`; none where the chunk has more than one text.
    pub(crate) fn of(data: &str, chunk: &Chunk<'_>) -> Option<Self> {
        let [choice] = &chunk.choices[..] else {
            return None;
        };
        if data.len() > MAX_CHUNK || !chunk.is_text_alone() || !choice.is_text_alone() {
            return None;
        }
        let content = choice.delta.as_ref()?.content_range.clone()?;
        let padding = chunk.padding.clone();
        let gap = |range, is_content| Gap { range, is_content };
        let mut gaps = vec![gap(content, true)];
        gaps.extend(padding.map(|padding| gap(padding, false)));
        gaps.sort_by_key(|gap| gap.range.start);
        Some(ChunkTemplate {
            index: choice.index,
            data: data.to_owned(),
            gaps,
        })
    }

    /// The text that `data` adds to the content, if `data` has this template.
    pub(crate) fn content<'d>(&self, data: &'d str) -> Option<Cow<'d, str>> {
        let (mut from, mut rest, mut content) = (0, data, None);
        for Gap { range, is_content } in &self.gaps {
            let (text, after) = json::inside(rest.strip_prefix(&self.data[from..range.start])?)?;
            if *is_content {
                content = Some(text);
            }
            (from, rest) = (range.end, after);
        }
        content.filter(|_| rest == &self.data[from..])
    }
}

#[cfg(test)]
mod tests;
