//! Boxed handlers are handlers, so that one program may choose among several at run time.
//!
//! They are two impls and not a generic one, which would make closures ambiguous: a box of a closure is a closure.

use url::Url;

use crate::{
    Role,
    handler::{
        CloseCode, Compressed, Error, Frame, Handler, Handshake, Message, Observes, Request, Response, Result,
        util::{SslStream, TcpStream, Timeout, Token},
    },
};

macro_rules! forward_to_the_box {
    ($boxed:ty) => {
        impl Handler for $boxed {
            fn on_shutdown(&mut self) {
                (**self).on_shutdown();
            }

            fn on_open(&mut self, shake: Handshake) -> Result<()> {
                (**self).on_open(shake)
            }

            fn on_message(&mut self, msg: Message) -> Result<()> {
                (**self).on_message(msg)
            }

            fn on_close(&mut self, code: CloseCode, reason: &str) {
                (**self).on_close(code, reason);
            }

            fn on_error(&mut self, err: Error) {
                (**self).on_error(err);
            }

            fn on_request(&mut self, req: &Request) -> Result<Response> {
                (**self).on_request(req)
            }

            fn on_response(&mut self, res: &Response) -> Result<()> {
                (**self).on_response(res)
            }

            fn on_rejected(&mut self, res: &Response) {
                (**self).on_rejected(res);
            }

            fn on_timeout(&mut self, event: Token) -> Result<()> {
                (**self).on_timeout(event)
            }

            fn on_new_timeout(&mut self, event: Token, timeout: Timeout) -> Result<()> {
                (**self).on_new_timeout(event, timeout)
            }

            fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
                (**self).on_frame(frame)
            }

            fn on_send_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
                (**self).on_send_frame(frame)
            }

            fn build_request(&mut self, url: &Url) -> Result<Request> {
                (**self).build_request(url)
            }

            fn upgrade_ssl_client(&mut self, stream: TcpStream, url: &Url) -> Result<SslStream<TcpStream>> {
                (**self).upgrade_ssl_client(stream, url)
            }

            fn upgrade_ssl_server(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
                (**self).upgrade_ssl_server(stream)
            }

            fn observes(&self) -> Observes {
                (**self).observes()
            }

            fn compression(&self, role: Role) -> Option<Compressed> {
                (**self).compression(role)
            }
        }
    };
}

forward_to_the_box!(Box<dyn Handler + '_>);
forward_to_the_box!(Box<dyn Handler + Send + '_>);
