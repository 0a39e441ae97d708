//! The chat of the examples, as its users have it: the program, and its page in a browser.

use std::process::Stdio;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{DEADLINE, browser::Browser, skipped, tab::Tab};

#[tokio::test]
async fn pages_of_the_chat_talk_and_come_back_after_a_restart() {
    if skipped() {
        return;
    }
    let chat = Chat::start("127.0.0.1:0").await;
    let browser = Browser::driven();

    let played = timeout(5 * DEADLINE, play(chat, &browser)).await;

    played.unwrap_or_else(|_| panic!("not done in time: {}", browser.log()));
}

async fn play(chat: Chat, browser: &Browser) {
    let mut ann = join(browser, &chat, "Ann").await;
    let mut bob = join(browser, &chat, "Bob").await;
    talk(&mut ann, &mut bob, "at first").await;

    bob.close().await;
    ann.shows("Bob left").await;
    ann.shows("Here: Ann\n").await;
    let mut bob = join(browser, &chat, "Bob").await;
    ann.shows("Here: Ann, Bob").await;

    let address = chat.address.clone();
    chat.stop().await;
    ann.shows("The server is away").await;
    bob.shows("The server is away").await;
    let _chat = Chat::start(&address).await;
    ann.shows("Here: Ann, Bob").await;
    bob.shows("Here: Ann, Bob").await;
    talk(&mut ann, &mut bob, "again").await;
}

async fn join(browser: &Browser, chat: &Chat, name: &str) -> Tab {
    let mut page = Tab::open(browser, &chat.url("/room/tests")).await;
    submit(&mut page, "join", "name", name).await;
    page.shows("Here: Ann").await;
    page.shows(&format!("{name} joined")).await;
    page
}

/// What each says reaches both, as it was written and not as HTML.
async fn talk(ann: &mut Tab, bob: &mut Tab, when: &str) {
    submit(ann, "say", "text", &format!("<b>hello</b> {when}")).await;
    submit(bob, "say", "text", &format!("{when} <img src=x onerror=\"document.body.textContent = ''\">")).await;
    for page in [ann, bob] {
        page.shows(&format!("Ann: <b>hello</b> {when}")).await;
        page.shows(&format!("Bob: {when} <img src=x")).await;
    }
}

async fn submit(page: &mut Tab, form: &str, field: &str, value: &str) {
    let script = format!("{form}.elements.{field}.value = {}; {form}.requestSubmit()", json!(value));
    page.run(&format!("form#{form}"), &script).await;
}

/// The running example.
struct Chat {
    program: Child,
    address: String,
}

impl Chat {
    /// Returns once it listens; it may have to be built before.
    async fn start(address: &str) -> Self {
        let mut program = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["run", "--quiet", "--example", "chat", "--", address])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("cargo runs");
        let mut line = String::new();
        let output = program.stdout.take().expect("standard output is piped");
        BufReader::new(output).read_line(&mut line).await.expect("a line of text");
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("the chat printed {line:?}")).to_owned();
        Self { program, address }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// As by Ctrl-C. Cargo has become the program that it runs.
    async fn stop(mut self) {
        let id = self.program.id().expect("it runs").to_string();
        let told = Command::new("kill").args(["-INT", &id]).status().await.expect("kill runs");
        assert!(told.success());
        let status = self.program.wait().await.expect("it was started");
        assert!(status.success(), "the chat ended with {status}");
    }
}
