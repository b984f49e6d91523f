//! Names of span attributes, as Respan reads them.
//!
//! Names with their own columns come from the list that Respan's SDKs share with its backend. Any other attribute becomes searchable metadata
//! of the span. Where Respan reads two spellings of one fact, both are here and both are sent.

/// The kind of operation: `chat`, `agent`, `tool`, `workflow`, `task`.
pub(crate) const LOG_TYPE: &str = "respan.entity.log_type";
/// The name of the agent, tool or workflow.
pub(crate) const ENTITY_NAME: &str = "traceloop.entity.name";
/// The path within the workflow; empty for a root.
pub(crate) const ENTITY_PATH: &str = "traceloop.entity.path";
/// The input as JSON.
pub(crate) const ENTITY_INPUT: &str = "traceloop.entity.input";
/// The output as JSON.
pub(crate) const ENTITY_OUTPUT: &str = "traceloop.entity.output";
/// The name of the span's workflow.
pub(crate) const WORKFLOW_NAME: &str = "traceloop.workflow.name";

/// `chat`; without it Respan reads no model, messages or tokens.
pub(crate) const REQUEST_TYPE: &str = "llm.request.type";
/// The provider, in lower case: `openai`.
pub(crate) const SYSTEM: &str = "gen_ai.system";
/// The requested model.
pub(crate) const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The model that answered.
pub(crate) const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The completion's id.
pub(crate) const RESPONSE_ID: &str = "gen_ai.response.id";
/// The finish reason of each choice, in order.
pub(crate) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Whether the call streams.
pub(crate) const IS_STREAMING: &str = "llm.is_streaming";
/// Seconds from the request to the first token.
pub(crate) const TIME_TO_FIRST_TOKEN: &str =
    "llm.openai.chat_completions.streaming_time_to_first_token";
/// The status of the HTTP response.
pub(crate) const STATUS_CODE: &str = "status_code";

/// Tokens of the request.
pub(crate) const PROMPT_TOKENS: &str = "gen_ai.usage.prompt_tokens";
/// Tokens of the request, in the newer spelling.
pub(crate) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens of the answer.
pub(crate) const COMPLETION_TOKENS: &str = "gen_ai.usage.completion_tokens";
/// Tokens of the answer, in the newer spelling.
pub(crate) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Tokens of both.
pub(crate) const TOTAL_TOKENS: &str = "llm.usage.total_tokens";
/// Tokens of both, in the newer spelling.
pub(crate) const GEN_AI_TOTAL_TOKENS: &str = "gen_ai.usage.total_tokens";
/// Tokens read from a cache.
pub(crate) const CACHE_READ_TOKENS: &str = "llm.usage.cache_read_input_tokens";
/// Tokens read from a cache, in the spelling that has a column.
pub(crate) const GEN_AI_CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read_input_tokens";
/// Tokens written to a cache.
pub(crate) const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation_input_tokens";
/// Tokens of reasoning.
pub(crate) const REASONING_TOKENS: &str = "llm.usage.reasoning_tokens";
/// Audio tokens of the request.
pub(crate) const AUDIO_INPUT_TOKENS: &str = "gen_ai.usage.audio.input_tokens";
/// Audio tokens of the answer.
pub(crate) const AUDIO_OUTPUT_TOKENS: &str = "gen_ai.usage.audio.output_tokens";
/// Predicted tokens that the completion has.
pub(crate) const ACCEPTED_PREDICTION_TOKENS: &str = "llm.usage.accepted_prediction_tokens";
/// Predicted tokens that the completion has not.
pub(crate) const REJECTED_PREDICTION_TOKENS: &str = "llm.usage.rejected_prediction_tokens";

/// Sampling temperature.
pub(crate) const TEMPERATURE: &str = "gen_ai.request.temperature";
/// Nucleus sampling.
pub(crate) const TOP_P: &str = "gen_ai.request.top_p";
/// The limit of completion tokens, under either of its names in the request.
pub(crate) const MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// The requested number of choices.
pub(crate) const CHOICE_COUNT: &str = "gen_ai.request.choice.count";
/// Seed of the sampling.
pub(crate) const SEED: &str = "gen_ai.request.seed";
/// Presence penalty.
pub(crate) const PRESENCE_PENALTY: &str = "llm.presence_penalty";
/// Frequency penalty.
pub(crate) const FREQUENCY_PENALTY: &str = "llm.frequency_penalty";
/// Texts at which to stop.
pub(crate) const STOP_SEQUENCES: &str = "llm.chat.stop_sequences";
/// How hard to think.
pub(crate) const REASONING_EFFORT: &str = "llm.request.reasoning_effort";
/// How long to answer.
pub(crate) const VERBOSITY: &str = "llm.request.verbosity";
/// Which tool to call.
pub(crate) const TOOL_CHOICE: &str = "llm.request.tool_choice";
/// Whether several tools may be called at once.
pub(crate) const PARALLEL_TOOL_CALLS: &str = "llm.request.parallel_tool_calls";
/// The response format: as JSON, or its type alone.
pub(crate) const RESPONSE_FORMAT: &str = "llm.request.response_format";
/// Whether log probabilities are requested.
pub(crate) const LOGPROBS: &str = "llm.request.logprobs";
/// How many alternatives for each token.
pub(crate) const TOP_LOGPROBS: &str = "llm.request.top_logprobs";
/// Whether OpenAI was asked to store the completion.
pub(crate) const STORE: &str = "llm.request.store";
/// OpenAI's metadata of the stored completion, as JSON.
pub(crate) const REQUEST_METADATA: &str = "llm.request.metadata";
/// OpenAI's `user` of the request.
pub(crate) const USER: &str = "llm.user";
/// OpenAI's `safety_identifier` of the request.
pub(crate) const SAFETY_IDENTIFIER: &str = "llm.request.safety_identifier";
/// The key of requests that may share a cached prompt.
pub(crate) const PROMPT_CACHE_KEY: &str = "llm.request.prompt_cache_key";
/// Options of the stream, as JSON, such as whether it reports usage.
pub(crate) const STREAM_OPTIONS: &str = "llm.request.stream_options";
/// The requested kinds of output, as JSON.
pub(crate) const MODALITIES: &str = "llm.request.modalities";
/// Voice and format of a spoken answer, as JSON.
pub(crate) const AUDIO: &str = "llm.request.audio";
/// The predicted output, as JSON.
pub(crate) const PREDICTION: &str = "llm.request.prediction";
/// Options of the web search tool, as JSON.
pub(crate) const WEB_SEARCH_OPTIONS: &str = "llm.request.web_search_options";
/// Options of moderation, as JSON.
pub(crate) const MODERATION: &str = "llm.request.moderation";
/// The requested service tier.
pub(crate) const REQUEST_SERVICE_TIER: &str = "openai.request.service_tier";
/// The service tier of the response.
pub(crate) const RESPONSE_SERVICE_TIER: &str = "openai.response.service_tier";
/// The backend's configuration.
pub(crate) const SYSTEM_FINGERPRINT: &str = "openai.response.system_fingerprint";
/// The tools on offer, as one JSON text in OpenAI's shape.
pub(crate) const FUNCTIONS: &str = "llm.request.functions";

/// The message of an error.
pub(crate) const ERROR_MESSAGE: &str = "error.message";
/// The type of an error.
pub(crate) const ERROR_TYPE: &str = "error.type";
/// The upstream's code of an error.
pub(crate) const ERROR_CODE: &str = "error.code";

/// The customer's identifier.
pub(crate) const CUSTOMER_IDENTIFIER: &str = "respan.customer_params.customer_identifier";
/// The customer's name.
pub(crate) const CUSTOMER_NAME: &str = "respan.customer_params.name";
/// The customer's email address.
pub(crate) const CUSTOMER_EMAIL: &str = "respan.customer_params.email";
/// The thread: traces of one conversation.
pub(crate) const THREAD_IDENTIFIER: &str = "respan.threads.thread_identifier";
/// The session.
pub(crate) const SESSION_IDENTIFIER: &str = "respan.sessions.session_identifier";
/// The group of traces.
pub(crate) const TRACE_GROUP_IDENTIFIER: &str = "respan.trace.trace_group_identifier";
/// The client's own identifier of the span.
pub(crate) const CUSTOM_IDENTIFIER: &str = "respan.span_params.custom_identifier";
/// The environment.
pub(crate) const ENVIRONMENT: &str = "respan.environment";
/// The prefix of each key of the request's metadata.
pub(crate) const METADATA_PREFIX: &str = "respan.metadata.";
/// The name of the calling agent, where it is known.
pub(crate) const AGENT_NAME: &str = "gen_ai.agent.name";

/// The outcome of the exchange, one of a fixed set of words.
pub(crate) const OUTCOME: &str = "respan.metadata.spangate_outcome";
/// The exchange's id.
pub(crate) const EXCHANGE: &str = "respan.metadata.spangate_exchange";
/// The SDK's count of earlier attempts, if there were any.
pub(crate) const RETRY_COUNT: &str = "respan.metadata.spangate_retry_count";
/// The bodies that were cut: `request`, `response` or both.
pub(crate) const CUT: &str = "respan.metadata.spangate_cut";
/// `response` where its content coding could not be decoded.
pub(crate) const UNDECODABLE: &str = "respan.metadata.spangate_undecodable";
/// The identity headers that could not be read.
pub(crate) const UNREADABLE: &str = "respan.metadata.spangate_unreadable";
/// The rule of inference that placed the span.
pub(crate) const RULE: &str = "respan.metadata.spangate_rule";
/// `true` where the span would fit other runs as well.
pub(crate) const AMBIGUOUS: &str = "respan.metadata.spangate_ambiguous";
/// `true` on a tool without a result when its run was closed.
pub(crate) const UNANSWERED: &str = "respan.metadata.spangate_unanswered";
/// The request's method.
pub(crate) const HTTP_METHOD: &str = "http.request.method";
/// The request's path, without its query.
pub(crate) const URL_PATH: &str = "url.path";
/// The upstream's status, also where `status_code` says that the client left.
pub(crate) const HTTP_STATUS: &str = "http.response.status_code";
/// The prefix of each captured response header.
pub(crate) const RESPONSE_HEADER_PREFIX: &str = "http.response.header.";
/// The number of a failed attempt, from 0, on its event.
pub(crate) const ATTEMPT: &str = "spangate.attempt";
