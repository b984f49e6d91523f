//! Assembles one choice from its deltas.

use std::borrow::Cow;

use super::calls::{self, CallTracker};
use super::text_budget::TextBudget;
use super::usage;
use crate::openai::chunk::{Attachment, AudioDelta, ChoiceDelta, MessageDelta, is_filled};
use crate::openai::media::{Media, MediaSummary, decoded_length, without_data_urls};
use crate::openai::reply::{Choice, FunctionCall, Usage};

/// The state of a choice that the choice itself does not have.
#[derive(Debug, Default)]
pub(super) struct ChoiceTracker {
    calls: CallTracker,
    pub(super) usage: Option<Usage>,
    sound: Sound,
    /// Whether a delta had content, which a whole message repeats.
    has_deltas: bool,
    /// Whether a delta or a message had content.
    has_content: bool,
    /// Whether the end is certain: the first finish reason came after all content.
    pub(super) is_over: bool,
}

/// Speech so far.
#[derive(Debug, Default)]
struct Sound {
    /// Decoded length in bytes.
    bytes: usize,
    /// Base64: with [`Media::Full`] all of it, else the beginning, which shows its type.
    data: String,
}

/// Length of base64 that shows the type of a sound.
const TYPE_PREFIX: usize = 16;

impl ChoiceTracker {
    /// Adds the part of one chunk; whether it had content.
    pub(super) fn add(
        &mut self,
        choice: &mut Choice,
        part: ChoiceDelta<'_>,
        media: Media,
        budget: &mut TextBudget,
    ) -> bool {
        let ChoiceDelta {
            delta,
            message,
            finish_reason,
            logprobs,
            usage,
            ..
        } = part;
        let mut has_content = false;
        let mut is_opening = false;
        if let Some(delta) = delta {
            has_content = delta.has_content();
            is_opening = delta.role.is_some() && !self.has_content;
            self.has_deltas |= has_content;
            self.delta(choice, *delta, false, media, budget);
        }
        let mut is_repeated = false;
        if let Some(message) = message
            && !(has_content && is_shorter(&message, choice))
        {
            has_content |= message.has_content();
            is_repeated = self.has_deltas;
            self.message(choice, *message, media, budget);
        }
        if let Some(reason) = finish_reason {
            // Some servers send a reason with each chunk, so a reason together with content proves nothing.
            let is_first = choice.finish_reason.is_none();
            self.is_over = is_repeated || (is_first && !is_opening && !has_content);
            budget.replace(&mut choice.finish_reason, &reason);
        } else {
            self.is_over &= !has_content;
        }
        self.has_content |= has_content;
        choice.logprobs |= logprobs;
        if let Some(new) = usage {
            usage::update(&mut self.usage, &new);
        }
        has_content
    }

    /// Notes a delta with nothing but a text.
    pub(super) fn content(&mut self, is_empty: bool) {
        self.has_deltas |= !is_empty;
        self.has_content |= !is_empty;
        self.is_over &= is_empty;
    }

    /// Adds a whole message. After deltas, and after messages whose content it begins with, its members replace the earlier ones; members
    /// that it lacks stay.
    fn message(
        &mut self,
        choice: &mut Choice,
        message: MessageDelta<'_>,
        media: Media,
        budget: &mut TextBudget,
    ) {
        let content = message.content.as_deref().unwrap_or_default();
        let held = choice.content.as_deref().unwrap_or_default();
        if self.has_deltas || content.starts_with(held) {
            let audio = message.audio.as_ref();
            for (slot, is_repeated) in [
                (&mut choice.content, is_filled(message.content.as_deref())),
                (&mut choice.refusal, is_filled(message.refusal.as_deref())),
                (
                    &mut choice.reasoning,
                    is_filled(message.reasoning.as_deref()),
                ),
                (
                    &mut choice.audio_transcript,
                    audio.is_some_and(|audio| is_filled(audio.transcript.as_deref())),
                ),
            ] {
                if is_repeated {
                    budget.clear(slot);
                }
            }
            if audio.is_some_and(|audio| is_filled(audio.data.as_deref())) {
                budget.give_back(self.sound.data.len());
                self.sound = Sound::default();
            }
            if !message.attachments.is_empty() {
                budget.clear_list(&mut choice.media);
            }
            if !message.annotations.is_empty() {
                budget.clear_list(&mut choice.annotations);
            }
            if !message.tool_calls.is_empty() {
                self.calls.clear(&mut choice.tool_calls, budget);
            }
            if message.function_call.is_some() {
                choice.function_call = None;
            }
        }
        self.delta(choice, message, true, media, budget);
    }

    fn delta(
        &mut self,
        choice: &mut Choice,
        delta: MessageDelta<'_>,
        is_whole: bool,
        media: Media,
        budget: &mut TextBudget,
    ) {
        budget.set_once(&mut choice.role, delta.role);
        budget.extend(&mut choice.content, delta.content);
        budget.extend(&mut choice.refusal, delta.refusal);
        budget.extend(&mut choice.reasoning, delta.reasoning);
        if let Some(audio) = delta.audio {
            self.sound.add(&audio, media, budget);
            budget.extend(&mut choice.audio_transcript, audio.transcript);
        }
        for attachment in &delta.attachments {
            attach(choice, attachment, media, budget);
        }
        for annotation in delta.annotations {
            budget.push(&mut choice.annotations, annotation.to_owned());
        }
        if let Some(citations) = delta.citations {
            budget.replace(&mut choice.citations, citations);
        }
        if let Some(function) = delta.function_call {
            let FunctionCall { name, arguments } = choice.function_call.get_or_insert_default();
            calls::extend(budget, name, arguments, function);
        }
        if is_whole {
            self.calls
                .add_whole(&mut choice.tool_calls, delta.tool_calls, budget);
        } else {
            self.calls
                .add_deltas(&mut choice.tool_calls, delta.tool_calls, budget);
        }
    }

    /// Replaces media in the texts, and adds the speech to the media.
    pub(super) fn finish(&mut self, choice: &mut Choice, media: Media, budget: &mut TextBudget) {
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
        budget.give_back(data.len());
        let summary = MediaSummary {
            bytes: Some(bytes),
            ..MediaSummary::of_base64("audio", None, &data)
        };
        let text = match media {
            Media::Full if decoded_length(&data) >= bytes => {
                let media_type = summary.media_type.as_deref().unwrap_or("audio/pcm");
                format!("data:{media_type};base64,{data}")
            }
            Media::Full | Media::Size => summary.to_string(),
        };
        budget.push(&mut choice.media, text);
    }
}

/// Whether a message has less content than the choice. Some servers put each piece into both a delta and a message.
fn is_shorter(message: &MessageDelta<'_>, choice: &Choice) -> bool {
    let held = choice.content.as_deref().unwrap_or_default();
    let content = message.content.as_deref().unwrap_or_default();
    content.len() < held.len()
}

impl Sound {
    fn add(&mut self, audio: &AudioDelta<'_>, media: Media, budget: &mut TextBudget) {
        let Some(more) = audio.data.as_deref() else {
            return;
        };
        self.bytes += decoded_length(more);
        match media {
            Media::Full => budget.append(&mut self.data, more),
            Media::Size => {
                let missing = TYPE_PREFIX.saturating_sub(self.data.len());
                let beginning = &more[..more.floor_char_boundary(missing)];
                budget.append(&mut self.data, beginning);
            }
        }
    }
}

/// Adds media as the text of a span: whole where that is wanted and fits, else by kind, type and size.
fn attach(choice: &mut Choice, attachment: &Attachment<'_>, media: Media, budget: &mut TextBudget) {
    let text = attachment.span_text(media);
    let fits = media == Media::Size || text.len() + size_of::<String>() <= budget.left();
    budget.push(
        &mut choice.media,
        if fits {
            text
        } else {
            attachment.span_text(Media::Size)
        },
    );
}
