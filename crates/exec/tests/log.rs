//! What is logged. A process of its own: whether an event is logged is decided once for all threads.
#![cfg(test)]

use std::io::Write;
use std::sync::{Arc, Mutex};

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn command(program: &str) -> CommandSpec<'static> {
    CommandSpec::new(Program::find(program).unwrap())
}

#[test]
fn each_run_is_one_line_at_debug_level() {
    let logged = |level| {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let run = |spec: CommandSpec<'_>| SystemRunner::new().run(&spec, &Watch::nobody());
            run(command("false").arg("a b")).unwrap();
            run(command("true").arg("\0")).unwrap_err();
        });
        String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
    };
    let lines = logged(tracing::Level::DEBUG);
    let lines: Vec<&str> = lines.lines().collect();
    let (yes, no) = (command("true"), command("false"));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains(&format!("ran command={no} 'a b' code=1 duration=")),
        "{lines:?}"
    );
    assert!(
        lines[1].contains(&format!(
            r"command={yes} $'\x00' error=cannot start {yes} duration="
        )),
        "{lines:?}"
    );
    assert_eq!(logged(tracing::Level::INFO), "");
}
