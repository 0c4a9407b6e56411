//! Holds a lab of two hypervisors until somebody says `down` on the socket `control` in the directory that it is given, or
//! kills it. Says on a line for each host, with tabs between, its name, the number of its first process, its URI, the other host's URI for migrations,
//! and its private directory; then an empty line.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to the one who starts it"
)]

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use strongroom_lab::Hypervisors;

fn main() -> ExitCode {
    match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{error}");
            let mut cause = error.source();
            while let Some(deeper) = cause {
                eprint!(": {deeper}");
                cause = deeper.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn hold() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: lab-hold DIRECTORY")?;
    // A socket's path may have 107 bytes, and this directory may have more.
    std::env::set_current_dir(directory)?;
    let lab = Hypervisors::up()?;
    let _ = std::fs::remove_file("control");
    let control = UnixListener::bind("control")?;
    for (host, other) in [(lab.first(), lab.second()), (lab.second(), lab.first())] {
        println!(
            "{}\t{}\t{}\t{}\t{}",
            host.name(),
            host.pid(),
            host.uri(),
            other.migration_uri(),
            host.outside(host.local()).display()
        );
    }
    println!();
    std::io::stdout().flush()?;

    // Who asks waits for the end of the connection, which is that of this process.
    let _asked = loop {
        let (mut stream, _) = control.accept()?;
        let mut word = String::new();
        if stream.read_to_string(&mut word).is_ok() && word == "down" {
            break stream;
        }
    };
    drop(lab);
    std::fs::remove_file("control")?;
    Ok(())
}
