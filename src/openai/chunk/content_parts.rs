//! A content in parts: texts, reasoning, media, and other objects that servers put among them.

use std::borrow::Cow;

use super::MessageDelta;
use super::attachment::AttachmentFields;
use crate::openai::json::{self, JsonObject, JsonReader, JsonResult, RawJson};

/// How deep the text of reasoning is looked for: a part, its array, an element, its object, its text.
const MAX_DEPTH: usize = 5;

/// One part of a content.
#[derive(Default)]
struct ContentPart<'a> {
    kind: Option<Cow<'a, str>>,
    text: Option<Cow<'a, str>>,
    reasoning: Option<RawJson<'a>>,
    /// Google's flag of a text that is reasoning.
    is_thought: bool,
    refusal: Option<Cow<'a, str>>,
    attachment: AttachmentFields<'a>,
}

impl<'a> JsonObject<'a> for ContentPart<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "type" => json.set(&mut self.kind, json::text),
            "text" => json.set(&mut self.text, json::text),
            "thinking" | "reasoning" | "reasoning_content" | "summary" => {
                json.set(&mut self.reasoning, json::non_empty)
            }
            "thought" => {
                self.is_thought = json.value()?.get() == "true";
                Ok(())
            }
            "refusal" => json.set(&mut self.refusal, json::text),
            _ => self.attachment.read_member(name, json),
        }
    }
}

impl<'a> ContentPart<'a> {
    fn is_reasoning(&self) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default();
        let is_named = ["thinking", "reasoning", "thought"]
            .iter()
            .any(|word| kind.contains(word));
        is_named || self.is_thought || self.reasoning.is_some() && self.text.is_none()
    }

    fn into_reasoning(self) -> Option<Cow<'a, str>> {
        self.reasoning.and_then(reasoning_text).or(self.text)
    }
}

/// Reads an array of parts into `delta`. Mistral's reasoning models and models that draw send their content so.
pub(super) fn read_parts<'a>(parts: RawJson<'a>, delta: &mut MessageDelta<'a>) {
    let mut content = String::new();
    let mut reasoning = String::new();
    for element in json::elements(parts.get()) {
        if let Some(text) = json::text(element) {
            content.push_str(&text);
            continue;
        }
        let mut part = ContentPart::default();
        if json::read(element.get(), &mut part).is_err() {
            continue;
        }
        let kind = part.kind.as_deref().unwrap_or_default();
        if part.is_reasoning() {
            reasoning.push_str(&part.into_reasoning().unwrap_or_default());
        } else if let Some(text) = part.text {
            content.push_str(&text);
        } else if let Some(refusal) = part.refusal {
            delta
                .refusal
                .get_or_insert_default()
                .to_mut()
                .push_str(&refusal);
        } else if let Some(attachment) = part.attachment.into_attachment(kind) {
            delta.attachments.push(attachment);
        } else if json::non_empty(element).is_some() {
            delta.annotations.push(element.get());
        }
    }
    delta.content = Some(content.into());
    if !reasoning.is_empty() {
        delta.set_reasoning(reasoning.into());
    }
}

/// The text of a model's reasoning, from a text, an array of parts or an object; none where there is none.
pub(crate) fn reasoning_text(raw: RawJson<'_>) -> Option<Cow<'_, str>> {
    json::text(raw).or_else(|| {
        let mut text = String::new();
        append_reasoning(raw, MAX_DEPTH, &mut text);
        (!text.is_empty()).then_some(Cow::Owned(text))
    })
}

fn append_reasoning(raw: RawJson<'_>, deeper: usize, to: &mut String) {
    let Some(deeper) = deeper.checked_sub(1) else {
        return;
    };
    if let Some(text) = json::text(raw) {
        to.push_str(&text);
    } else if raw.get().starts_with('[') {
        for element in json::elements(raw.get()) {
            append_reasoning(element, deeper, to);
        }
    } else {
        let mut object = ReasoningObject::default();
        if json::read(raw.get(), &mut object).is_ok()
            && let Some(inner) = object.0
        {
            append_reasoning(inner, deeper, to);
        }
    }
}

/// The first member of an object that has its text: later ones repeat it, or sum it up.
#[derive(Default)]
struct ReasoningObject<'a>(Option<RawJson<'a>>);

impl<'a> JsonObject<'a> for ReasoningObject<'a> {
    fn read_member(&mut self, name: &str, json: &mut JsonReader<'a>) -> JsonResult {
        match name {
            "text" | "thinking" | "content" | "summary" | "reasoning" | "reasoning_content"
            | "reasoning_text" | "value" | "details" | "parts"
                if self.0.is_none() =>
            {
                json.set(&mut self.0, json::non_empty)
            }
            _ => json.skip(),
        }
    }
}

/// The reasoning among the parts of a content.
pub(crate) fn reasoning_in_parts(parts: &str) -> Option<String> {
    let mut text = String::new();
    for element in json::elements(parts) {
        let mut part = ContentPart::default();
        if json::read(element.get(), &mut part).is_ok() && part.is_reasoning() {
            text.push_str(&part.into_reasoning().unwrap_or_default());
        }
    }
    (!text.is_empty()).then_some(text)
}
