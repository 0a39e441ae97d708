//! Reverse proxies as child processes, with the configurations of `examples/`, in which only addresses, files and timeouts
//! are replaced.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
};

use tokio::{net::TcpStream, process::Child};

use super::{POLLING, certificate::Certificate, directory::Directory};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReverseProxy {
    Nginx,
    HAProxy,
    Caddy,
    Apache,
    /// TCP with the PROXY protocol in front.
    NginxStream,
    HAProxyV1,
    HAProxyV2,
}

/// Where our server listens.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    Tcp(u16),
    Unix(String),
}

pub(super) struct Running {
    port: u16,
    _child: Child,
    files: Directory,
}

impl Running {
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// What the proxy wrote, for failure messages.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }
}

/// How often another port is tried. A free one has to be let go before the proxy can take it, and somebody else may.
const ATTEMPTS: usize = 10;

impl ReverseProxy {
    /// Returns once the proxy listens.
    pub(super) async fn start(self, backend: &Backend, certificate: &Certificate) -> Running {
        for _ in 0..ATTEMPTS {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let port = free.local_addr().expect("its address").port();
            drop(free);
            let files = Directory::new();
            let mut child = self.spawn(port, backend, certificate, &files);
            while child.try_wait().expect("its status").is_none() {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                    // It may be somebody else who listens there, while the proxy is about to give up.
                    tokio::time::sleep(POLLING).await;
                    if child.try_wait().expect("its status").is_none() {
                        return Running { port, _child: child, files };
                    }
                } else {
                    tokio::time::sleep(POLLING).await;
                }
            }
            let log = fs::read_to_string(files.path().join("log")).unwrap_or_default();
            // Anything but a port that is taken is an error that stays.
            assert!(log.to_lowercase().contains("in use"), "{self:?} does not start: {log}");
        }
        panic!("{self:?} found no free port");
    }

    fn spawn(self, port: u16, backend: &Backend, certificate: &Certificate, files: &Directory) -> Child {
        let directory = files.path().to_str().expect("a path of text");
        let read = |path: &Path| fs::read_to_string(path).expect("a file");
        let both = read(&certificate.certificate_file()) + &read(&certificate.key_file());
        fs::write(files.path().join("both.pem"), both).expect("a file under target");
        let configuration = files.path().join("configuration");
        fs::write(&configuration, self.configuration(port, backend, certificate, directory)).expect("a file");

        let mut command = Command::new(self.program());
        command.args(match self {
            Self::Nginx | Self::NginxStream => vec!["-p", directory, "-e", "stderr", "-c"],
            Self::HAProxy | Self::HAProxyV1 | Self::HAProxyV2 => vec!["-db", "-f"],
            Self::Caddy => vec!["run", "--adapter", "caddyfile", "--config"],
            Self::Apache => vec!["-X", "-f"],
        });
        let log = File::create(files.path().join("log")).expect("a file under target");
        command.arg(configuration).stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        command.env("HOME", directory).env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
        let spawned = tokio::process::Command::from(command).kill_on_drop(true).spawn();
        spawned
            .unwrap_or_else(|error| panic!("{} does not run; tests/peers/install installs it: {error}", self.program()))
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Nginx | Self::NginxStream => "/usr/sbin/nginx",
            Self::HAProxy | Self::HAProxyV1 | Self::HAProxyV2 => "/usr/sbin/haproxy",
            Self::Caddy => "/usr/bin/caddy",
            Self::Apache => "/usr/sbin/apache2",
        }
    }

    /// The configuration of `examples/`, within what a program needs that runs in one process and below `target`.
    fn configuration(self, port: u16, backend: &Backend, certificate: &Certificate, directory: &str) -> String {
        let example = self.example(port, backend, certificate, directory);
        let address = match backend {
            Backend::Tcp(port) => format!("127.0.0.1:{port}"),
            Backend::Unix(path) => format!("unix@{path}"),
        };
        let nginx = format!("daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log stderr;\n");
        match self {
            Self::Nginx => {
                let directories = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let directories = directories.map(|name| format!("{name}_temp_path {directory}/{name};\n")).concat();
                format!("{nginx}events {{}}\nhttp {{\naccess_log off;\n{directories}{example}}}\n")
            }
            Self::NginxStream => format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n{nginx}events {{}}\nstream {{ server {{\n\
                 listen 127.0.0.1:{port};\nproxy_pass {address};\nproxy_protocol on;\n}} }}\n"
            ),
            Self::HAProxy => example,
            Self::HAProxyV1 | Self::HAProxyV2 => {
                let send = if self == Self::HAProxyV1 { "send-proxy" } else { "send-proxy-v2" };
                format!(
                    "defaults\nmode tcp\ntimeout connect 5s\ntimeout client 60s\ntimeout server 60s\n\
                     listen live\nbind 127.0.0.1:{port}\nserver live {address} {send}\n"
                )
            }
            Self::Caddy => format!("{{\nadmin off\nauto_https off\n}}\n{example}"),
            Self::Apache => {
                let modules = ["mpm_event", "authz_core", "ssl", "headers", "proxy", "proxy_http"];
                let modules = modules
                    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
                    .concat();
                format!(
                    "{modules}ServerName localhost\nServerRoot {directory}\nDefaultRuntimeDir {directory}\n\
                     PidFile {directory}/pid\nUser www-data\nGroup www-data\nErrorLog /dev/stderr\n\
                     SSLSessionCache none\nListen 127.0.0.1:{port}\n{example}"
                )
            }
        }
    }

    fn example(self, port: u16, backend: &Backend, certificate: &Certificate, directory: &str) -> String {
        let text = |path: std::path::PathBuf| path.to_str().expect("a path of text").to_owned();
        let (chain, key) = (text(certificate.certificate_file()), text(certificate.key_file()));
        let tcp = |port: &u16| format!("127.0.0.1:{port}");
        let (chain_file, key_file) = ("/etc/ssl/certs/example.com.pem", "/etc/ssl/private/example.com.key");
        let at = "127.0.0.1:9010";
        match (self, backend) {
            (Self::Nginx, backend) => {
                let backend = match backend {
                    Backend::Tcp(port) => tcp(port),
                    Backend::Unix(path) => format!("unix:{path}"),
                };
                let listen = format!("listen 127.0.0.1:{port} ssl");
                let replaced = [("listen 443 ssl", &*listen), (chain_file, &chain), (key_file, &key), (at, &backend)];
                replace(include_str!("../../../examples/behind_nginx.conf"), &replaced, "60s", SHORT)
            }
            (Self::HAProxy, backend) => {
                let backend = match backend {
                    Backend::Tcp(port) => tcp(port),
                    Backend::Unix(path) => format!("unix@{path}"),
                };
                let (bind, both) = (format!("bind 127.0.0.1:{port}"), format!("{directory}/both.pem"));
                let replaced =
                    [("bind :443", &*bind), ("/etc/ssl/private/example.com.both.pem", &both), (at, &backend)];
                replace(include_str!("../../../examples/behind_haproxy.cfg"), &replaced, "60s", SHORT)
            }
            (Self::Caddy, backend) => {
                let backend = match backend {
                    Backend::Tcp(port) => tcp(port),
                    Backend::Unix(path) => format!("unix/{path}"),
                };
                let site = format!("\nhttps://localhost:{port} {{\n\tbind 127.0.0.1\n");
                let replaced = [("\nexample.com {\n", &*site), (chain_file, &chain), (key_file, &key), (at, &backend)];
                replace(include_str!("../../../examples/behind_caddy.caddyfile"), &replaced, "", "")
            }
            (Self::Apache, backend) => {
                let backend = match backend {
                    Backend::Tcp(port) => format!("http://127.0.0.1:{port}/live"),
                    Backend::Unix(path) => format!("unix:{path}|http://localhost/live"),
                };
                let host = format!("<VirtualHost *:{port}>");
                let replaced = [
                    ("<VirtualHost *:443>", &*host),
                    (chain_file, &chain),
                    (key_file, &key),
                    ("http://127.0.0.1:9010/live", &backend),
                ];
                replace(include_str!("../../../examples/behind_apache.conf"), &replaced, "Timeout 60", "Timeout 2")
            }
            (Self::NginxStream | Self::HAProxyV1 | Self::HAProxyV2, _) => String::new(),
        }
    }
}

/// How long a proxy lets a connection be silent, in place of a minute.
const SHORT: &str = "2s";

/// Replaces what an example must have, and every timeout.
fn replace(example: &str, replaced: &[(&str, &str)], timeout: &str, short: &str) -> String {
    let with_timeouts = if timeout.is_empty() { example.to_owned() } else { example.replace(timeout, short) };
    replaced.iter().fold(with_timeouts, |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is part of the example");
        text.replace(from, to)
    })
}
