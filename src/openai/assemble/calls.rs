//! The tool calls of one choice, put together from their pieces.
//!
//! OpenAI numbers its calls and names each once. Others give all of them index 0, or null, or none; repeat the name with each piece; go on
//! under a new id. The rule: a piece begins a call where the one that it would continue has a name and whole arguments, or another name.

use super::room::Room;
use crate::openai::chunk::{Call, Function};
use crate::openai::outline::Outline;
use crate::openai::reply::{CallKind, ToolCall};

/// More calls than this in one choice are left out, so that finding one stays cheap.
const MOST_CALLS: usize = 1024;

/// What an empty call takes of the limit, in bytes.
const CALL: usize = 256;

/// What is known of the calls beside what they say, in their order.
#[derive(Debug, Default)]
pub(super) struct CallTracker {
    calls: Vec<TrackedCall>,
}

#[derive(Debug, Default)]
struct TrackedCall {
    index: Option<u64>,
    /// Of its arguments, those that had no room included.
    outline: Outline,
}

impl CallTracker {
    /// Takes the pieces of one chunk.
    pub(super) fn pieces(
        &mut self,
        calls: &mut Vec<ToolCall>,
        pieces: Vec<Call<'_>>,
        room: &mut Room,
    ) {
        let known = calls.len();
        for piece in pieces.into_iter().filter(Call::says_something) {
            match self.continued(calls, &piece, known) {
                Continued::Call(at) => self.grow(at, calls, piece, room),
                Continued::None => self.begin(calls, piece, room),
                Continued::Repeated => {}
            }
        }
    }

    /// Takes whole calls, none of which continues another.
    pub(super) fn whole(
        &mut self,
        calls: &mut Vec<ToolCall>,
        whole: Vec<Call<'_>>,
        room: &mut Room,
    ) {
        for call in whole.into_iter().filter(Call::says_something) {
            self.begin(calls, call, room);
        }
    }

    /// Forgets all calls.
    pub(super) fn clear(&mut self, calls: &mut Vec<ToolCall>, room: &mut Room) {
        self.calls.clear();
        for call in calls.drain(..) {
            room.give_back(CALL + call.id.len() + call.name.len() + call.arguments.len());
        }
    }

    fn begin(&mut self, calls: &mut Vec<ToolCall>, piece: Call<'_>, room: &mut Room) {
        if calls.len() >= MOST_CALLS || !room.take(CALL) {
            return room.leave_out();
        }
        calls.push(ToolCall::default());
        self.calls.push(TrackedCall {
            index: piece.index,
            ..TrackedCall::default()
        });
        self.grow(calls.len() - 1, calls, piece, room);
    }

    fn grow(&mut self, at: usize, calls: &mut [ToolCall], piece: Call<'_>, room: &mut Room) {
        let (call, tracked) = (&mut calls[at], &mut self.calls[at]);
        if let (true, Some(id)) = (call.id.is_empty(), piece.id) {
            room.append(&mut call.id, &id);
        }
        call.kind = piece.kind.unwrap_or(call.kind);
        if let Some(arguments) = &piece.function.arguments {
            if is_placeholder(call, arguments) {
                room.give_back(call.arguments.len());
                call.arguments.clear();
                tracked.outline = Outline::default();
            }
            tracked.outline.go_on(arguments.as_bytes());
        }
        grow(room, &mut call.name, &mut call.arguments, piece.function);
    }

    /// What a piece continues of `calls`, the first `known` of which were there before its chunk.
    fn continued(&self, calls: &[ToolCall], piece: &Call<'_>, known: usize) -> Continued {
        let filled = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
        let id = piece.id.as_deref().filter(|id| !id.is_empty());
        let name = piece
            .function
            .name
            .as_deref()
            .filter(|name| !name.is_empty());
        let arguments = piece.function.arguments.as_deref();
        let Some(at) = self.candidate(calls, piece, id, name) else {
            return Continued::None;
        };
        let call = &calls[at];
        let other_id = id.is_some_and(|id| !call.id.is_empty() && call.id != id);
        let begins = match name {
            // Named under another id, while nothing but an id is known of the one before.
            Some(_) if call.name.is_empty() => other_id,
            Some(name) if call.name != name => {
                // A name may come in pieces, before any argument.
                let goes_on = at < known
                    && !other_id
                    && piece.kind.is_none()
                    && call.arguments.is_empty()
                    && !filled(arguments);
                !goes_on
            }
            _ if !self.is_whole(at, call) => false,
            // Whole calls go on with nothing, and some servers send just that.
            _ if arguments.is_none_or(|more| more.trim().is_empty()) => name.is_some() && other_id,
            _ if id == Some(&*call.id) && arguments == Some(&*call.arguments) => {
                return Continued::Repeated;
            }
            // Without a name, an id or an index of its own it is no call, but what a model wrote after its arguments.
            None if id.is_none()
                && piece
                    .index
                    .is_none_or(|index| self.calls[at].index == Some(index)) =>
            {
                false
            }
            _ => true,
        };
        if begins {
            Continued::None
        } else {
            Continued::Call(at)
        }
    }

    /// The call that a piece may continue, by its index, by its id, or because it is the last one.
    fn candidate(
        &self,
        calls: &[ToolCall],
        piece: &Call<'_>,
        id: Option<&str>,
        name: Option<&str>,
    ) -> Option<usize> {
        let by_id = || id.and_then(|id| calls.iter().rposition(|call| call.id == id));
        let last = calls.len().checked_sub(1);
        let Some(index) = piece.index else {
            return by_id().or(last);
        };
        let has_index = |tracked: &TrackedCall| tracked.index == Some(index);
        let by_both = id.and_then(|id| {
            let mut both = self.calls.iter().zip(calls);
            both.rposition(|(tracked, call)| has_index(tracked) && call.id == id)
        });
        let by_index = || self.calls.iter().rposition(has_index);
        match by_both.or_else(by_index) {
            Some(at) => Some(at),
            // An index of its own begins a call, unless there is nothing but arguments under it.
            None if name.is_none() && piece.function.arguments.is_some() => by_id().or(last),
            None => None,
        }
    }

    /// Whether a call has a name and all of its arguments. Those of a custom tool are any text.
    fn is_whole(&self, at: usize, call: &ToolCall) -> bool {
        !call.name.is_empty() && call.kind == CallKind::Function && self.calls[at].outline.is_over()
    }
}

enum Continued {
    /// The piece goes on with this call.
    Call(usize),
    /// The piece says again what a whole call says.
    Repeated,
    /// The piece begins a call.
    None,
}

/// Whether a call has `{}` for its arguments only until the true ones come: some servers open all calls so.
fn is_placeholder(call: &ToolCall, more: &str) -> bool {
    call.arguments == "{}" && more.starts_with('{')
}

/// Adds a piece to a call. A name may come in pieces, too, but before any argument; some servers repeat the whole of it each time.
pub(super) fn grow(
    room: &mut Room,
    name: &mut String,
    arguments: &mut String,
    piece: Function<'_>,
) {
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
