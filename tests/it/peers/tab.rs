//! A page in a driven browser: by Chromium's own protocol, with our client.

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use wireline::{Transport, WebSocket};

use super::{DEADLINE, POLLING, browser::Browser};

pub(super) struct Tab {
    driver: Driver,
}

impl Tab {
    pub(super) async fn open(browser: &Browser, url: &str) -> Self {
        let browser_url = browser.driver_url().await;
        let mut driver = Driver::connect(&browser_url).await;
        // In a window of its own it is not in the background, where timers are slowed down.
        let created = driver.call("Target.createTarget", json!({ "url": url, "newWindow": true })).await;
        let created = created.expect("a page");
        let target = created["targetId"].as_str().expect("its id");
        let (base, _) = browser_url.rsplit_once("/browser/").expect("the browser's path");
        Self { driver: Driver::connect(&format!("{base}/page/{target}")).await }
    }

    /// Runs a script once the page has the element that it is about.
    pub(super) async fn run(&mut self, element: &str, script: &str) {
        self.until(&format!("document.readyState === 'complete' && !!document.querySelector({})", json!(element)))
            .await;
        self.evaluate(&format!("{{ {script}; true }}")).await.expect("a script that works");
    }

    /// Waits until the page shows a text.
    pub(super) async fn shows(&mut self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    pub(super) async fn close(mut self) {
        // The page may be gone before it can say so.
        let _ = self.driver.call("Page.close", json!({})).await;
    }

    /// Waits until an expression is true.
    pub(super) async fn until(&mut self, condition: &str) {
        let holds = async {
            // While the page is loading there is nothing to ask: that is an error, and no more than "not yet".
            while self.evaluate(condition).await != Ok(json!(true)) {
                sleep(POLLING).await;
            }
        };
        if timeout(DEADLINE, holds).await.is_err() {
            panic!("{condition} does not become true: {:?}", self.evaluate("document.body.innerText").await);
        }
    }

    async fn evaluate(&mut self, expression: &str) -> Result<Value, String> {
        let answer = self.driver.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        let answer = answer.await?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            exception => Err(exception.to_string()),
        }
    }
}

/// A connection of the DevTools protocol: numbered calls, whose answers have the same number.
struct Driver {
    ws: WebSocket<Transport>,
    calls: u64,
}

impl Driver {
    async fn connect(url: &str) -> Self {
        Self { ws: wireline::connect(url).await.expect("the browser listens"), calls: 0 }
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.calls += 1;
        let call = json!({ "id": self.calls, "method": method, "params": params });
        self.ws.send(call.to_string()).await.map_err(|error| error.to_string())?;
        loop {
            let message = self.ws.next().await.ok_or("the browser closed the connection")?;
            let message = message.map_err(|error| error.to_string())?;
            let mut answer: Value = serde_json::from_str(message.as_text().expect("text")).expect("JSON");
            if answer["id"] != self.calls {
                // Events come in between.
                continue;
            }
            return match &answer["error"] {
                Value::Null => Ok(answer["result"].take()),
                error => Err(error.to_string()),
            };
        }
    }
}
