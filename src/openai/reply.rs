//! What came back: one chat completion, the same whether it came as a stream or as one JSON body.

use serde::{Deserialize, Serialize};

/// A chat completion, or as much of one as came. Everything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatReply {
    /// The completion's id, `chatcmpl-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The model that answered, more exact than the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it was made, in seconds since the Unix epoch.
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
    /// The tokens it took, when the reply says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The error it is, or that ended the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Something was left out because a limit was reached.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Its last JSON value, an event or the body, ended before it was whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub broken_off: bool,
    /// The content coding is unknown or its bytes are damaged: what is here is what came before that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub undecodable: bool,
}

/// One of the answers.
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
    /// What the model said instead of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What the model thought aloud before, by whichever name compatible servers send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// What a spoken answer says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_transcript: Option<String>,
    /// Images, sound and files, each as spans have it: by kind, type and size, or whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<String>,
    /// Notes on the answer (links, references, parts of a kind that is not known), each as JSON.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
    /// Where the answer was found, as a JSON list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<String>,
    /// The tools it calls, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The function it calls, from before there were tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall>,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter` or another word.
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
    /// The function.
    pub name: String,
    /// JSON, as the model wrote it: perhaps invalid.
    pub arguments: String,
}

/// Tokens, as the reply counts them. What it does not say is unknown, not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u64>,
    /// Tokens of the answer, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<u64>,
    /// Both.
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
    /// Predicted tokens that were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_prediction: Option<u64>,
    /// Predicted tokens that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_prediction: Option<u64>,
}

/// An error, as the upstream told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// What it says; at most 1 KiB when it came as plain text or HTML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its kind, `invalid_request_error` for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its code, `rate_limit_exceeded` for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The parameter that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

impl Failure {
    /// All that it says.
    pub(crate) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let texts = [
            &mut self.message,
            &mut self.kind,
            &mut self.code,
            &mut self.param,
        ];
        texts.into_iter().flatten()
    }
}

impl Choice {
    /// All that it says.
    pub(crate) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let texts = [&mut self.content, &mut self.refusal, &mut self.reasoning];
        texts.into_iter().flatten()
    }
}

impl ChatReply {
    /// Whether there are choices, and each has its finish reason.
    pub fn is_finished(&self) -> bool {
        let mut reasons = self.choices.iter().map(|choice| &choice.finish_reason);
        !self.choices.is_empty() && reasons.all(Option::is_some)
    }

    /// Takes out everything that the model wrote, and what an error quotes: what is left may be kept where content may not.
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

    /// About how many bytes its texts take.
    pub fn weight(&self) -> usize {
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

impl Failure {
    pub(super) fn says_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Takes from `other` what it does not say itself.
    pub(super) fn fill(&mut self, other: Failure) {
        self.message = self.message.take().or(other.message);
        self.kind = self.kind.take().or(other.kind);
        self.code = self.code.take().or(other.code);
        self.param = self.param.take().or(other.param);
    }
}

impl Choice {
    /// Whether it has more than an index and a role.
    pub(super) fn says_something(&self) -> bool {
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

    /// The annotations as one JSON array; none when there are none.
    pub fn annotations_json(&self) -> Option<String> {
        (!self.annotations.is_empty()).then(|| format!("[{}]", self.annotations.join(",")))
    }

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
