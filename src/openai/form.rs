//! The form of a stream's chunks. All chunks that add to a text are the same but for that text (and for padding, which says nothing), so once
//! one was read as JSON, those like it need not be.
//!
//! The rule: what is left out is exactly what would be read again. A form is bytes with gaps for strings; a chunk has the form of another when
//! it is the same bytes around its own strings. Being read from left to right, it then means the same, but for what is in the gaps.

use std::borrow::Cow;
use std::ops::Range;

use super::chunk::Chunk;
use super::json;

/// Longer chunks are not kept: OpenAI's have some 300 bytes.
const LONGEST: usize = 4 << 10;

/// A chunk that added to the text of one choice and did nothing else that was new.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// The choice's index, if it says one.
    index: Option<u64>,
    data: String,
    /// Where its content is, and its padding.
    content: Range<usize>,
    padding: Option<Range<usize>>,
}

impl Form {
    /// The form of `chunk`, read from `data`; none where more than a text came with it.
    pub(super) fn of(data: &str, chunk: &Chunk<'_>) -> Option<Self> {
        if data.len() > LONGEST {
            return None;
        }
        let [part] = &chunk.choices[..] else {
            return None;
        };
        let content = part.delta.as_ref()?.content_at.clone()?;
        (chunk.adds_text_alone() && part.adds_text_alone()).then(|| Form {
            index: part.index,
            data: data.to_owned(),
            content,
            padding: chunk.padding.clone(),
        })
    }

    /// The index of the choice that chunks of this form add to, if they say one.
    pub(super) fn index(&self) -> Option<u64> {
        self.index
    }

    /// What `data` adds to the text, if it is of this form.
    pub(super) fn content<'d>(&self, data: &'d str) -> Option<Cow<'d, str>> {
        let gap = &self.content;
        match &self.padding {
            None => {
                let (content, rest) = self.gap(0, gap, data)?;
                (rest == &self.data[gap.end..]).then_some(content)
            }
            Some(padding) if padding.start > gap.end => {
                let (content, rest) = self.gap(0, gap, data)?;
                let (_, rest) = self.gap(gap.end, padding, rest)?;
                (rest == &self.data[padding.end..]).then_some(content)
            }
            Some(padding) => {
                let (_, rest) = self.gap(0, padding, data)?;
                let (content, rest) = self.gap(padding.end, gap, rest)?;
                (rest == &self.data[gap.end..]).then_some(content)
            }
        }
    }

    /// What fills a gap in `data`, which has to be the same between `from` and there, and what follows.
    fn gap<'d>(
        &self,
        from: usize,
        gap: &Range<usize>,
        data: &'d str,
    ) -> Option<(Cow<'d, str>, &'d str)> {
        json::inside(data.strip_prefix(&self.data[from..gap.start])?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::openai::assemble::Assembly;
    use crate::openai::media::Media;
    use crate::sse::Frame;

    fn chunk(content: &str, padding: &str) -> String {
        format!(
            r#"{{"id":"a","choices":[{{"index":1,"delta":{{"content":"{content}"}},"finish_reason":null}}]{padding}}}"#
        )
    }

    fn form(data: &str) -> Option<Form> {
        let mut chunk = Chunk::default();
        json::read(data, &mut chunk).unwrap();
        Form::of(data, &chunk)
    }

    #[test]
    fn chunks_of_one_form_differ_in_their_text_alone() {
        let form = form(&chunk("a", "")).unwrap();
        assert_eq!(form.index(), Some(1));
        assert_eq!(form.content(&chunk("b", "")).as_deref(), Some("b"));
        assert_eq!(form.content(&chunk("", "")).as_deref(), Some(""));
        assert_eq!(
            form.content(&chunk(r#"\"\u00e9}]"#, "")).as_deref(),
            Some("\"é}]")
        );
        for other in [
            chunk("b", r#","x":1"#),
            chunk("b", " "),
            chunk("b\n", ""),
            chunk(r"\q", ""),
            chunk("b", "")[..40].to_owned(),
            chunk("b", "").replace("null", r#""stop""#),
            chunk("b", "").replace(":1,", ":2,"),
            String::new(),
        ] {
            assert_eq!(form.content(&other), None, "{other}");
        }
    }

    #[test]
    fn padding_may_differ_wherever_it_is() {
        let after = form(&chunk("a", r#","obfuscation":"xyz""#)).unwrap();
        let next = chunk("b", r#","obfuscation":"q\"""#);
        assert_eq!(after.content(&next).as_deref(), Some("b"));
        let first = |content: &str, padding: &str| {
            let chunk = chunk(content, "");
            chunk.replacen('{', &format!(r#"{{"obfuscation":"{padding}","#), 1)
        };
        let before = form(&first("a", "xyz")).unwrap();
        assert_eq!(before.content(&first("b", "")).as_deref(), Some("b"));
        assert_eq!(before.content(&next), None);
    }

    /// Chunks like those of servers that do not keep to one form.
    fn any_chunk() -> impl Strategy<Value = String> {
        let text = prop_oneof![Just("a"), Just(""), Just(r"\n\u00e9"), Just("long enough")];
        let delta = (text.clone(), text, 0..12_u8).prop_map(|(text, other, kind)| match kind {
            0 => format!(r#"{{"content":"{text}","content":"{other}"}}"#),
            1 => format!(r#"{{"role":"assistant","content":"{text}"}}"#),
            2 => format!(r#"{{"content":"{text}","refusal":"{other}"}}"#),
            3 => format!(r#"{{"content":null,"refusal":"{other}"}}"#),
            4 => format!(r#"{{"content":"{text}","content":null}}"#),
            5 => format!(r#"{{"content":[{{"text":"{text}"}}]}}"#),
            _ => format!(r#"{{"content":"{text}"}}"#),
        });
        let rest = prop_oneof![
            Just(String::new()),
            Just(r#","usage":null"#.to_owned()),
            Just(r#","usage":{"prompt_tokens":1,"completion_tokens":2}"#.to_owned()),
            Just(r#","choices":5"#.to_owned()),
            "[a-z]{0,4}".prop_map(|padding| format!(r#","obfuscation":"{padding}""#)),
        ];
        let finish = prop_oneof![4 => Just("null"), 1 => Just(r#""stop""#)];
        (delta, rest, 0..2_u8, finish).prop_map(|(delta, rest, index, finish)| {
            format!(
                r#"{{"id":"a","choices":[{{"index":{index},"delta":{delta},"finish_reason":{finish}}}]{rest}}}"#
            )
        })
    }

    proptest! {
        #[test]
        fn a_stream_says_what_its_chunks_say_each_read_as_json(chunks in prop::collection::vec(any_chunk(), 0..12), limit in 0..600_usize) {
            let (mut with, mut without) = (Assembly::new(limit, Media::Size), Assembly::new(limit, Media::Size));
            for chunk in &chunks {
                let frame = Frame::Event { kind: "message".into(), data: chunk.into(), id: "".into() };
                with.frame(&frame);
                without.forget_form();
                without.frame(&frame);
                prop_assert_eq!(with.saw_token(), without.saw_token());
                prop_assert_eq!(with.held(), without.held());
            }
            prop_assert_eq!(with.finish(), without.finish());
        }
    }

    #[test]
    fn what_says_more_than_a_text_has_no_form() {
        for data in [
            chunk("a", "").replace("null", r#""stop""#),
            chunk("a", r#","usage":{"total_tokens":1}"#),
            chunk("a", r#","error":{"message":"no"}"#),
            chunk("a", "").replace(r#""content""#, r#""refusal":"","content""#),
            chunk("a", "").replace(r#""content""#, r#""tool_calls":[{}],"content""#),
            chunk("a", "").replace(r#""content":"a""#, r#""content":null"#),
            chunk("a", "").replace("}]", r#"},{"index":0}]"#),
            r#"{"choices":[]}"#.to_owned(),
            chunk(&"a".repeat(LONGEST), ""),
        ] {
            assert!(form(&data).is_none(), "{data}");
        }
    }
}
