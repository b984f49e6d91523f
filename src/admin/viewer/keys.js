// The attributes of a span that the page reads, by the names in src/span/key.rs.

export const ENTITY_NAME = "traceloop.entity.name";
export const INPUT = "traceloop.entity.input";
export const OUTPUT = "traceloop.entity.output";
export const REQUEST_MODEL = "gen_ai.request.model";
export const RESPONSE_MODEL = "gen_ai.response.model";
export const RESPONSE_ID = "gen_ai.response.id";
export const FINISH_REASONS = "gen_ai.response.finish_reasons";
export const IS_STREAMING = "llm.is_streaming";
export const TIME_TO_FIRST_TOKEN = "llm.openai.chat_completions.streaming_time_to_first_token";
export const STATUS_CODE = "status_code";
export const FUNCTIONS = "llm.request.functions";
export const ERROR_MESSAGE = "error.message";
export const ERROR_TYPE = "error.type";
export const ERROR_CODE = "error.code";
export const CUSTOMER = "respan.customer_params.customer_identifier";
export const CUSTOMER_NAME = "respan.customer_params.name";
export const CUSTOMER_EMAIL = "respan.customer_params.email";
export const THREAD = "respan.threads.thread_identifier";
export const SESSION = "respan.sessions.session_identifier";
export const TRACE_GROUP = "respan.trace.trace_group_identifier";
export const CUSTOM = "respan.span_params.custom_identifier";
export const ENVIRONMENT = "respan.environment";
export const METADATA = "respan.metadata.";
export const OWN_METADATA = "respan.metadata.spangate_";
export const OUTCOME = "respan.metadata.spangate_outcome";
export const EXCHANGE = "respan.metadata.spangate_exchange";
export const RETRY_COUNT = "respan.metadata.spangate_retry_count";
export const CUT = "respan.metadata.spangate_cut";
export const UNDECODABLE = "respan.metadata.spangate_undecodable";
export const UNREADABLE = "respan.metadata.spangate_unreadable";
export const RULE = "respan.metadata.spangate_rule";
export const AMBIGUOUS = "respan.metadata.spangate_ambiguous";
export const UNANSWERED = "respan.metadata.spangate_unanswered";
export const METHOD = "http.request.method";
export const PATH = "url.path";
export const HTTP_STATUS = "http.response.status_code";
export const ATTEMPT = "spangate.attempt";

/** Parameters of the request beside the conversation, with their labels. */
export const PARAMETERS = new Map([
  [IS_STREAMING, "stream"],
  ["gen_ai.request.temperature", "temperature"],
  ["gen_ai.request.top_p", "top_p"],
  ["gen_ai.request.max_tokens", "max tokens"],
  ["gen_ai.request.choice.count", "choices"],
  ["gen_ai.request.seed", "seed"],
  ["llm.presence_penalty", "presence penalty"],
  ["llm.frequency_penalty", "frequency penalty"],
  ["llm.chat.stop_sequences", "stop"],
  ["llm.request.reasoning_effort", "reasoning effort"],
  ["llm.request.verbosity", "verbosity"],
  ["llm.request.tool_choice", "tool choice"],
  ["llm.request.parallel_tool_calls", "parallel tool calls"],
  ["llm.request.response_format", "response format"],
  ["llm.request.logprobs", "logprobs"],
  ["llm.request.top_logprobs", "top logprobs"],
  ["llm.request.store", "store"],
  ["llm.request.metadata", "stored metadata"],
  ["llm.user", "user"],
  ["llm.request.safety_identifier", "safety identifier"],
  ["llm.request.prompt_cache_key", "prompt cache key"],
  ["llm.request.stream_options", "stream options"],
  ["llm.request.modalities", "modalities"],
  ["llm.request.audio", "audio"],
  ["llm.request.prediction", "prediction"],
  ["llm.request.web_search_options", "web search"],
  ["llm.request.moderation", "moderation"],
  ["openai.request.service_tier", "service tier"],
]);

/** Tokens of the reply; unknown ones are null. */
export function tokensOf(attributes) {
  const first = (...keys) => keys.map((key) => attributes[key]).find((value) => typeof value === "number") ?? null;
  return {
    input: first("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    output: first("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    total: first("llm.usage.total_tokens", "gen_ai.usage.total_tokens"),
    cached: first("llm.usage.cache_read_input_tokens", "gen_ai.usage.cache_read_input_tokens"),
    written: first("gen_ai.usage.cache_creation_input_tokens"),
    reasoning: first("llm.usage.reasoning_tokens"),
    audioInput: first("gen_ai.usage.audio.input_tokens"),
    audioOutput: first("gen_ai.usage.audio.output_tokens"),
    accepted: first("llm.usage.accepted_prediction_tokens"),
    rejected: first("llm.usage.rejected_prediction_tokens"),
  };
}
