//! What a content in parts holds: texts, thoughts, media, and what else servers put among them.

use std::borrow::Cow;

use super::Delta;
use super::attached::Attachment;
use crate::openai::json::{self, Json, Members, Raw, Read};

/// How deep thoughts are looked for: a part, its list, an element's object, its text.
const DEEPEST: usize = 5;

/// One part of a content.
#[derive(Default)]
struct ContentPart<'a> {
    kind: Option<Cow<'a, str>>,
    text: Option<Cow<'a, str>>,
    thoughts: Option<Raw<'a>>,
    /// Google's mark of a text that is a thought.
    is_thought: bool,
    refusal: Option<Cow<'a, str>>,
    attachment: Attachment<'a>,
}

impl<'a> Members<'a> for ContentPart<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "type" => json.take(&mut self.kind, json::text),
            "text" => json.take(&mut self.text, json::text),
            "thinking" | "reasoning" | "reasoning_content" | "summary" => {
                json.take(&mut self.thoughts, json::filled)
            }
            "thought" => {
                self.is_thought = json.value()?.get() == "true";
                Ok(())
            }
            "refusal" => json.take(&mut self.refusal, json::text),
            _ => self.attachment.member(name, json),
        }
    }
}

impl<'a> ContentPart<'a> {
    fn is_thoughts(&self) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default();
        let names_them = ["thinking", "reasoning", "thought"]
            .iter()
            .any(|word| kind.contains(word));
        names_them || self.is_thought || self.thoughts.is_some() && self.text.is_none()
    }

    fn into_thoughts(self) -> Option<Cow<'a, str>> {
        self.thoughts.and_then(thoughts).or(self.text)
    }
}

/// Takes a list of parts (Mistral's reasoning models, and whoever answers with images) apart into `delta`.
pub(super) fn take_apart<'a>(list: Raw<'a>, delta: &mut Delta<'a>) {
    let mut content = String::new();
    let mut reasoning = String::new();
    for element in json::elements(list.get()) {
        if let Some(text) = json::text(element) {
            content.push_str(&text);
            continue;
        }
        let mut part = ContentPart::default();
        if json::read(element.get(), &mut part).is_err() {
            continue;
        }
        let kind = part.kind.as_deref().unwrap_or_default();
        if part.is_thoughts() {
            reasoning.push_str(&part.into_thoughts().unwrap_or_default());
        } else if let Some(text) = part.text {
            content.push_str(&text);
        } else if let Some(refusal) = part.refusal {
            delta
                .refusal
                .get_or_insert_default()
                .to_mut()
                .push_str(&refusal);
        } else if let Some(attached) = part.attachment.attached(kind) {
            delta.attached.push(attached);
        } else if json::filled(element).is_some() {
            delta.annotations.push(element.get());
        }
    }
    delta.content = Some(content.into());
    if !reasoning.is_empty() {
        delta.think(reasoning.into());
    }
}

/// What a model's thoughts say, whatever is around them: a text, a list of parts, an object; none where they are null.
pub(in crate::openai) fn thoughts(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    json::text(raw).or_else(|| {
        let mut said = String::new();
        gather(raw, DEEPEST, &mut said);
        (!said.is_empty()).then_some(Cow::Owned(said))
    })
}

fn gather(raw: Raw<'_>, deeper: usize, said: &mut String) {
    let Some(deeper) = deeper.checked_sub(1) else {
        return;
    };
    if let Some(text) = json::text(raw) {
        said.push_str(&text);
    } else if raw.get().starts_with('[') {
        for element in json::elements(raw.get()) {
            gather(element, deeper, said);
        }
    } else {
        let mut thought = Thought::default();
        if json::read(raw.get(), &mut thought).is_ok()
            && let Some(inner) = thought.0
        {
            gather(inner, deeper, said);
        }
    }
}

/// The first member of an object that says what the object's thoughts are: others repeat it, or sum it up.
#[derive(Default)]
struct Thought<'a>(Option<Raw<'a>>);

impl<'a> Members<'a> for Thought<'a> {
    fn member(&mut self, name: &str, json: &mut Json<'a>) -> Read {
        match name {
            "text" | "thinking" | "content" | "summary" | "reasoning" | "reasoning_content"
            | "reasoning_text" | "value" | "details" | "parts"
                if self.0.is_none() =>
            {
                json.take(&mut self.0, json::filled)
            }
            _ => json.skip(),
        }
    }
}

/// The thoughts among the parts of a content, if there are any.
pub(in crate::openai) fn thoughts_among(list: &str) -> Option<String> {
    let mut said = String::new();
    for element in json::elements(list) {
        let mut part = ContentPart::default();
        if json::read(element.get(), &mut part).is_ok() && part.is_thoughts() {
            said.push_str(&part.into_thoughts().unwrap_or_default());
        }
    }
    (!said.is_empty()).then_some(said)
}
