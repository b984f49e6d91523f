//! Watches over the admin API and the viewer's page: lists, traces, single spans, events and access.

mod access;
mod events;
mod lists;

use serde_json::{Value, json};

use crate::harness::{ClientRequest, Gateway, Reply, chat_reply, chat_request, request_id, until};

/// Asks the admin port.
async fn get(gateway: &Gateway, target: &str) -> Reply {
    ClientRequest::new("GET", target).to(gateway.admin).await
}

/// What it answers, when it does.
async fn answer(gateway: &Gateway, target: &str) -> Value {
    let reply = get(gateway, target).await;
    assert_eq!(reply.status, 200, "{target}: {reply:?}");
    assert_eq!(header(&reply, "cache-control"), "no-store");
    assert_eq!(header(&reply, "x-content-type-options"), "nosniff");
    reply.json()
}

/// What it says is wrong.
async fn complaint(gateway: &Gateway, target: &str, status: u16) -> String {
    let reply = get(gateway, target).await;
    assert_eq!(reply.status, status, "{target}: {reply:?}");
    assert_eq!(header(&reply, "content-type"), "application/json");
    let message = reply.json()["error"]["message"].clone();
    message.as_str().expect("it says what to do").to_owned()
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    crate::harness::value(&reply.headers, name).unwrap_or_default()
}

/// The list, as soon as it has so many traces.
async fn listed(gateway: &Gateway, target: &str, traces: usize) -> Vec<Value> {
    until("the list to be so long", async || {
        let page = answer(gateway, target).await;
        let list = page["traces"].as_array().expect("a list").clone();
        (list.len() == traces).then_some(list)
    })
    .await
}

/// Asks a question in a thread of its own. Gives the exchange's id.
async fn asks(gateway: &Gateway, question: &str, thread: &str) -> String {
    let ask = ClientRequest::post("/v1/chat/completions", chat_request(question, false))
        .header("x-respan-thread-identifier", thread)
        .header("x-respan-customer-identifier", "ada");
    let reply = gateway.ask(&ask).await;
    request_id(&reply.headers).expect("an id").to_owned()
}

/// A team of two, whose second agent uses a tool, as AutoGen asks: writer, critic, and the critic once more with the tool's result.
async fn team(gateway: &Gateway, thread: &str) {
    team_whose_tool_says(gateway, thread, "there are two words").await;
}

async fn team_whose_tool_says(gateway: &Gateway, thread: &str, result: &str) {
    let task = json!({"role": "user", "name": "user", "content": "Write about owls."});
    let said = json!({"role": "user", "name": "writer", "content": "Owls fly. (writer)"});
    let critic = json!({"role": "system", "content": "You criticise."});
    let asked = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "count_words", "arguments": "{\"text\":\"Owls fly.\"}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": result});
    let tools = json!([{"type": "function", "function": {"name": "count_words"}}]);
    let requests = [
        json!({"messages": [{"role": "system", "content": "You write."}, task]}),
        json!({"messages": [critic, task, said], "tools": tools}),
        json!({"messages": [critic, task, said, asked, result], "tools": tools}),
    ];
    for mut request in requests {
        request["model"] = json!("gpt-4o-mini");
        let ask = ClientRequest::post("/v1/chat/completions", request.to_string())
            .header("x-respan-thread-identifier", thread);
        assert_eq!(gateway.ask(&ask).await.status, 200);
    }
}

/// What the model of [`team`] answers.
fn speaks(request: &crate::harness::Request) -> Vec<u8> {
    let asked = String::from_utf8_lossy(&request.body);
    if asked.contains("\"tool\"") {
        chat_reply("Too short. APPROVE")
    } else if asked.contains("count_words") {
        let body = json!({
            "id": "chatcmpl-3", "object": "chat.completion", "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "count_words", "arguments": "{\"text\":\"Owls fly.\"}"}}]}}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
        });
        crate::harness::json_reply("200 OK", &body.to_string())
    } else {
        chat_reply("Owls fly. (writer)")
    }
}

/// The spans of a trace by their names.
fn named<'t>(trace: &'t Value, name: &str) -> &'t Value {
    let spans = trace["spans"].as_array().expect("spans");
    let mut found = spans.iter().filter(|span| span["name"] == name);
    found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {trace:#}"))
}
