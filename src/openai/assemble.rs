//! A reply, put together from its chunks as they come.
//!
//! The rule: the reply is kept, never the chunks, and all of its texts together stay within one limit. Nothing is final before the bytes
//! end: usage comes after the finish reasons, and an error after anything.

use std::borrow::Cow;

use super::chunk::{Call, Chunk, Delta, Function, Part};
use super::form::Form;
use super::json;
use super::reply::{ChatReply, Choice, Failure, FunctionCall, ToolCall, Usage};
use crate::sse::Frame;

/// How much of an error that is no JSON is kept, in bytes.
const ERROR_TEXT: usize = 1 << 10;

/// More choices (OpenAI's `n` ends at 128) or calls in one choice than this are left out, so that finding one stays cheap.
const MOST_CHOICES: usize = 128;
const MOST_CALLS: usize = 1024;

/// What an empty choice or call takes of the limit, in bytes.
const PLACE: usize = 256;

#[derive(Debug)]
pub(super) struct Assembly {
    reply: ChatReply,
    /// Indices of the tool calls, by choice: what a delta without an id refers to.
    call_indices: Vec<Vec<Option<u64>>>,
    room: Room,
    token: bool,
    done: bool,
    /// Of the last chunk that added to a text alone.
    form: Option<Form>,
}

/// A limit and what is left of it, in bytes.
#[derive(Debug)]
struct Room {
    limit: usize,
    left: usize,
    cut: bool,
}

impl Room {
    fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
        } else {
            self.cut = true;
        }
        fits
    }

    /// Appends what fits.
    fn append(&mut self, to: &mut String, text: &str) {
        let fits = &text[..text.floor_char_boundary(self.left)];
        self.cut |= fits.len() < text.len();
        self.left -= fits.len();
        to.push_str(fits);
    }

    /// Appends to a text that may not have begun. An empty text begins it, too: content that is there and empty is not content that is null.
    fn extend(&mut self, to: &mut Option<String>, text: Option<Cow<'_, str>>) {
        if let Some(text) = text {
            self.append(to.get_or_insert_default(), &text);
        }
    }

    /// Sets a text that has one value in the whole reply. Some servers leave it empty at first.
    fn settle(&mut self, slot: &mut Option<String>, text: Option<Cow<'_, str>>) {
        if let (None, Some(text)) = (&slot, text.filter(|text| !text.is_empty())) {
            self.append(slot.get_or_insert_default(), &text);
        }
    }
}

impl Assembly {
    /// Bytes of text that are kept.
    pub(super) fn held(&self) -> usize {
        self.room.limit - self.room.left
    }

    /// An assembly that keeps at most `limit` bytes of text.
    pub(super) fn new(limit: usize) -> Self {
        let room = Room {
            limit,
            left: limit,
            cut: false,
        };
        Self {
            reply: ChatReply::default(),
            call_indices: Vec::new(),
            room,
            token: false,
            done: false,
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

    /// Whether `[DONE]` came or, of servers that send none, every choice has its finish reason.
    pub(super) fn ended(&self) -> bool {
        self.done
            || !self.reply.choices.is_empty()
                && self
                    .reply
                    .choices
                    .iter()
                    .all(|choice| choice.finish_reason.is_some())
    }

    /// Takes one frame of an event stream.
    pub(super) fn frame(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Event { data, .. } if data.trim() == "[DONE]" => self.done = true,
            Frame::Event { kind, data, .. } => self.event(data, kind == "error"),
            Frame::Stray(text) => _ = self.body(text),
        }
    }

    fn event(&mut self, data: &str, error: bool) {
        let known = self.form.as_ref().filter(|_| !error);
        if let Some((index, content)) =
            known.and_then(|form| Some((form.index(), form.content(data)?)))
        {
            return self.text(index, content);
        }
        let mut chunk = Chunk::default();
        // A chunk that is broken says nothing that can be trusted; those around it do.
        if json::read(data, &mut chunk).is_ok() && data.trim_start().starts_with('{') {
            if !error && let Some(form) = Form::of(data, &chunk) {
                self.form = Some(form);
            }
            self.chunk(chunk, error);
        } else if error {
            self.error_text(data);
        }
    }

    /// Takes a whole body, or as much as there is of one; whether it was whole.
    pub(super) fn body(&mut self, text: &str) -> bool {
        let mut chunk = Chunk::default();
        // Of a body that was cut, the part before the cut is all there is.
        let read = json::read(text, &mut chunk);
        self.chunk(chunk, false);
        read.is_ok()
    }

    /// Takes a text that is no JSON where a reply was due: a proxy's error page, mostly.
    pub(super) fn error_text(&mut self, text: &str) {
        let text = text.trim();
        if !text.is_empty() {
            let message = text[..text.floor_char_boundary(ERROR_TEXT)].to_owned();
            self.fail(Failure {
                message: Some(message),
                ..Failure::default()
            });
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>, error: bool) {
        let bare = error
            || chunk.object.as_deref() == Some("error")
            || (chunk.id.is_none() && chunk.choices.is_empty());
        if let Some(failure) = chunk.error {
            self.fail(failure);
        } else if bare && (error || chunk.bare_error.message.is_some()) {
            self.fail(chunk.bare_error);
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
        self.reply.usage = newer(self.reply.usage, chunk.usage);
        for (position, part) in (0..).zip(chunk.choices) {
            self.part(position, part);
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
            self.room
                .extend(&mut self.reply.choices[at].content, Some(text));
        }
    }

    fn part(&mut self, position: u64, part: Part<'_>) {
        let Some(at) = self.choice(part.index.unwrap_or(position)) else {
            return;
        };
        self.token |= says_something(&part.delta);
        let (choice, room) = (&mut self.reply.choices[at], &mut self.room);
        let delta = part.delta;
        room.settle(&mut choice.role, delta.role);
        room.extend(&mut choice.content, delta.content);
        room.extend(&mut choice.refusal, delta.refusal);
        room.extend(&mut choice.reasoning, delta.reasoning);
        room.extend(
            &mut choice.audio_transcript,
            delta.audio.and_then(|audio| audio.transcript),
        );
        if let Some(function) = delta.function_call {
            let call = choice.function_call.get_or_insert_default();
            let FunctionCall { name, arguments } = call;
            grow(room, name, arguments, function);
        }
        room.settle(&mut choice.finish_reason, part.finish_reason);
        choice.logprobs |= part.logprobs;
        for call in delta.tool_calls {
            self.call(at, call, part.whole);
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
                if self.reply.choices.len() >= MOST_CHOICES || !self.room.take(PLACE) {
                    self.room.cut = true;
                    return None;
                }
                self.reply.choices.insert(
                    at,
                    Choice {
                        index,
                        ..Choice::default()
                    },
                );
                self.call_indices.insert(at, Vec::new());
                Some(at)
            }
        }
    }

    fn call(&mut self, choice: usize, piece: Call<'_>, whole: bool) {
        let calls = &mut self.reply.choices[choice].tool_calls;
        let indices = &mut self.call_indices[choice];
        let known = if whole {
            None
        } else {
            continued(calls, indices, &piece)
        };
        let at = match known {
            Some(at) => at,
            None if calls.len() >= MOST_CALLS || !self.room.take(PLACE) => {
                self.room.cut = true;
                return;
            }
            None => {
                calls.push(ToolCall::default());
                indices.push(piece.index);
                calls.len() - 1
            }
        };
        let call = &mut calls[at];
        if let (true, Some(id)) = (call.id.is_empty(), piece.id) {
            self.room.append(&mut call.id, &id);
        }
        call.kind = piece.kind.unwrap_or(call.kind);
        grow(
            &mut self.room,
            &mut call.name,
            &mut call.arguments,
            piece.function,
        );
    }

    /// The reply, as far as it came.
    pub(super) fn finish(mut self) -> ChatReply {
        self.reply.cut |= self.room.cut;
        self.reply
    }
}

/// Which call a piece goes on with; none when it begins one.
///
/// The index says so, but Ollama gives all calls index 0 and others give none: a new id that comes with a name is a new call.
fn continued(calls: &[ToolCall], indices: &[Option<u64>], piece: &Call<'_>) -> Option<usize> {
    let id = piece.id.as_deref().filter(|id| !id.is_empty());
    let at = match (piece.index, id) {
        (Some(_), _) => indices.iter().rposition(|&index| index == piece.index)?,
        (None, Some(id)) => return calls.iter().rposition(|call| call.id == id),
        (None, None) => calls.len().checked_sub(1)?,
    };
    let named = piece
        .function
        .name
        .as_deref()
        .is_some_and(|name| !name.is_empty());
    let other = id.is_some_and(|id| !calls[at].id.is_empty() && calls[at].id != id);
    (!(named && other)).then_some(at)
}

/// Adds a piece to a call. A name may come in pieces, too, but before any argument; some servers repeat the whole of it each time.
fn grow(room: &mut Room, name: &mut String, arguments: &mut String, piece: Function<'_>) {
    if let Some(more) = piece
        .name
        .filter(|more| arguments.is_empty() && **more != **name)
    {
        room.append(name, &more);
    }
    if let Some(more) = piece.arguments {
        room.append(arguments, &more);
    }
}

/// A role alone, or an empty text, is not yet a token.
fn says_something(delta: &Delta<'_>) -> bool {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().is_some_and(|text| !text.is_empty());
    text(&delta.content)
        || text(&delta.refusal)
        || text(&delta.reasoning)
        || delta
            .audio
            .as_ref()
            .is_some_and(|audio| audio.sound || text(&audio.transcript))
        || !delta.tool_calls.is_empty()
        || delta.function_call.is_some()
}

/// The usage to believe: the last complete one. Never a sum, for servers that send it with each chunk count from the start. All zeros are
/// what servers send that do not know; a part of a usage stands only until a complete one comes.
fn newer(held: Option<Usage>, new: Usage) -> Option<Usage> {
    let complete = |usage: &Usage| usage.prompt.is_some() && usage.completion.is_some();
    let nothing = [new.prompt, new.completion, new.total]
        .iter()
        .all(|tokens| tokens.unwrap_or(0) == 0);
    match held {
        _ if nothing => held,
        Some(held) if complete(&held) && !complete(&new) => Some(held),
        Some(held) if !complete(&new) => Some(Usage {
            prompt: new.prompt.or(held.prompt),
            completion: new.completion.or(held.completion),
            total: new.total.or(held.total),
            cached: new.cached.or(held.cached),
            cache_write: new.cache_write.or(held.cache_write),
            reasoning: new.reasoning.or(held.reasoning),
            ..held
        }),
        _ => Some(new),
    }
}
