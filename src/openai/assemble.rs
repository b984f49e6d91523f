//! Assembles a reply from its chunks as they come.
//!
//! The assembler keeps the reply and never its chunks, and all texts of the reply share one limit. Nothing is final before the bytes end:
//! usage comes after the finish reasons, and an error may come after anything.

mod calls;
mod choice;
mod text_budget;
mod usage;

use std::borrow::Cow;

use self::choice::ChoiceTracker;
use self::text_budget::TextBudget;
use super::chunk::{ChoiceDelta, Chunk, ChunkTemplate};
use super::json;
use super::media::Media;
use super::reply::{ChatReply, Choice, ReplyError};
use crate::sse::SseFrame;

/// Limit of an error that is not JSON, in bytes.
const MAX_ERROR_TEXT: usize = 1 << 10;

/// Limit of the number of choices, the maximum of OpenAI's `n`.
const MAX_CHOICES: usize = 128;

/// Bytes of the limit that an empty choice takes.
const CHOICE_COST: usize = 256;

/// Limit of the places at which JSON is looked for after a value that broke off.
const MAX_RESUMPTIONS: usize = 16;

#[derive(Debug)]
pub(super) struct ReplyAssembler {
    reply: ChatReply,
    /// One for each choice of the reply, in the same order.
    trackers: Vec<ChoiceTracker>,
    /// Citations of the reply as a whole, as a JSON array.
    citations: Option<String>,
    media: Media,
    budget: TextBudget,
    has_token: bool,
    /// Whether `[DONE]` came.
    is_done: bool,
    /// A text in place of a chunk, as long as no chunk comes after it: perhaps the error that ended the stream.
    loose_text: Option<String>,
    /// The template of the last chunk that added to a text alone.
    template: Option<ChunkTemplate>,
}

impl ReplyAssembler {
    /// Length of the texts so far, in bytes.
    pub(super) fn held(&self) -> usize {
        self.budget.taken()
    }

    /// The texts of the reply have at most `limit` bytes.
    pub(super) fn new(limit: usize, media: Media) -> Self {
        Self {
            reply: ChatReply::default(),
            trackers: Vec::new(),
            citations: None,
            media,
            budget: TextBudget::new(limit),
            has_token: false,
            is_done: false,
            loose_text: None,
            template: None,
        }
    }

    #[cfg(test)]
    pub(super) fn forget_template(&mut self) {
        self.template = None;
    }

    /// Whether a chunk had content.
    pub(super) fn has_token(&self) -> bool {
        self.has_token
    }

    /// Whether `[DONE]` came or, from servers without it, the certain end of every choice.
    pub(super) fn has_ended(&self) -> bool {
        let is_over = self.trackers.iter().all(|tracker| tracker.is_over);
        self.is_done || !self.trackers.is_empty() && is_over
    }

    /// Adds one frame of an event stream.
    pub(super) fn frame(&mut self, frame: &SseFrame<'_>) {
        match frame {
            SseFrame::Event { kind, data, .. } => {
                let names_error = kind != "message" && kind.to_ascii_lowercase().contains("error");
                self.event(data, names_error);
            }
            SseFrame::Stray(text) if text.starts_with(['{', '[']) => _ = self.document(text),
            SseFrame::Stray(text) => self.loose_text(text),
        }
    }

    fn event(&mut self, data: &str, is_error: bool) {
        let template = self.template.as_ref().filter(|_| !is_error);
        if let Some((index, content)) =
            template.and_then(|template| Some((template.index, template.content(data)?)))
        {
            return self.content(index, content);
        }
        let json = data.trim_start();
        match json.as_bytes().first() {
            Some(b'{') => self.objects(data, is_error),
            _ if is_error => self.error_text(data),
            _ if json.trim_end() == "[DONE]" => self.is_done = true,
            Some(b'[') => _ = self.array(json),
            _ => self.loose_text(json),
        }
    }

    /// Adds the data of an event that begins with an object. Nearly always it is one object.
    fn objects(&mut self, data: &str, is_error: bool) {
        let mut rest = data;
        loop {
            let mut chunk = Chunk::default();
            let Ok(after) = json::read_first(rest, &mut chunk) else {
                // A broken chunk cannot be trusted; the chunks around it can.
                self.reply.broken_off = !self.resume(rest);
                if is_error && self.reply.error.is_none() {
                    self.error_text(data);
                }
                return;
            };
            let after = after.trim_ascii_start();
            if !is_error
                && after.is_empty()
                && let Some(template) = ChunkTemplate::of(rest, &chunk)
            {
                self.template = Some(template);
            }
            self.chunk(chunk, is_error);
            if is_error && let Some(ReplyError { message, .. }) = &mut self.reply.error {
                let text = &rest[..rest.floor_char_boundary(MAX_ERROR_TEXT)];
                self.budget.set_once(message, Some(text.into()));
            }
            if after.is_empty() {
                return;
            }
            if !after.starts_with('{') {
                return self.event(after, is_error);
            }
            rest = after;
        }
    }

    /// Adds the objects after one that broke off, on lines of their own or right where it broke; whether there were any. A proxy writes its
    /// error wherever the bytes of its upstream end.
    fn resume(&mut self, broken: &str) -> bool {
        let mut found = false;
        for line in broken.lines().skip(1) {
            let line = line.trim();
            if line == "[DONE]" {
                (found, self.is_done) = (true, true);
            }
            found |= line.starts_with('{') && self.resumed_object(line);
        }
        if found {
            return true;
        }
        let is_beginning = |at: &usize| {
            let rest = &broken[*at..];
            rest.starts_with("{\"error\"")
                || rest
                    .strip_prefix("data:")
                    .is_some_and(|data| data.trim_start().starts_with('{'))
                || rest.starts_with("\n{")
        };
        // The error is near the end.
        let candidates = memchr::memchr3_iter(b'{', b'd', b'\n', broken.as_bytes());
        let mut beginnings: Vec<usize> = candidates
            .rev()
            .filter(|at| *at > 0)
            .filter(is_beginning)
            .take(MAX_RESUMPTIONS)
            .collect();
        beginnings.reverse();
        beginnings.into_iter().any(|at| {
            let value = broken[at..].trim_start_matches("data:").trim_start();
            self.resumed_object(value)
        })
    }

    /// Adds one object, if it is whole and a chunk or an error: a value that broke off has other objects in it.
    fn resumed_object(&mut self, value: &str) -> bool {
        let mut chunk = Chunk::default();
        let is_reply = json::read(value, &mut chunk).is_ok()
            && (chunk.error.is_some() || !chunk.choices.is_empty());
        if is_reply {
            self.chunk(chunk, false);
        }
        is_reply
    }

    /// Adds a JSON document, or as much as came of one, or a text in place of one; whether it was whole JSON.
    pub(super) fn document(&mut self, text: &str) -> bool {
        let text = text.trim_ascii();
        match text.as_bytes().first() {
            Some(b'{') => self.object(text),
            Some(b'[') if text == "[DONE]" => {
                self.is_done = true;
                true
            }
            Some(b'[') => self.array(text),
            _ => {
                self.error_text(text);
                false
            }
        }
    }

    /// Adds an object, or the members before the place where it was cut.
    fn object(&mut self, text: &str) -> bool {
        let mut chunk = Chunk::default();
        let rest = json::read_first(text, &mut chunk);
        self.chunk(chunk, false);
        match rest.map(str::trim_ascii_start) {
            Ok(rest) if rest.starts_with(['{', '[']) => self.document(rest),
            Ok(_) => true,
            Err(json::Malformed) => {
                self.reply.broken_off = !self.resume(text);
                false
            }
        }
    }

    /// Adds an array of objects: Google's compatible endpoint puts its errors into one.
    fn array(&mut self, text: &str) -> bool {
        let elements = json::elements(text);
        if elements.is_empty() {
            // The array is cut or empty. Its first object may have the error.
            let first = text.trim_start_matches('[').trim_start();
            if first.starts_with('{') {
                self.object(first);
            }
            return false;
        }
        for element in elements {
            self.document(element.get());
        }
        true
    }

    /// Adds a text in place of a reply, mostly a proxy's error page.
    fn error_text(&mut self, text: &str) {
        let text = json::lone_text(text).unwrap_or(Cow::Borrowed(text));
        let text = text.trim();
        // JSON of nothing is no error.
        if !matches!(text, "" | "null" | "false" | "{}" | "[]") {
            let message = text[..text.floor_char_boundary(MAX_ERROR_TEXT)].to_owned();
            self.error(ReplyError {
                message: Some(message),
                ..ReplyError::default()
            });
        }
    }

    /// Keeps a text in place of a chunk, unless it is a number or a comment.
    fn loose_text(&mut self, text: &str) {
        let text = text.trim();
        let is_meaningless = text.starts_with(':') || text.parse::<f64>().is_ok();
        if self.loose_text.is_none() && !text.is_empty() && !is_meaningless {
            let text = &text[..text.floor_char_boundary(MAX_ERROR_TEXT)];
            self.loose_text = Some(text.to_owned());
        }
    }

    fn chunk(&mut self, mut chunk: Chunk<'_>, is_error: bool) {
        if let Some(mut error) = chunk.error.take() {
            // xAI's code is beside its text.
            if let Some(bare_error) = chunk.bare_error.take() {
                error.fill(ReplyError {
                    message: None,
                    ..*bare_error
                });
            }
            self.error(*error);
        } else if is_error {
            self.error(*chunk.bare_error.take().unwrap_or_default());
        } else if let Some(bare_error) = chunk.bare_error.take()
            && bare_error.message.is_some()
            && chunk.may_be_error()
        {
            self.error(*bare_error);
        }
        self.budget.set_once(&mut self.reply.id, chunk.id);
        self.budget.set_once(&mut self.reply.model, chunk.model);
        self.budget
            .set_once(&mut self.reply.system_fingerprint, chunk.system_fingerprint);
        self.budget
            .set_once(&mut self.reply.service_tier, chunk.service_tier);
        self.reply.created = self
            .reply
            .created
            .or(chunk.created.filter(|&seconds| seconds != 0));
        usage::update(&mut self.reply.usage, &chunk.usage);
        if !chunk.choices.is_empty() {
            self.loose_text = None;
            self.reply.broken_off = false;
        }
        for (position, delta) in (0..).zip(chunk.choices) {
            self.choice_delta(position, delta);
        }
        if let Some(citations) = chunk.citations {
            self.has_token = true;
            self.budget.replace(&mut self.citations, citations);
        }
    }

    /// Keeps the first error: later ones follow from it.
    fn error(&mut self, mut error: ReplyError) {
        if self.reply.error.is_none() {
            for text in error.texts() {
                self.budget.shorten(text);
            }
            self.reply.error = Some(error);
        }
    }

    /// Adds a text to the content of a choice.
    fn content(&mut self, index: Option<u64>, text: Cow<'_, str>) {
        if let Some(at) = self.choice(index.unwrap_or(0)) {
            self.has_token |= !text.is_empty();
            self.trackers[at].content(text.is_empty());
            self.budget
                .extend(&mut self.reply.choices[at].content, Some(text));
        }
        self.loose_text = None;
        self.reply.broken_off = false;
    }

    fn choice_delta(&mut self, position: u64, mut delta: ChoiceDelta<'_>) {
        if let Some(error) = delta.error.take() {
            self.error(*error);
        }
        if let Some(at) = self.choice(delta.index.unwrap_or(position)) {
            let choice = &mut self.reply.choices[at];
            self.has_token |= self.trackers[at].add(choice, delta, self.media, &mut self.budget);
        }
    }

    /// The position of the choice of this index, in the order of indices; none when there are too many.
    fn choice(&mut self, index: u64) -> Option<usize> {
        match self
            .reply
            .choices
            .binary_search_by_key(&index, |choice| choice.index)
        {
            Ok(at) => Some(at),
            Err(at) => {
                if self.reply.choices.len() >= MAX_CHOICES || !self.budget.take(CHOICE_COST) {
                    self.budget.mark_cut();
                    return None;
                }
                self.reply.choices.insert(
                    at,
                    Choice {
                        index,
                        ..Choice::default()
                    },
                );
                self.trackers.insert(at, ChoiceTracker::default());
                Some(at)
            }
        }
    }

    /// The reply so far, which is final.
    pub(super) fn finish(mut self) -> ChatReply {
        for (choice, tracker) in self.reply.choices.iter_mut().zip(&mut self.trackers) {
            tracker.finish(choice, self.media, &mut self.budget);
        }
        if let Some(first) = self.reply.choices.first_mut() {
            first.citations = first.citations.take().or(self.citations.take());
        }
        if self.reply.usage.is_none() {
            let usages = self.trackers.iter().filter_map(|tracker| tracker.usage);
            self.reply.usage = usage::of_choices(usages);
        }
        if let Some(error) = self.reply.choices.iter().find_map(finish_error) {
            self.error(error);
        }
        let is_finished = self.reply.is_finished();
        if let Some(text) = self.loose_text.take().filter(|_| !is_finished) {
            self.error_text(&text);
        }
        self.reply.cut |= self.budget.is_cut();
        self.reply
    }
}

/// The error of a choice whose finish reason is the only sign of it.
fn finish_error(choice: &Choice) -> Option<ReplyError> {
    let reason = choice.finish_reason.as_deref()?;
    let is_error = reason.eq_ignore_ascii_case("error");
    // Zhipu's `network_error`.
    (is_error || reason.ends_with("_error")).then(|| ReplyError {
        message: Some(format!("the reply's finish reason is `{reason}`")),
        kind: None,
        code: (!is_error).then(|| reason.to_owned()),
        param: None,
    })
}
