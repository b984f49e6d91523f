//! OpenAI's chat completions, out of the bytes that passed by.
