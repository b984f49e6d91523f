//! Watches over runs: neither a stop nor a kill between two calls breaks a tree, and agents are recognised by their user agent.

use serde_json::json;

use crate::harness::{
    ClientRequest, Gateway, Respan, Setup, Upstream, chat_reply, request_id, trees,
};

const REPLY: &str = "Owls fly.";
const TREE: &str = "\
workflow GroupChat.run_stream
  agent.writer
    llm.gpt-4o-mini-2024-07-18
  agent.critic
    llm.gpt-4o-mini-2024-07-18
  agent.unknown
    llm.gpt-4o-mini-2024-07-18
";

/// The n-th agent of a team speaks: it hears the task, and all before it by name. Gives the exchange's id.
async fn speaks(gateway: &Gateway, n: usize) -> String {
    let names = ["writer", "critic"];
    let mut messages = vec![
        json!({"role": "system", "content": format!("You are number {n}.")}),
        json!({"role": "user", "name": "user", "content": "Write about owls."}),
    ];
    for name in &names[..n] {
        messages
            .push(json!({"role": "user", "name": name, "content": format!("{REPLY} ({name})")}));
    }
    let body = json!({"model": "gpt-4o-mini", "messages": messages}).to_string();
    let reply = gateway
        .ask(&ClientRequest::post("/v1/chat/completions", body))
        .await;
    assert_eq!(reply.status, 200);
    request_id(&reply.headers).expect("an id").to_owned()
}

/// Answers each of the three with words of its own.
async fn upstream() -> Upstream {
    Upstream::answering(|request| {
        let asked = String::from_utf8_lossy(&request.body);
        let name = ["critic", "writer"]
            .into_iter()
            .find(|name| asked.contains(&format!("({name})")));
        chat_reply(&match name {
            None => format!("{REPLY} (writer)"),
            Some("writer") => format!("{REPLY} (critic)"),
            Some(_) => REPLY.to_owned(),
        })
    })
    .await
}

async fn whole_tree(gateway: &mut Gateway, respan: &Respan) -> String {
    assert!(gateway.stop().await.success());
    let mut spans = respan.spans();
    // What was under way at a kill comes once more.
    spans.sort_by(|one, other| one.span_id.cmp(&other.span_id));
    spans.dedup_by(|one, other| one.span_id == other.span_id);
    trees(&spans)
}

#[tokio::test]
async fn a_kill_between_two_calls_of_a_run_does_not_break_its_tree() {
    let (upstream, respan) = (upstream().await, Respan::start().await);
    let mut gateway = Setup::between(&upstream, &respan).start().await;
    for n in 0..3 {
        let id = speaks(&gateway, n).await;
        if n < 2 {
            respan.span_of(&id).await;
            gateway.kill();
            gateway.restart().await;
        }
    }
    assert_eq!(whole_tree(&mut gateway, &respan).await, TREE);
}

#[tokio::test]
async fn a_restart_between_two_calls_of_a_run_does_not_break_its_tree() {
    let (upstream, respan) = (upstream().await, Respan::start().await);
    let mut gateway = Setup::between(&upstream, &respan).start().await;
    speaks(&gateway, 0).await;
    speaks(&gateway, 1).await;
    assert!(gateway.stop().await.success());
    gateway.restart().await;
    speaks(&gateway, 2).await;
    // Who the second was is heard from the third, when the second had been told.
    let tree = TREE.replace("critic", "unknown");
    assert_eq!(whole_tree(&mut gateway, &respan).await, tree);
    let mut ids: Vec<_> = respan
        .spans()
        .into_iter()
        .map(|span| span.span_id)
        .collect();
    let told = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), told, "a span was told twice");
}

#[tokio::test]
async fn the_user_agents_of_agent_clients_make_agents_and_others_do_not() {
    const ALONE: &str = "llm.gpt-4o-mini-2024-07-18\n";
    let upstream = Upstream::answering(|_| chat_reply(REPLY)).await;
    let body = json!({"model": "gpt-4o-mini", "messages": [
        {"role": "system", "content": "You write."},
        {"role": "user", "content": "Write about owls."},
    ]});
    for (client, is_agents) in [
        ("AsyncOpenAI/Python 2.8.0", true),
        ("AsyncAzureOpenAI/Python 2.8.0", true),
        ("autogen-python/0.7.5", true),
        ("autogen-python/0.7.5 shop/1.2", true),
        ("agent-framework-python/1.23.0", true),
        ("shop/1.2 agent-framework-python/1.23.0", true),
        ("Agents/Python 0.24.0", true),
        ("OpenAI/Python 2.8.0", false),
        ("curl/8.5.0", false),
        ("MyAgents/Python 1.0", false),
    ] {
        let respan = Respan::start().await;
        let mut gateway = Setup::between(&upstream, &respan).start().await;
        let ask = ClientRequest::post("/v1/chat/completions", body.to_string())
            .header("user-agent", client);
        assert_eq!(gateway.ask(&ask).await.status, 200);
        assert!(gateway.stop().await.success());
        let expected = if is_agents {
            format!("agent.unknown\n  {ALONE}")
        } else {
            ALONE.to_owned()
        };
        assert_eq!(trees(&respan.spans()), expected, "{client}");
    }
}
