//! What came back: one chat completion, the same whether it came as a stream or as one JSON body.

use serde::Serialize;

/// A chat completion, or as much of one as came. Everything may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatReply {
    /// The completion's id, `chatcmpl-…`.
    pub id: Option<String>,
    /// The model that answered, more exact than the one that was asked for.
    pub model: Option<String>,
    /// When it was made, in seconds since the Unix epoch.
    pub created: Option<i64>,
    /// The configuration of the backend that answered.
    pub system_fingerprint: Option<String>,
    /// The tier that served it.
    pub service_tier: Option<String>,
    /// The choices, in the order of their indices.
    pub choices: Vec<Choice>,
    /// The tokens it took, when the reply says so.
    pub usage: Option<Usage>,
    /// The error it is, or that ended the stream.
    pub error: Option<Failure>,
    /// Something was left out because a limit was reached.
    pub cut: bool,
    /// The content coding is unknown or its bytes are damaged: what is here is what came before that.
    pub undecodable: bool,
}

/// One of the answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Its number in the reply.
    pub index: u64,
    /// `assistant`, nearly always.
    pub role: Option<String>,
    /// The answer.
    pub content: Option<String>,
    /// What the model said instead of an answer.
    pub refusal: Option<String>,
    /// What the model thought aloud before (`reasoning_content` or `reasoning`, of compatible servers).
    pub reasoning: Option<String>,
    /// What a spoken answer says.
    pub audio_transcript: Option<String>,
    /// The tools it calls, in order.
    pub tool_calls: Vec<ToolCall>,
    /// The function it calls, from before there were tools.
    pub function_call: Option<FunctionCall>,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter` or another word.
    pub finish_reason: Option<String>,
    /// Whether log probabilities came with it.
    pub logprobs: bool,
}

/// One call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The id under which its result comes back; empty when none came.
    pub id: String,
    /// Which kind of tool it calls.
    pub kind: CallKind,
    /// The tool.
    pub name: String,
    /// JSON for a function, any text for a custom tool.
    pub arguments: String,
}

/// The kinds of tools that a client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallKind {
    /// With arguments in JSON.
    #[default]
    Function,
    /// With free text.
    Custom,
}

/// A function and its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FunctionCall {
    /// The function.
    pub name: String,
    /// JSON, as the model wrote it: perhaps invalid.
    pub arguments: String,
}

/// Tokens, as the reply counts them. What it does not say is unknown, not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    pub prompt: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub completion: Option<u64>,
    /// Both.
    pub total: Option<u64>,
    /// Tokens of the request that were read from a cache.
    pub cached: Option<u64>,
    /// Tokens of the request that were written to a cache.
    pub cache_write: Option<u64>,
    /// Tokens of the answer that were reasoning.
    pub reasoning: Option<u64>,
    /// Audio tokens of the request.
    pub prompt_audio: Option<u64>,
    /// Audio tokens of the answer.
    pub completion_audio: Option<u64>,
    /// Predicted tokens that were used.
    pub accepted_prediction: Option<u64>,
    /// Predicted tokens that were not.
    pub rejected_prediction: Option<u64>,
}

/// An error, as the upstream told it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// What it says; at most 1 KiB when it came as plain text or HTML.
    pub message: Option<String>,
    /// Its kind, `invalid_request_error` for example.
    pub kind: Option<String>,
    /// Its code, `rate_limit_exceeded` for example.
    pub code: Option<String>,
    /// The parameter that it is about.
    pub param: Option<String>,
}

impl ChatReply {
    /// About how many bytes its texts take.
    pub fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let call = |call: &ToolCall| call.id.len() + call.name.len() + call.arguments.len();
        let choice = |choice: &Choice| {
            size_of::<Choice>()
                + text(&choice.content)
                + text(&choice.refusal)
                + text(&choice.reasoning)
                + text(&choice.audio_transcript)
                + choice.tool_calls.iter().map(call).sum::<usize>()
                + choice
                    .function_call
                    .as_ref()
                    .map_or(0, |call| call.arguments.len())
        };
        let message = self.error.as_ref().map_or(0, |error| text(&error.message));
        self.choices.iter().map(choice).sum::<usize>() + message
    }
}

impl Choice {
    /// The tool calls as one JSON array in OpenAI's shape, `[{"id","type":"function","function":{"name","arguments"}}]`; none when there
    /// are none.
    pub fn tool_calls_json(&self) -> Option<String> {
        if self.tool_calls.is_empty() {
            return None;
        }
        let calls: Vec<WrittenCall<'_>> = self.tool_calls.iter().map(WrittenCall::from).collect();
        serde_json::to_string(&calls).ok()
    }
}

#[derive(Serialize)]
struct WrittenCall<'a> {
    id: &'a str,
    #[serde(flatten)]
    what: WrittenKind<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum WrittenKind<'a> {
    Function { function: WrittenFunction<'a> },
    Custom { custom: WrittenCustom<'a> },
}

#[derive(Serialize)]
struct WrittenFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct WrittenCustom<'a> {
    name: &'a str,
    input: &'a str,
}

impl<'a> From<&'a ToolCall> for WrittenCall<'a> {
    fn from(call: &'a ToolCall) -> Self {
        let (name, arguments) = (&*call.name, &*call.arguments);
        let what = match call.kind {
            CallKind::Function => WrittenKind::Function {
                function: WrittenFunction { name, arguments },
            },
            CallKind::Custom => WrittenKind::Custom {
                custom: WrittenCustom {
                    name,
                    input: arguments,
                },
            },
        };
        Self { id: &call.id, what }
    }
}
