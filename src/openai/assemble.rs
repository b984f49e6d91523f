//! A reply, put together from its chunks as they come.
//!
//! The rule: the reply is kept, never the chunks, and all of its texts together stay within one limit. Nothing is final before the bytes
//! end: usage comes after the finish reasons, and an error after anything.

mod calls;
mod choice;
mod room;
mod usage;

use std::borrow::Cow;

use self::choice::ChoiceTracker;
use self::room::Room;
use super::chunk::{Chunk, Part};
use super::form::Form;
use super::json;
use super::media::Media;
use super::reply::{ChatReply, Choice, Failure};
use crate::sse::Frame;

/// How much of an error that is no JSON is kept, in bytes.
const ERROR_TEXT: usize = 1 << 10;

/// More choices than this are left out (OpenAI's `n` ends at 128), so that finding one stays cheap.
const MOST_CHOICES: usize = 128;

/// What an empty choice takes of the limit, in bytes.
const CHOICE: usize = 256;

/// How many beginnings of JSON are tried in what follows a value that broke off.
const MOST_RESUMED: usize = 16;

#[derive(Debug)]
pub(super) struct Assembly {
    reply: ChatReply,
    /// One for each choice, in their order.
    choices: Vec<ChoiceTracker>,
    /// Those of the reply as a whole, as a JSON list.
    citations: Option<String>,
    media: Media,
    room: Room,
    token: bool,
    done: bool,
    /// A text that stood where a chunk was due, while no chunk came after it: perhaps the error that ended the stream.
    loose_text: Option<String>,
    /// Of the last chunk that added to a text alone.
    form: Option<Form>,
}

impl Assembly {
    /// Bytes of text that are kept.
    pub(super) fn held(&self) -> usize {
        self.room.held()
    }

    /// An assembly that keeps at most `limit` bytes of text.
    pub(super) fn new(limit: usize, media: Media) -> Self {
        Self {
            reply: ChatReply::default(),
            choices: Vec::new(),
            citations: None,
            media,
            room: Room::new(limit),
            token: false,
            done: false,
            loose_text: None,
            form: None,
        }
    }

    #[cfg(test)]
    pub(super) fn forget_form(&mut self) {
        self.form = None;
    }

    /// Whether any chunk had something to say.
    pub(super) fn saw_token(&self) -> bool {
        self.token
    }

    /// Whether `[DONE]` came or, of servers that send none, every choice is over for certain.
    pub(super) fn ended(&self) -> bool {
        let is_over = self.choices.iter().all(|choice| choice.is_over);
        self.done || !self.choices.is_empty() && is_over
    }

    /// Takes one frame of an event stream.
    pub(super) fn frame(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Event { kind, data, .. } => {
                let names_error = kind != "message" && kind.to_ascii_lowercase().contains("error");
                self.event(data, names_error);
            }
            Frame::Stray(text) if text.starts_with(['{', '[']) => _ = self.document(text),
            Frame::Stray(text) => self.loose(text),
        }
    }

    fn event(&mut self, data: &str, error: bool) {
        let known = self.form.as_ref().filter(|_| !error);
        if let Some((index, content)) =
            known.and_then(|form| Some((form.index(), form.content(data)?)))
        {
            return self.text(index, content);
        }
        let json = data.trim_start();
        match json.as_bytes().first() {
            Some(b'{') => self.values(data, error),
            _ if error => self.error_text(data),
            _ if json.trim_end() == "[DONE]" => self.done = true,
            Some(b'[') => _ = self.list(json),
            _ => self.loose(json),
        }
    }

    /// Takes the data of an event that begins with an object: mostly it is one, and nothing else.
    fn values(&mut self, data: &str, error: bool) {
        let mut rest = data;
        loop {
            let mut chunk = Chunk::default();
            let Ok(after) = json::read_first(rest, &mut chunk) else {
                // A chunk that is broken says nothing that can be trusted; those around it do.
                self.reply.broken_off = !self.resume(rest);
                if error && self.reply.error.is_none() {
                    self.error_text(data);
                }
                return;
            };
            let after = after.trim_ascii_start();
            if !error
                && after.is_empty()
                && let Some(form) = Form::of(rest, &chunk)
            {
                self.form = Some(form);
            }
            self.chunk(chunk, error);
            if error && let Some(Failure { message, .. }) = &mut self.reply.error {
                let text = &rest[..rest.floor_char_boundary(ERROR_TEXT)];
                self.room.settle(message, Some(text.into()));
            }
            if after.is_empty() {
                return;
            }
            if !after.starts_with('{') {
                return self.event(after, error);
            }
            rest = after;
        }
    }

    /// Takes the values that follow one that broke off, on lines of their own or where it broke: an upstream's proxy writes its error wherever
    /// the upstream's bytes ended. Whether there were any.
    fn resume(&mut self, broken: &str) -> bool {
        let mut found = false;
        for line in broken.lines().skip(1) {
            let line = line.trim();
            if line == "[DONE]" {
                (found, self.done) = (true, true);
            }
            found |= line.starts_with('{') && self.resumed(line);
        }
        if found {
            return true;
        }
        let begins = |at: &usize| {
            let rest = &broken[*at..];
            rest.starts_with("{\"error\"")
                || rest
                    .strip_prefix("data:")
                    .is_some_and(|data| data.trim_start().starts_with('{'))
                || rest.starts_with("\n{")
        };
        // The error is the last thing in it.
        let marks = memchr::memchr3_iter(b'{', b'd', b'\n', broken.as_bytes());
        let mut beginnings: Vec<usize> = marks
            .rev()
            .filter(|at| *at > 0)
            .filter(begins)
            .take(MOST_RESUMED)
            .collect();
        beginnings.reverse();
        beginnings.into_iter().any(|at| {
            let value = broken[at..].trim_start_matches("data:").trim_start();
            self.resumed(value)
        })
    }

    /// Takes one object, if it is whole and a chunk or an error: within a value that broke off there are others.
    fn resumed(&mut self, value: &str) -> bool {
        let mut chunk = Chunk::default();
        let is_reply = json::read(value, &mut chunk).is_ok()
            && (chunk.error.is_some() || !chunk.choices.is_empty());
        if is_reply {
            self.chunk(chunk, false);
        }
        is_reply
    }

    /// Takes a JSON document, as much as there is of one, or what stands in place of one. Whether it was whole.
    pub(super) fn document(&mut self, text: &str) -> bool {
        let text = text.trim_ascii();
        match text.as_bytes().first() {
            Some(b'{') => self.object(text),
            Some(b'[') if text == "[DONE]" => {
                self.done = true;
                true
            }
            Some(b'[') => self.list(text),
            _ => {
                self.error_text(text);
                false
            }
        }
    }

    /// Takes an object; of one that was cut, the part before the cut is all there is.
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

    /// Takes a list of objects: Google's compatible endpoint puts its errors into one.
    fn list(&mut self, text: &str) -> bool {
        let elements = json::elements(text);
        if elements.is_empty() {
            // It breaks off, or is empty: what there is of its first value may say enough.
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

    /// Takes a text that is no JSON where a reply was due: a proxy's error page, mostly.
    fn error_text(&mut self, text: &str) {
        let text = json::lone_text(text).unwrap_or(Cow::Borrowed(text));
        let text = text.trim();
        // What JSON has for nothing.
        if !matches!(text, "" | "null" | "false" | "{}" | "[]") {
            let message = text[..text.floor_char_boundary(ERROR_TEXT)].to_owned();
            self.fail(Failure {
                message: Some(message),
                ..Failure::default()
            });
        }
    }

    /// Keeps a text that stands where a chunk was due. Numbers and comments say nothing.
    fn loose(&mut self, text: &str) {
        let text = text.trim();
        let says_nothing = text.starts_with(':') || text.parse::<f64>().is_ok();
        if self.loose_text.is_none() && !text.is_empty() && !says_nothing {
            let text = &text[..text.floor_char_boundary(ERROR_TEXT)];
            self.loose_text = Some(text.to_owned());
        }
    }

    fn chunk(&mut self, mut chunk: Chunk<'_>, error: bool) {
        if let Some(mut failure) = chunk.error.take() {
            // xAI's code is beside its text.
            if let Some(bare_error) = chunk.bare_error.take() {
                failure.fill(Failure {
                    message: None,
                    ..*bare_error
                });
            }
            self.fail(*failure);
        } else if error {
            self.fail(*chunk.bare_error.take().unwrap_or_default());
        } else if let Some(bare_error) = chunk.bare_error.take()
            && bare_error.message.is_some()
            && chunk.may_be_error()
        {
            self.fail(*bare_error);
        }
        self.room.settle(&mut self.reply.id, chunk.id);
        self.room.settle(&mut self.reply.model, chunk.model);
        self.room
            .settle(&mut self.reply.system_fingerprint, chunk.system_fingerprint);
        self.room
            .settle(&mut self.reply.service_tier, chunk.service_tier);
        self.reply.created = self
            .reply
            .created
            .or(chunk.created.filter(|&seconds| seconds != 0));
        usage::renew(&mut self.reply.usage, &chunk.usage);
        if !chunk.choices.is_empty() {
            self.loose_text = None;
            self.reply.broken_off = false;
        }
        for (position, part) in (0..).zip(chunk.choices) {
            self.part(position, part);
        }
        if let Some(citations) = chunk.citations {
            self.token = true;
            self.room.replace(&mut self.citations, citations);
        }
    }

    /// Keeps the first error: what follows one is its echo.
    fn fail(&mut self, mut failure: Failure) {
        if self.reply.error.is_none() {
            for text in [
                &mut failure.message,
                &mut failure.kind,
                &mut failure.code,
                &mut failure.param,
            ] {
                if let Some(long) = text.take() {
                    self.room.extend(text, Some(Cow::Owned(long)));
                }
            }
            self.reply.error = Some(failure);
        }
    }

    /// A chunk like the one before, but for its text.
    fn text(&mut self, index: Option<u64>, text: Cow<'_, str>) {
        if let Some(at) = self.choice(index.unwrap_or(0)) {
            self.token |= !text.is_empty();
            self.choices[at].text(text.is_empty());
            self.room
                .extend(&mut self.reply.choices[at].content, Some(text));
        }
        self.loose_text = None;
        self.reply.broken_off = false;
    }

    fn part(&mut self, position: u64, mut part: Part<'_>) {
        if let Some(failure) = part.error.take() {
            self.fail(*failure);
        }
        if let Some(at) = self.choice(part.index.unwrap_or(position)) {
            let choice = &mut self.reply.choices[at];
            self.token |= self.choices[at].part(choice, part, self.media, &mut self.room);
        }
    }

    /// Where the choice of this index is, in the order of indices; none when there are too many.
    fn choice(&mut self, index: u64) -> Option<usize> {
        match self
            .reply
            .choices
            .binary_search_by_key(&index, |choice| choice.index)
        {
            Ok(at) => Some(at),
            Err(at) => {
                if self.reply.choices.len() >= MOST_CHOICES || !self.room.take(CHOICE) {
                    self.room.leave_out();
                    return None;
                }
                self.reply.choices.insert(
                    at,
                    Choice {
                        index,
                        ..Choice::default()
                    },
                );
                self.choices.insert(at, ChoiceTracker::default());
                Some(at)
            }
        }
    }

    /// The reply, as far as it came.
    pub(super) fn finish(mut self) -> ChatReply {
        for (choice, tracker) in self.reply.choices.iter_mut().zip(&mut self.choices) {
            tracker.finish(choice, self.media, &mut self.room);
        }
        if let Some(first) = self.reply.choices.first_mut() {
            first.citations = first.citations.take().or(self.citations.take());
        }
        if self.reply.usage.is_none() {
            let usages = self.choices.iter().filter_map(|choice| choice.usage);
            self.reply.usage = usage::of_choices(usages);
        }
        if let Some(failure) = self.reply.choices.iter().find_map(failed) {
            self.fail(failure);
        }
        let is_finished = self.reply.is_finished();
        if let Some(text) = self.loose_text.take().filter(|_| !is_finished) {
            self.error_text(&text);
        }
        self.reply.cut |= self.room.cut();
        self.reply
    }
}

/// The failure that a choice ended with, where its finish reason is all that tells.
fn failed(choice: &Choice) -> Option<Failure> {
    let reason = choice.finish_reason.as_deref()?;
    let is_error = reason.eq_ignore_ascii_case("error");
    // Zhipu's `network_error`.
    (is_error || reason.ends_with("_error")).then(|| Failure {
        message: Some(format!("the reply's finish reason is `{reason}`")),
        kind: None,
        code: (!is_error).then(|| reason.to_owned()),
        param: None,
    })
}
