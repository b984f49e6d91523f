//! Names of attributes, as Respan reads them.
//!
//! Those that Respan keeps in columns of their own come from the list its SDKs share with its backend; any other attribute becomes metadata
//! of the span, where it can be searched for. Where two spellings of one fact are read, both are here and both are sent.

/// What kind of operation it is: `chat`, `agent`, `tool`, `workflow`, `task`.
pub const LOG_TYPE: &str = "respan.entity.log_type";
/// The name of the agent, tool or workflow.
pub const ENTITY_NAME: &str = "traceloop.entity.name";
/// Where in its workflow it is; empty for a root.
pub const ENTITY_PATH: &str = "traceloop.entity.path";
/// What went in, as JSON.
pub const ENTITY_INPUT: &str = "traceloop.entity.input";
/// What came out, as JSON.
pub const ENTITY_OUTPUT: &str = "traceloop.entity.output";
/// The workflow it belongs to.
pub const WORKFLOW_NAME: &str = "traceloop.workflow.name";

/// `chat`; without it Respan reads no model, messages or tokens.
pub const REQUEST_TYPE: &str = "llm.request.type";
/// The provider, in lower case: `openai`.
pub const SYSTEM: &str = "gen_ai.system";
/// The model that was asked for.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The model that answered.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The completion's id.
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// Why each choice ended, in order.
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Whether the reply was asked for as a stream.
pub const IS_STREAMING: &str = "llm.is_streaming";
/// Seconds from the request to the first token.
pub const TIME_TO_FIRST_TOKEN: &str = "llm.openai.chat_completions.streaming_time_to_first_token";
/// The status of the HTTP response.
pub const STATUS_CODE: &str = "status_code";

/// Tokens of the request.
pub const PROMPT_TOKENS: &str = "gen_ai.usage.prompt_tokens";
/// Tokens of the request, in the newer spelling.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens of the answer.
pub const COMPLETION_TOKENS: &str = "gen_ai.usage.completion_tokens";
/// Tokens of the answer, in the newer spelling.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Tokens of both.
pub const TOTAL_TOKENS: &str = "llm.usage.total_tokens";
/// Tokens of both, in the newer spelling.
pub const GEN_AI_TOTAL_TOKENS: &str = "gen_ai.usage.total_tokens";
/// Tokens read from a cache.
pub const CACHE_READ_TOKENS: &str = "llm.usage.cache_read_input_tokens";
/// Tokens read from a cache, in the spelling that has a column.
pub const GEN_AI_CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read_input_tokens";
/// Tokens written to a cache.
pub const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation_input_tokens";
/// Tokens of reasoning.
pub const REASONING_TOKENS: &str = "llm.usage.reasoning_tokens";
/// Audio tokens of the request.
pub const AUDIO_INPUT_TOKENS: &str = "gen_ai.usage.audio.input_tokens";
/// Audio tokens of the answer.
pub const AUDIO_OUTPUT_TOKENS: &str = "gen_ai.usage.audio.output_tokens";
/// Predicted tokens that were used.
pub const ACCEPTED_PREDICTION_TOKENS: &str = "llm.usage.accepted_prediction_tokens";
/// Predicted tokens that were not.
pub const REJECTED_PREDICTION_TOKENS: &str = "llm.usage.rejected_prediction_tokens";

/// Sampling temperature.
pub const TEMPERATURE: &str = "gen_ai.request.temperature";
/// Nucleus sampling.
pub const TOP_P: &str = "gen_ai.request.top_p";
/// Most tokens of the answer, whichever of its two names the request used.
pub const MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// How many choices were asked for.
pub const CHOICE_COUNT: &str = "gen_ai.request.choice.count";
/// Seed of the sampling.
pub const SEED: &str = "gen_ai.request.seed";
/// Presence penalty.
pub const PRESENCE_PENALTY: &str = "llm.presence_penalty";
/// Frequency penalty.
pub const FREQUENCY_PENALTY: &str = "llm.frequency_penalty";
/// Texts at which to stop.
pub const STOP_SEQUENCES: &str = "llm.chat.stop_sequences";
/// How hard to think.
pub const REASONING_EFFORT: &str = "llm.request.reasoning_effort";
/// How long to answer.
pub const VERBOSITY: &str = "llm.request.verbosity";
/// Which tool to call.
pub const TOOL_CHOICE: &str = "llm.request.tool_choice";
/// Whether several tools may be called at once.
pub const PARALLEL_TOOL_CALLS: &str = "llm.request.parallel_tool_calls";
/// The form of the answer: JSON, or its type alone.
pub const RESPONSE_FORMAT: &str = "llm.request.response_format";
/// Whether log probabilities were asked for.
pub const LOGPROBS: &str = "llm.request.logprobs";
/// How many alternatives for each token.
pub const TOP_LOGPROBS: &str = "llm.request.top_logprobs";
/// Whether OpenAI was asked to store the completion.
pub const STORE: &str = "llm.request.store";
/// OpenAI's metadata of the stored completion, as JSON.
pub const REQUEST_METADATA: &str = "llm.request.metadata";
/// OpenAI's `user` of the request.
pub const USER: &str = "llm.user";
/// OpenAI's `safety_identifier` of the request.
pub const SAFETY_IDENTIFIER: &str = "llm.request.safety_identifier";
/// What requests that shall share a cached prompt have in common.
pub const PROMPT_CACHE_KEY: &str = "llm.request.prompt_cache_key";
/// Options of the stream, as JSON: they say whether its tokens were asked for.
pub const STREAM_OPTIONS: &str = "llm.request.stream_options";
/// Kinds of output that were asked for, as JSON.
pub const MODALITIES: &str = "llm.request.modalities";
/// Voice and format of a spoken answer, as JSON.
pub const AUDIO: &str = "llm.request.audio";
/// What the answer was expected to be, as JSON.
pub const PREDICTION: &str = "llm.request.prediction";
/// How the web could be searched, as JSON.
pub const WEB_SEARCH_OPTIONS: &str = "llm.request.web_search_options";
/// How input and output were to be moderated, as JSON.
pub const MODERATION: &str = "llm.request.moderation";
/// The tier that was asked for.
pub const REQUEST_SERVICE_TIER: &str = "openai.request.service_tier";
/// The tier that served.
pub const RESPONSE_SERVICE_TIER: &str = "openai.response.service_tier";
/// The backend's configuration.
pub const SYSTEM_FINGERPRINT: &str = "openai.response.system_fingerprint";
/// The tools on offer, as one JSON text in OpenAI's shape.
pub const FUNCTIONS: &str = "llm.request.functions";

/// What went wrong, in words.
pub const ERROR_MESSAGE: &str = "error.message";
/// The kind of what went wrong.
pub const ERROR_TYPE: &str = "error.type";
/// The upstream's code for what went wrong.
pub const ERROR_CODE: &str = "error.code";

/// The customer.
pub const CUSTOMER_IDENTIFIER: &str = "respan.customer_params.customer_identifier";
/// The customer's name.
pub const CUSTOMER_NAME: &str = "respan.customer_params.name";
/// The customer's address.
pub const CUSTOMER_EMAIL: &str = "respan.customer_params.email";
/// The conversation.
pub const THREAD_IDENTIFIER: &str = "respan.threads.thread_identifier";
/// The session.
pub const SESSION_IDENTIFIER: &str = "respan.sessions.session_identifier";
/// The group of traces.
pub const TRACE_GROUP_IDENTIFIER: &str = "respan.trace.trace_group_identifier";
/// The client's own id of the span.
pub const CUSTOM_IDENTIFIER: &str = "respan.span_params.custom_identifier";
/// The environment.
pub const ENVIRONMENT: &str = "respan.environment";
/// Before the key of each member of metadata.
pub const METADATA_PREFIX: &str = "respan.metadata.";
/// The agent that calls, where the request says it.
pub const AGENT_NAME: &str = "gen_ai.agent.name";

/// How the exchange ended.
pub const OUTCOME: &str = "respan.metadata.spangate_outcome";
/// The exchange's id.
pub const EXCHANGE: &str = "respan.metadata.spangate_exchange";
/// Which attempt of an SDK it was, when it was not the first.
pub const RETRY_COUNT: &str = "respan.metadata.spangate_retry_count";
/// Which bodies were longer than what is kept of them.
pub const CUT: &str = "respan.metadata.spangate_cut";
/// Which body is in a coding that could not be undone.
pub const UNDECODABLE: &str = "respan.metadata.spangate_undecodable";
/// What the request said of itself that could not be read.
pub const UNREADABLE: &str = "respan.metadata.spangate_unreadable";
/// How it was found to stand where it stands.
pub const RULE: &str = "respan.metadata.spangate_rule";
/// `true` where other runs could have claimed it.
pub const AMBIGUOUS: &str = "respan.metadata.spangate_ambiguous";
/// `true` on a tool whose result was not seen before its run was closed.
pub const UNANSWERED: &str = "respan.metadata.spangate_unanswered";
/// The request's method.
pub const HTTP_METHOD: &str = "http.request.method";
/// The request's path, without its query.
pub const URL_PATH: &str = "url.path";
/// The upstream's status, also where `status_code` says that the client left.
pub const HTTP_STATUS: &str = "http.response.status_code";
/// Before the name of each response header that is kept.
pub const RESPONSE_HEADER_PREFIX: &str = "http.response.header.";
/// On the event of a failed attempt: which one it was, from 0.
pub const ATTEMPT: &str = "spangate.attempt";
