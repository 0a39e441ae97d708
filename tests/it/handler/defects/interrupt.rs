//! SIGINT, in processes of their own: this program again, which runs the same test as a child.

use std::{
    env,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use signal_hook::{consts::SIGINT, low_level::raise};
use wireline::handler::{Factory, Settings};

use super::stage::{Listening, Log, Running, Wire, echoes, farewell, listen, masked, recording, unmasked, within};

/// Tells the child what to do.
const SCENE: &str = "WIRELINE_TEST_INTERRUPT";

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    WithSuccess,
    BySigint,
    Otherwise,
}

fn in_a_child(test: &str, scene: &str) -> Ends {
    let mut child = Command::new(env::current_exe().expect("this program has a path"));
    child.args(["--exact", test]).env(SCENE, scene).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = child.status().expect("a child");
    match (status.success(), status.signal()) {
        (true, _) => Ends::WithSuccess,
        (_, Some(SIGINT)) => Ends::BySigint,
        _ => Ends::Otherwise,
    }
}

#[tokio::test]
async fn d19_shutdown_on_interrupt_acts() {
    if let Ok(scene) = env::var(SCENE) {
        return play(&scene).await;
    }
    let test = concat!(module_path!(), "::d19_shutdown_on_interrupt_acts");
    let test = test.split_once("::").expect("the crate's name").1;
    for (scene, ends) in [
        ("one that is off and one that is on", Ends::WithSuccess),
        ("off", Ends::BySigint),
        ("again", Ends::BySigint),
        ("after the run", Ends::BySigint),
    ] {
        let found = Running::start(move || in_a_child(test, scene)).returns().await;
        assert_eq!(found, ends, "{scene}");
    }
}

fn on() -> Settings {
    Settings { shutdown_on_interrupt: true, ..Settings::default() }
}

fn off() -> Settings {
    Settings { shutdown_on_interrupt: false, ..Settings::default() }
}

fn run(settings: Settings) -> Listening<impl Factory + Send + 'static> {
    listen(settings, recording(Log::new(), echoes))
}

fn interrupt() {
    raise(SIGINT).expect("a signal");
}

async fn play(scene: &str) {
    match scene {
        "one that is off and one that is on" => {
            let (off, on) = (run(off()), run(on()));
            let (mut stays, mut goes) = (Wire::open(off.address).await, Wire::open(on.address).await);
            interrupt();
            goes.reads(unmasked(0x88, farewell(1001, "Shutting down."))).await;
            goes.send(masked(0x88, farewell(1001, ""))).await;
            drop(goes);
            on.returns().await;
            stays.is_echoed("still here").await;
            drop(stays);
            off.shut_down().await;
        }
        "off" => {
            let off = run(off());
            Wire::open(off.address).await.is_echoed("hello").await;
            interrupt();
        }
        "again" => {
            let on = run(on());
            let mut client = Wire::open(on.address).await;
            interrupt();
            client.reads(unmasked(0x88, farewell(1001, "Shutting down."))).await;
            interrupt();
            // The run waits for the client's answer, and the client for the end of this process.
            client.rest().await;
        }
        _ => {
            let on = run(on());
            drop(Wire::open(on.address).await);
            on.shut_down().await;
            interrupt();
            within("the end of this process", std::future::pending::<()>()).await;
        }
    }
}
