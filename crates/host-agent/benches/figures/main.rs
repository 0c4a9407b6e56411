//! What encryption costs here, as ratios against the bare tools in the same run. Prints a table in Markdown.
//!
//! `cargo bench -p strongroom-host-agent --bench figures` with `-- 2048` for a template of 2048 MiB, which is the default.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measurement that cannot be made has failed"
)]

mod copies;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{CreateDisk, DiskContent, Endpoint, HostAnswer, Protection};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize};

struct Place {
    directory: tempfile::TempDir,
    agent: HostAgent,
    key: Passphrase,
}

/// The median of some runs, after each of which `tidy` puts things back.
fn median(runs: usize, mut run: impl FnMut(), mut tidy: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..runs)
        .map(|_| {
            let begun = Instant::now();
            run();
            let time = begun.elapsed();
            tidy();
            time
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn tool(name: &str, args: &[&str]) {
    let spec = CommandSpec::new(Program::find(name).unwrap()).args(args);
    let done = SystemRunner::new().run(&spec, &Watch::nobody()).unwrap();
    assert_eq!(done.code, 0, "{spec:?}: {}", done.message());
}

impl Place {
    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn secret(&self) -> String {
        format!("secret,id=s,file={}", self.path("key"))
    }

    fn create(&self, name: &str, format: DiskFormat, guest: u64, content: DiskContent<'_>) {
        let protection = Protection::Luks {
            format: EncryptionFormat::Luks1,
            key: &self.key,
        };
        let path = self.path(name);
        let create = CreateDisk::new(
            Path::new(&path),
            format,
            GuestSize::new(guest).unwrap(),
            protection,
            content,
        );
        match self.agent.run(&Call::new(), &create.into()) {
            Ok(HostAnswer::Disk(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    fn open(&self, image: &str) {
        let opts = format!("driver=qcow2,file.driver=file,file.filename={image},encrypt.key-secret=s");
        tool(
            "qemu-img",
            &[
                "measure",
                "-O",
                "raw",
                "--object",
                &self.secret(),
                "--image-opts",
                &opts,
            ],
        );
    }

    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }
}

/// Whether it is at least, or at most, what is asked.
fn line(what: &str, theirs: Duration, ours: Duration, asked: &str) {
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!(
        "| {what} | {:.3} s | {:.3} s | {ratio:.1} | {asked} |",
        theirs.as_secs_f64(),
        ours.as_secs_f64()
    );
}

fn main() {
    let megabytes = std::env::args()
        .filter_map(|a| a.parse::<u64>().ok())
        .next()
        .unwrap_or(2048);
    let agent = HostAgent::new(
        "here".parse().unwrap(),
        ToolPaths::system(),
        Arc::new(SystemRunner::new()),
    );
    let place = Place {
        directory: tempfile::tempdir().unwrap(),
        agent,
        key: Passphrase::generate().unwrap(),
    };
    fs::write(place.path("key"), place.key.expose_secret()).unwrap();

    println!("| what | bare tool | here | times faster | asked for |\n|---|---|---|---|---|");
    open(&place);
    create(&place);
    copies::copy(&place, megabytes);
    copies::sparse(&place, megabytes);
    overhead(&place);
}

fn open(place: &Place) {
    let options = "encrypt.format=luks,encrypt.key-secret=s";
    let theirs = place.path("theirs");
    tool(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "--object",
            &place.secret(),
            "-o",
            options,
            &theirs,
            "64M",
        ],
    );
    place.create("ours", DiskFormat::Qcow2, 64 << 20, DiskContent::Blank);
    let default = median(3, || place.open(&theirs), || {});
    let ours = median(9, || place.open(&place.path("ours")), || {});
    line("open an encrypted qcow2", default, ours, "at least 50");
    place.remove("theirs");
    place.remove("ours");
}

fn create(place: &Place) {
    let (theirs, key) = (place.path("theirs"), place.path("key"));
    let blank = || {
        fs::File::create(&theirs)
            .unwrap()
            .set_len((64 << 20) + (2 << 20))
            .unwrap()
    };
    blank();
    let default = median(
        3,
        || {
            tool(
                "cryptsetup",
                &["luksFormat", "-q", "--type", "luks1", "--key-file", &key, &theirs],
            )
        },
        blank,
    );
    let ours = median(
        9,
        || place.create("ours", DiskFormat::Raw, 64 << 20, DiskContent::Blank),
        || place.remove("ours"),
    );
    line(
        "create a raw LUKS disk, against `cryptsetup luksFormat --type luks1`",
        default,
        ours,
        "at least 30",
    );

    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    let args = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        &place.secret(),
        "-o",
        options,
        &theirs,
        "64M",
    ];
    let lowest = median(3, || tool("qemu-img", &args), || place.remove("theirs"));
    let ours = median(
        9,
        || place.create("ours", DiskFormat::Qcow2, 64 << 20, DiskContent::Blank),
        || place.remove("ours"),
    );
    line(
        "create an encrypted qcow2, against `qemu-img create` with `iter-time=10`",
        lowest,
        ours,
        "at least 1",
    );
}

/// What our crates add to one create: the time of the whole command less the time of the tools that it runs.
fn overhead(place: &Place) {
    #[derive(Debug, Default)]
    struct Clock(std::sync::Mutex<Duration>);
    impl Runner for Clock {
        fn run(
            &self,
            command: &CommandSpec<'_>,
            watch: &Watch<'_>,
        ) -> Result<strongroom_exec::Completed, strongroom_exec::RunError> {
            let begun = Instant::now();
            let done = SystemRunner::new().run(command, watch);
            *self.0.lock().unwrap() += begun.elapsed();
            done
        }
    }
    let clock = Arc::new(Clock::default());
    let agent = HostAgent::new("here".parse().unwrap(), ToolPaths::system(), clock.clone());
    let timed = Place {
        agent,
        directory: tempfile::tempdir().unwrap(),
        key: Passphrase::generate().unwrap(),
    };
    let ours = median(
        9,
        || timed.create("ours", DiskFormat::Raw, 64 << 20, DiskContent::Blank),
        || timed.remove("ours"),
    );
    let in_tools = *clock.0.lock().unwrap() / 9;
    let over = ours.saturating_sub(in_tools);
    println!(
        "\nOverhead of one create of a raw LUKS disk over the tools that it runs: {:.1} ms (asked for: under 20).",
        over.as_secs_f64() * 1000.0
    );
    assert!(place.directory.path().exists());
}
