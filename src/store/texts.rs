//! Texts that come again in a segment are written once. A history comes again with every call of its run, and would be most of what is written.
//!
//! A long request whose texts stand in its segment already is written as a recipe:
//!
//! ```text
//!  before each text, and after the last one   how many bytes there are (u32), these bytes
//!  in the place of each text                  the offset of its `Text` record in the segment (u32)
//! ```
//!
//! A text is known by a keyed hash of 128 bits, together with the credential that sent it: what one credential sent is never looked up for another.

use std::collections::HashMap;
use std::ops::Range;

use crate::exchange::{CapturedBody, RequestMeta};

/// Shorter requests are written whole.
pub(super) const WORTH_A_RECIPE: usize = 16 << 10;
/// Texts of one segment that are remembered.
const MOST_TEXTS: usize = 1 << 16;

/// What a text is known by: who sent it, and its hash.
type TextKey = ([u8; 32], u128);

/// The texts of the segment that is being written, by where their records are.
#[derive(Debug, Default)]
pub(super) struct TextTable {
    offsets: HashMap<TextKey, u32>,
}

/// What a recipe consists of.
enum Ingredient<'r> {
    Bytes(&'r [u8]),
    Text(u32),
}

impl TextTable {
    /// Another segment begins.
    pub(super) fn clear(&mut self) {
        self.offsets.clear();
    }

    /// The recipe of a request; `write` appends a text that is new and returns its offset. None where the request has to be written whole.
    pub(super) fn recipe(
        &mut self,
        meta: &RequestMeta,
        body: &CapturedBody,
        mut write: impl FnMut(&[u8]) -> u32,
    ) -> Option<Vec<u8>> {
        let bytes = body.bytes();
        if bytes.len() < WORTH_A_RECIPE {
            return None;
        }
        let texts = body.lasting(meta);
        if texts.is_empty() {
            return None;
        }
        if self.offsets.len() >= MOST_TEXTS {
            self.offsets.clear();
        }
        let mut recipe = Vec::with_capacity(4096);
        let mut done = 0;
        for (Range { start, end }, hash) in texts {
            let key = (meta.identity.credential.0, hash.as_u128());
            let offset = *self
                .offsets
                .entry(key)
                .or_insert_with(|| write(&bytes[start..end]));
            push_bytes(&mut recipe, &bytes[done..start])?;
            recipe.extend_from_slice(&offset.to_le_bytes());
            done = end;
        }
        push_bytes(&mut recipe, &bytes[done..])?;
        Some(recipe)
    }
}

fn push_bytes(recipe: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    recipe.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_le_bytes());
    recipe.extend_from_slice(bytes);
    Some(())
}

/// Makes the body of its recipe; `text` gives the text at an offset. None where the recipe or a text is damaged.
pub(super) fn cook(recipe: &[u8], mut text: impl FnMut(u32) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(recipe.len() * 2);
    for ingredient in ingredients(recipe) {
        match ingredient? {
            Ingredient::Bytes(bytes) => body.extend_from_slice(bytes),
            Ingredient::Text(offset) => body.extend_from_slice(&text(offset)?),
        }
    }
    Some(body)
}

/// None of one that is damaged, which is the last.
fn ingredients(mut rest: &[u8]) -> impl Iterator<Item = Option<Ingredient<'_>>> {
    let mut is_text = false;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((number, after)) = rest.split_first_chunk() else {
            rest = &[];
            return Some(None);
        };
        let number = u32::from_le_bytes(*number);
        rest = after;
        let ingredient = if is_text {
            Some(Ingredient::Text(number))
        } else {
            let split = after.split_at_checked(number as usize);
            rest = split.map_or(&[], |(_, after)| after);
            split.map(|(bytes, _)| Ingredient::Bytes(bytes))
        };
        is_text = !is_text;
        Some(ingredient)
    })
}
