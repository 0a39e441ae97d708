//! One file for each program that is measured, each with what it can do of `echo`, `broadcast` and `receive`.

pub(crate) mod fastwebsockets;
pub(crate) mod floor;
pub(crate) mod sockudo_ws;
pub(crate) mod soketto;
pub(crate) mod tokio_tungstenite;
pub(crate) mod tokio_websockets;
pub(crate) mod web_socket;
pub(crate) mod wireline;
pub(crate) mod ws_rs;
pub(crate) mod yawc;
