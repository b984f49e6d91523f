//! Texts that come again are read once.

use super::*;

/// All that grouping asks of an entry.
type Shown = (String, Hash, Vec<Hash>, bool, Option<String>);

fn shown(transcript: &Transcript<'_>, digests: &DigestCache) -> Vec<Shown> {
    let entries = transcript.entries.iter();
    entries
        .map(|entry| {
            (
                entry.text().to_owned(),
                entry.beginning,
                entry.lines(digests).into_owned(),
                entry.is_handoff,
                entry.name.as_deref().map(str::to_owned),
            )
        })
        .collect()
}

#[test]
fn a_text_that_comes_again_is_the_same_without_being_read() {
    let long = "Waves roll on. ".repeat(50);
    let texts = [
        long.clone(),
        format!(" \n\t{long}\n\"quoted\"\r\ncritic: {long}\n "),
        serde_json::json!({"b": long, "a": [1.0, "é"]}).to_string(),
        format!("writer said:\n{long}"),
        format!("Transferred to {long} immediately."),
        "short\nand plain".to_owned(),
    ];
    for role in ["user", "assistant", "system"] {
        let messages: Vec<_> = [("system", "Be kind.")]
            .into_iter()
            .chain([("user", "first")])
            .chain(texts.iter().map(|text| (role, &**text)))
            .map(
                |(role, text)| serde_json::json!({"role": role, "name": "writer", "content": text}),
            )
            .collect();
        let body = serde_json::json!({"messages": messages}).to_string();
        let request = ChatRequest::parse(body.as_bytes()).unwrap();
        let (mut none, mut digests) = (DigestCache::new(0), DigestCache::new(1 << 20));
        let read = Transcript::of(&request, &mut none);
        let read = shown(&read, &none);
        assert_eq!(none.size_estimate(), 0);
        let first = Transcript::of(&request, &mut digests);
        let first = shown(&first, &digests);
        let size_estimate = digests.size_estimate();
        assert!(size_estimate > 0);
        let again = Transcript::of(&request, &mut digests);
        let named = again
            .entries
            .iter()
            .filter(|entry| !entry.content.is_unread());
        assert_eq!(named.count(), 1, "the one with a name before it");
        assert_eq!((digests.size_estimate(), &first), (size_estimate, &read));
        assert_eq!(shown(&again, &digests), read);
    }
}
