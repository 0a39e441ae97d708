//! A chat: its page and its WebSockets on one port, with a room for every path.
//!
//! ```text
//! cargo run --release --example chat -- [ADDR]
//! ```
//!
//! ADDR defaults to 127.0.0.1:9002. `/` is one room, `/room/NAME` any other. All connections run on the main thread, so
//! the rooms are shared without locks.
//!
//! Every message is an object of JSON. The page sends `{"join": name}` until it is let in, then `{"say": text}`. It gets
//! `{"here": [name, …]}` once it is in, then `{"joined": name}`, `{"left": name}` and `{"name": name, "said": text}` as they
//! happen in its room, and `{"refused": why}` for what it may not do.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use serde_json::{Value, json};
use wireline::handler::{
    Builder, CloseCode, Handler, Handshake, Message, Request, Response, Result, Sender, Settings, util::Token,
};

const PAGE: &str = include_str!("chat.html");

/// In characters, as are those of the page.
const LONGEST_NAME: usize = 20;
const LONGEST_TEXT: usize = 1_000;

const PING: Token = Token(1);
const PING_EVERY_MS: u64 = 20_000;

/// Who is in which room, by the room's path and then by name.
type Rooms = Rc<RefCell<HashMap<String, Guests>>>;
type Guests = BTreeMap<String, Sender>;

/// One connection.
struct Guest {
    out: Sender,
    rooms: Rooms,
    /// The path of its request.
    room: String,
    /// From when it is let in.
    name: Option<String>,
}

impl Handler for Guest {
    /// A room's path is requested for its page first, and then by that page for a WebSocket.
    fn on_request(&mut self, req: &Request) -> Result<Response> {
        let path = req.resource().split('?').next().unwrap_or_default();
        if !is_room(path) {
            return Ok(answer(404, "Not Found", "text/plain", "Rooms are / and /room/NAME.\n"));
        }
        if req.header("Upgrade").is_none() {
            return Ok(answer(200, "OK", "text/html", PAGE));
        }
        // Browsers let the pages of any site connect to any other. This chat is for its own page.
        if !is_same_origin(req)? {
            return Ok(answer(403, "Forbidden", "text/plain", "This is not the chat's own page.\n"));
        }
        self.room = path.to_owned();
        Response::from_request(req)
    }

    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.out.timeout(PING_EVERY_MS, PING)
    }

    /// Browsers answer Pings by themselves. Where nothing comes back, `idle_timeout` ends the connection.
    fn on_timeout(&mut self, _: Token) -> Result<()> {
        self.out.ping(Vec::new())?;
        self.out.timeout(PING_EVERY_MS, PING)
    }

    fn on_message(&mut self, msg: Message) -> Result<()> {
        let asked: Value = serde_json::from_str(msg.as_text()?).unwrap_or_default();
        match (&self.name, asked["join"].as_str(), asked["say"].as_str()) {
            (None, Some(name), _) => self.join(name.trim()),
            (Some(name), _, Some(text)) => self.say(name, text.trim()),
            _ => self.refuse("That was not understood."),
        }
    }

    /// Called once for every connection that was open, however it ended.
    fn on_close(&mut self, _: CloseCode, _: &str) {
        let Some(name) = self.name.take() else { return };
        let mut rooms = self.rooms.borrow_mut();
        let Some(guests) = rooms.get_mut(&self.room) else { return };
        guests.remove(&name);
        if let Err(error) = tell(guests, &json!({ "left": name })) {
            tracing::warn!(%error, "not everybody knows who left");
        }
        if guests.is_empty() {
            rooms.remove(&self.room);
        }
    }
}

impl Guest {
    fn join(&mut self, name: &str) -> Result<()> {
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            return self.refuse(&format!("A name has 1 to {LONGEST_NAME} characters."));
        }
        // Nothing invisible, and nothing that turns the text around it: names that differ are to look different.
        if !name.chars().all(|character| character.is_alphanumeric() || " -_.'".contains(character)) {
            return self.refuse("A name is made of letters, digits, spaces and - _ . '");
        }
        let mut rooms = self.rooms.borrow_mut();
        let guests = rooms.entry(self.room.clone()).or_default();
        if guests.contains_key(name) {
            return self.refuse(&format!("There is a {name} in this room already."));
        }
        guests.insert(name.to_owned(), self.out.clone());
        self.name = Some(name.to_owned());
        self.out.send(json!({ "here": guests.keys().collect::<Vec<_>>() }).to_string())?;
        tell(guests, &json!({ "joined": name }))
    }

    fn say(&self, name: &str, text: &str) -> Result<()> {
        if text.is_empty() || text.chars().count() > LONGEST_TEXT {
            return self.refuse(&format!("A message has 1 to {LONGEST_TEXT} characters."));
        }
        match self.rooms.borrow().get(&self.room) {
            Some(guests) => tell(guests, &json!({ "name": name, "said": text })),
            None => Ok(()),
        }
    }

    fn refuse(&self, why: &str) -> Result<()> {
        self.out.send(json!({ "refused": why }).to_string())
    }
}

/// Sends to all of a room. They share one text.
fn tell(guests: &Guests, event: &Value) -> Result<()> {
    let text = wireline::Message::from(event.to_string());
    guests.values().try_for_each(|guest| guest.send_shared(text.clone()))
}

fn is_room(path: &str) -> bool {
    path == "/" || path.strip_prefix("/room/").is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Programs other than browsers send no `Origin`.
fn is_same_origin(req: &Request) -> Result<bool> {
    let Some(origin) = req.origin()? else { return Ok(true) };
    let host = origin.split_once("://").map(|(_, host)| host.as_bytes());
    Ok(host == req.header("Host").map(Vec::as_slice))
}

fn answer(status: u16, reason: &str, kind: &str, body: &str) -> Response {
    let mut response = Response::new(status, reason, body.into());
    let headers = [("Content-Type", format!("{kind}; charset=utf-8")), ("Connection", "close".to_owned())];
    response.headers_mut().extend(headers.map(|(name, value)| (name.to_owned(), value.into_bytes())));
    response
}

fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9002".into());
    let settings = Settings {
        max_connections: 1_000,
        // What is said takes one place in the queue for each guest of the room.
        queue_size: 1_000,
        max_message_size: 64 * 1024,
        idle_timeout: Duration::from_secs(60),
        tcp_nodelay: true,
        masking_strict: true,
        method_strict: true,
        ..Settings::default()
    };
    let rooms = Rooms::default();
    let chat = Builder::new()
        .with_settings(settings)
        .build(|out| Guest { out, rooms: Rc::clone(&rooms), room: String::new(), name: None })?
        .bind(address)?;
    println!("listening on http://{}", chat.local_addr()?);
    chat.run()?;
    Ok(())
}
