//! One choice, put together from its pieces.

use std::borrow::Cow;

use super::calls::{self, CallTracker};
use super::room::Room;
use super::usage;
use crate::openai::chunk::{Attached, Audio, Delta, Part};
use crate::openai::media::{Media, MediaSize, decoded_length, without_data_urls};
use crate::openai::reply::{Choice, FunctionCall, Usage};

/// What the next piece of a choice depends on, beside what the choice holds.
#[derive(Debug, Default)]
pub(super) struct ChoiceTracker {
    calls: CallTracker,
    pub(super) usage: Option<Usage>,
    sound: Sound,
    /// A delta has said something, so that a whole message says it again.
    has_deltas: bool,
    /// A piece has said something.
    has_spoken: bool,
    /// The choice is over for certain: its first finish reason came after all that it said.
    pub(super) is_over: bool,
}

/// Speech so far. Of what is only measured no byte is kept.
#[derive(Debug, Default)]
struct Sound {
    bytes: usize,
    /// The beginning, from which its type is told, or with [`Media::Full`] all of it. Base64.
    data: String,
}

/// How much of a sound's base64 tells its type.
const BEGINNING: usize = 16;

impl ChoiceTracker {
    /// Takes one piece. Whether it said something.
    pub(super) fn part(
        &mut self,
        choice: &mut Choice,
        part: Part<'_>,
        media: Media,
        room: &mut Room,
    ) -> bool {
        let Part {
            delta,
            message,
            finish_reason,
            logprobs,
            usage,
            ..
        } = part;
        let mut speaks = false;
        let mut opens = false;
        if let Some(delta) = delta {
            speaks = delta.says_something();
            opens = delta.role.is_some() && !self.has_spoken;
            self.has_deltas |= speaks;
            self.delta(choice, *delta, false, media, room);
        }
        let mut is_repeated = false;
        if let Some(message) = message
            && !(speaks && says_less(&message, choice))
        {
            speaks |= message.says_something();
            is_repeated = self.has_deltas;
            self.message(choice, *message, media, room);
        }
        if let Some(reason) = finish_reason {
            // Servers that send a reason with each piece mean nothing by it, and with the last words it may be one of those.
            let is_first = choice.finish_reason.is_none();
            self.is_over = is_repeated || (is_first && !opens && !speaks);
            room.replace(&mut choice.finish_reason, &reason);
        } else {
            self.is_over &= !speaks;
        }
        self.has_spoken |= speaks;
        choice.logprobs |= logprobs;
        if let Some(new) = usage {
            usage::renew(&mut self.usage, &new);
        }
        speaks
    }

    /// A piece of text alone has come.
    pub(super) fn text(&mut self, is_empty: bool) {
        self.has_deltas |= !is_empty;
        self.has_spoken |= !is_empty;
        self.is_over &= is_empty;
    }

    /// Takes a whole message. After deltas, and after messages whose text it goes on with, it replaces what it says again; what it leaves
    /// out stays.
    fn message(&mut self, choice: &mut Choice, message: Delta<'_>, media: Media, room: &mut Room) {
        let content = message.content.as_deref().unwrap_or_default();
        let held = choice.content.as_deref().unwrap_or_default();
        if self.has_deltas || content.starts_with(held) {
            let says =
                |text: &Option<Cow<'_, str>>| text.as_ref().is_some_and(|text| !text.is_empty());
            let audio = message.audio.as_ref();
            for (slot, is_said) in [
                (&mut choice.content, says(&message.content)),
                (&mut choice.refusal, says(&message.refusal)),
                (&mut choice.reasoning, says(&message.reasoning)),
                (
                    &mut choice.audio_transcript,
                    audio.is_some_and(|audio| says(&audio.transcript)),
                ),
            ] {
                if is_said {
                    room.clear(slot);
                }
            }
            if audio.is_some_and(|audio| says(&audio.data)) {
                room.give_back(self.sound.data.len());
                self.sound = Sound::default();
            }
            if !message.attached.is_empty() {
                room.clear_list(&mut choice.media);
            }
            if !message.annotations.is_empty() {
                room.clear_list(&mut choice.annotations);
            }
            if !message.tool_calls.is_empty() {
                self.calls.clear(&mut choice.tool_calls, room);
            }
            if message.function_call.is_some() {
                choice.function_call = None;
            }
        }
        self.delta(choice, message, true, media, room);
    }

    fn delta(
        &mut self,
        choice: &mut Choice,
        delta: Delta<'_>,
        whole: bool,
        media: Media,
        room: &mut Room,
    ) {
        room.settle(&mut choice.role, delta.role);
        room.extend(&mut choice.content, delta.content);
        room.extend(&mut choice.refusal, delta.refusal);
        room.extend(&mut choice.reasoning, delta.reasoning);
        if let Some(audio) = delta.audio {
            self.sound.take(&audio, media, room);
            room.extend(&mut choice.audio_transcript, audio.transcript);
        }
        for attached in &delta.attached {
            attach(choice, attached, media, room);
        }
        for annotation in delta.annotations {
            room.push(&mut choice.annotations, annotation.to_owned());
        }
        if let Some(citations) = delta.citations {
            room.replace(&mut choice.citations, citations);
        }
        if let Some(function) = delta.function_call {
            let FunctionCall { name, arguments } = choice.function_call.get_or_insert_default();
            calls::grow(room, name, arguments, function);
        }
        if whole {
            self.calls
                .whole(&mut choice.tool_calls, delta.tool_calls, room);
        } else {
            self.calls
                .pieces(&mut choice.tool_calls, delta.tool_calls, room);
        }
    }

    /// There are no more pieces.
    pub(super) fn finish(&mut self, choice: &mut Choice, media: Media, room: &mut Room) {
        if media == Media::Size {
            let texts = [&mut choice.content, &mut choice.reasoning];
            let calls = choice.tool_calls.iter_mut().map(|call| &mut call.arguments);
            for text in texts.into_iter().flatten().chain(calls) {
                if let Cow::Owned(without) = without_data_urls(text) {
                    *text = without;
                }
            }
        }
        let Sound { bytes, data } = std::mem::take(&mut self.sound);
        if bytes == 0 {
            return;
        }
        room.give_back(data.len());
        let size = MediaSize {
            bytes: Some(bytes),
            ..MediaSize::of_base64("audio", None, &data)
        };
        let text = match media {
            Media::Full if decoded_length(&data) >= bytes => {
                let media_type = size.media_type.as_deref().unwrap_or("audio/pcm");
                format!("data:{media_type};base64,{data}")
            }
            Media::Full | Media::Size => size.to_string(),
        };
        room.push(&mut choice.media, text);
    }
}

/// Whether a message is no more than the delta beside it, which servers send that put each piece into both.
fn says_less(message: &Delta<'_>, choice: &Choice) -> bool {
    let held = choice.content.as_deref().unwrap_or_default();
    let content = message.content.as_deref().unwrap_or_default();
    content.len() < held.len()
}

impl Sound {
    fn take(&mut self, audio: &Audio<'_>, media: Media, room: &mut Room) {
        let Some(more) = audio.data.as_deref() else {
            return;
        };
        self.bytes += decoded_length(more);
        match media {
            Media::Full => room.append(&mut self.data, more),
            Media::Size => {
                let missing = BEGINNING.saturating_sub(self.data.len());
                let beginning = &more[..more.floor_char_boundary(missing)];
                room.append(&mut self.data, beginning);
            }
        }
    }
}

/// Adds media as spans have it; by its size, where it does not fit whole.
fn attach(choice: &mut Choice, attached: &Attached<'_>, media: Media, room: &mut Room) {
    let shown = attached.shown(media);
    let fits = media == Media::Size || shown.len() + size_of::<String>() <= room.left();
    room.push(
        &mut choice.media,
        if fits {
            shown
        } else {
            attached.shown(Media::Size)
        },
    );
}
