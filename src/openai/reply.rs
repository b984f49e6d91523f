//! A chat reply: one completion, whether it came as a stream or as one JSON body.

use serde::{Deserialize, Serialize};

/// A chat completion, or as much of one as came. Every member may be missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatReply {
    /// The completion's id, `chatcmpl-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The model that answered, often a dated version of the requested one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The server's time, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// The configuration of the backend that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// The tier that served it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// The choices, in the order of their indices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// The token counts of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The error in place of a completion, or the error that ended the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ReplyError>,
    /// Whether something was left out because of a limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Whether its last JSON value, an event or the body, ended before it was whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub broken_off: bool,
    /// Whether its content coding is unknown or damaged. Members from before the damage are here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub undecodable: bool,
}

/// One of the answers of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choice {
    /// Its number in the reply.
    pub index: u64,
    /// `assistant`, nearly always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The model's refusal to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The model's reasoning, under any of the names that servers have for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The text of a spoken answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_transcript: Option<String>,
    /// Images, sound and files as spans have them: by kind, type and size, or whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<String>,
    /// Annotations (links, references, parts of an unknown kind), each as JSON.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
    /// Sources of the answer, as a JSON array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<String>,
    /// Its tool calls, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Its function call, the predecessor of tool calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall>,
    /// The reason of its end: `stop`, `length`, `tool_calls`, `content_filter` or another word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Whether log probabilities came with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub logprobs: bool,
}

/// One call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolCall {
    /// The id that its result refers to; empty when none came.
    pub id: String,
    /// The kind of the tool.
    pub kind: CallKind,
    /// The name of the tool.
    pub name: String,
    /// JSON for a function, any text for a custom tool.
    pub arguments: String,
}

/// The kinds of tools in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallKind {
    /// With arguments in JSON.
    #[default]
    Function,
    /// With free text.
    Custom,
}

/// A function and its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The name of the function.
    pub name: String,
    /// JSON as the model wrote it, perhaps invalid.
    pub arguments: String,
}

/// Token counts of a reply. A missing count is unknown and not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u64>,
    /// Tokens of the answer, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<u64>,
    /// Tokens of request and answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Tokens of the request that were read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<u64>,
    /// Tokens of the request that were written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// Tokens of the answer that were reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
    /// Audio tokens of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_audio: Option<u64>,
    /// Audio tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_audio: Option<u64>,
    /// Predicted tokens in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_prediction: Option<u64>,
    /// Predicted tokens that the answer does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_prediction: Option<u64>,
}

/// An error in a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplyError {
    /// Its text; at most 1 KiB of plain text or HTML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its kind, `invalid_request_error` for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its code, `rate_limit_exceeded` for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The parameter of the request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

impl ChatReply {
    /// Whether there are choices and each has its finish reason.
    pub fn is_finished(&self) -> bool {
        let mut reasons = self.choices.iter().map(|choice| &choice.finish_reason);
        !self.choices.is_empty() && reasons.all(Option::is_some)
    }

    /// Removes everything that the model wrote and the message of an error, so that the rest may be kept where content may not.
    pub fn drop_content(&mut self) {
        for choice in &mut self.choices {
            *choice = Choice {
                index: choice.index,
                role: choice.role.take(),
                finish_reason: choice.finish_reason.take(),
                ..Choice::default()
            };
        }
        if let Some(error) = &mut self.error {
            error.message = None;
        }
    }

    /// Size of its texts in bytes, about.
    pub fn size_estimate(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = |texts: &[String]| {
            let lengths = texts.iter().map(|text| size_of::<String>() + text.len());
            lengths.sum::<usize>()
        };
        let call = |call: &ToolCall| call.id.len() + call.name.len() + call.arguments.len();
        let choice = |choice: &Choice| {
            size_of::<Choice>()
                + text(&choice.content)
                + text(&choice.refusal)
                + text(&choice.reasoning)
                + text(&choice.audio_transcript)
                + text(&choice.citations)
                + texts(&choice.media)
                + texts(&choice.annotations)
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

impl ReplyError {
    /// All of its texts.
    pub(crate) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let texts = [
            &mut self.message,
            &mut self.kind,
            &mut self.code,
            &mut self.param,
        ];
        texts.into_iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets the members that it lacks from `other`.
    pub(super) fn fill(&mut self, other: ReplyError) {
        self.message = self.message.take().or(other.message);
        self.kind = self.kind.take().or(other.kind);
        self.code = self.code.take().or(other.code);
        self.param = self.param.take().or(other.param);
    }
}

impl Choice {
    /// The texts that the model wrote to people.
    pub(crate) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let texts = [&mut self.content, &mut self.refusal, &mut self.reasoning];
        texts.into_iter().flatten()
    }

    /// Whether it has more than an index and a role.
    pub(super) fn has_content(&self) -> bool {
        let Choice {
            index: _,
            role: _,
            content,
            refusal,
            reasoning,
            audio_transcript,
            media,
            annotations,
            citations,
            tool_calls,
            function_call,
            finish_reason,
            logprobs: _,
        } = self;
        [content, refusal, reasoning, audio_transcript, citations]
            .into_iter()
            .flatten()
            .any(|text| !text.is_empty())
            || finish_reason.is_some()
            || !media.is_empty()
            || !annotations.is_empty()
            || !tool_calls.is_empty()
            || function_call.is_some()
    }

    /// The annotations as one JSON array; none where there are none.
    pub fn annotations_json(&self) -> Option<String> {
        (!self.annotations.is_empty()).then(|| format!("[{}]", self.annotations.join(",")))
    }

    /// The tool calls as one JSON array in OpenAI's shape, `[{"id","type":"function","function":{"name","arguments"}}]`; none where there
    /// are none.
    pub fn tool_calls_json(&self) -> Option<String> {
        if self.tool_calls.is_empty() {
            return None;
        }
        let calls: Vec<ToolCallJson<'_>> = self.tool_calls.iter().map(ToolCallJson::from).collect();
        serde_json::to_string(&calls).ok()
    }
}

#[derive(Serialize)]
struct ToolCallJson<'a> {
    id: &'a str,
    #[serde(flatten)]
    tool: ToolJson<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ToolJson<'a> {
    Function { function: FunctionJson<'a> },
    Custom { custom: CustomJson<'a> },
}

#[derive(Serialize)]
struct FunctionJson<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct CustomJson<'a> {
    name: &'a str,
    input: &'a str,
}

impl<'a> From<&'a ToolCall> for ToolCallJson<'a> {
    fn from(call: &'a ToolCall) -> Self {
        let (id, name, arguments) = (&*call.id, &*call.name, &*call.arguments);
        let tool = match call.kind {
            CallKind::Function => ToolJson::Function {
                function: FunctionJson { name, arguments },
            },
            CallKind::Custom => ToolJson::Custom {
                custom: CustomJson {
                    name,
                    input: arguments,
                },
            },
        };
        ToolCallJson { id, tool }
    }
}
